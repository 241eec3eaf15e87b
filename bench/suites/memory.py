"""The memory of a training step, for every row of training that other suites time.

``footprint.py`` says what is measured; it is done in processes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from footprint import Bytes
from measure import Bench
from suites import Case, Context, Row, Suite, deep, double, layers, ragged
from workload import Workload

# Heaps grow by 132 KiB and code is loaded by pages: under this, a difference says nothing.
LEAST_BYTES = 1 << 20


def cases(context: Context) -> list[Case]:
    against_torch = any(peer.name == "torch" for peer in context.peers)
    return [
        Case(
            label=label,
            series=work.cell,
            mode=suite,
            dtype=work.dtype,
            threads=context.threads,
            rows=_builder(work),
            steps=work.steps,
        )
        for suite, work, label in _works(context)
        if against_torch
    ]


def _works(context: Context) -> Iterator[tuple[str, Workload, str]]:
    for module in (layers, ragged, deep, double):
        found = module.works(context)
        for work in found[:1] if context.quick else found:
            label = f"{work.label} {work.stack}" if module is deep else work.label
            yield module.SUITE.name, work, label


def _builder(work: Workload) -> Callable[[Case, Bench], Iterator[Row]]:
    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        own = bench.footprints.measure("fastrnn", work)
        assert own is not None
        for number in count():
            peer = bench.footprints.measure("torch", work, number)
            if peer is None:
                break
            yield case.row(ours="functional", peer=peer[0], **compare(own[1], peer[1]))

    return rows


def compare(ours: Bytes, peer: Bytes) -> Row:
    """Both sides' bytes, and by how many times the peer's are more."""
    found: Row = {}
    for what in ours:
        found[f"ours_{what}"], found[f"peer_{what}"] = ours[what], peer[what]
        found[f"{what}_ratio"] = max(peer[what], LEAST_BYTES) / max(ours[what], LEAST_BYTES)
    return found


SUITE = Suite("memory", "a training step's memory, MiB", cases, view="memory")
