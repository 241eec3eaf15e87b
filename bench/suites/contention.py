"""A training step beside busy neighbours: how many times its own quiet time it takes.

The neighbours are as many as leave no processor to itself: first one for each processor that the
team leaves free, and then half as many as the team has threads, or as many. On two cores with two
threads these are one and two. A team that shares a layer by rows of the batch does not meet within
it; one that shares it by hidden units meets once a step, and a member that waits for its processor
keeps the others waiting.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import machine
from measure import Bench, Turn, no_garbage_collection, quartiles
from neighbours import Neighbours
from peers import ours
from suites import Case, Context, Row, Suite
from workload import Data, Workload

# What the core's cost model shares between two threads by rows and what by units, both forward and
# backward: cell, T, B, I, H.
ROWS = (("lstm", 100, 64, 64, 64), ("gru", 100, 32, 64, 64), ("rnn_tanh", 100, 64, 64, 128))
UNITS = (("lstm", 100, 32, 128, 256), ("gru", 50, 32, 256, 512), ("lstm", 100, 1, 512, 512))
TURNS = 1.5  # as long as elsewhere: some of the scheduler's time slices of 3 ms
PAIRS = 7


@dataclass(frozen=True)
class Pair:
    """One sample: seconds per call, without and with the neighbours."""

    quiet: float
    busy: float


def cases(context: Context) -> list[Case]:
    return [
        Case(
            label=f"{work.cell} {work.label}",
            series=series,
            mode=f"{crowd} busy",
            dtype=work.dtype,
            threads=context.threads,
            rows=_builder(context, work, number, crowd),
            flops=3 * work.flops,
            steps=work.steps,
        )
        for series, found in (("rows", ROWS), ("units", UNITS))
        for work in (Workload(*sizes) for sizes in (found[:1] if context.quick else found))
        for number, crowd in enumerate(crowds(context.threads, machine.usable_cpus()))
    ]


def crowds(threads: int, processors: int) -> list[int]:
    """How many neighbours: those that take half of the team's processors, and all of them."""
    free = max(0, processors - threads)
    return sorted({free + (threads + 1) // 2, free + threads})


def _builder(
    context: Context, work: Workload, number: int, crowd: int
) -> Callable[[Case, Bench], Iterator[Row]]:
    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        data = Data.random(work)
        own = ours.training(work, data, case.threads)
        runners = [replace(own, name="fastrnn")]
        for peer in context.peers:
            runners += peer.training(work, data, case.threads)
        effort = replace(bench.effort, turn_seconds=TURNS * bench.effort.turn_seconds)
        with Neighbours(crowd) as neighbours, no_garbage_collection():
            turns = [Turn.plan(runner, effort) for runner in runners]
            pairs: list[list[Pair]] = [[] for _ in turns]
            for _ in range(PAIRS):
                for turn, found in zip(turns, pairs, strict=True):
                    quiet = turn.seconds()
                    with neighbours.busy():
                        found.append(Pair(quiet, turn.seconds()))
        for turn, found in zip(turns, pairs, strict=True):
            yield case.row(crowd=number, neighbours=crowd, peer=turn.runner.name, **summary(found))

    return rows


def summary(pairs: list[Pair]) -> Row:
    """How many times its own quiet time each call took; the median and the quartiles."""
    low, middle, high = quartiles([pair.busy / pair.quiet for pair in pairs])
    return {
        "slowdown": middle,
        "slowdown_low": low,
        "slowdown_high": high,
        "quiet_seconds": statistics.median(pair.quiet for pair in pairs),
        "busy_seconds": statistics.median(pair.busy for pair in pairs),
        "pairs": [asdict(pair) for pair in pairs],
    }


SUITE = Suite("contention", "a training step beside busy neighbours", cases, view="slowdown")
