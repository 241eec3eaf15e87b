"""Sequences of different lengths: the flops are those of the valid steps only.

Besides the peers, ``cost``: the same batch dense, its time counted for the share of valid steps
alone. A ratio of 1 is work in proportion to the valid steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from peers import Duel, Runner, ours
from suites import Case, Context, Suite, duels, recurrent_cases
from workload import Array, Data, Workload, ragged_lengths

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((100, 32, 128, 256), (200, 64, 128, 128), (400, 16, 64, 128))  # T, B, I, H


def works(context: Context) -> list[Workload]:
    cells, shapes = (CELLS[:1], SHAPES[:1]) if context.quick else (CELLS, SHAPES)
    return [
        Workload(cell, *shape, lengths=ragged_lengths(steps, batch))
        for cell in cells
        for shape in shapes
        for steps, batch, _, _ in (shape,)
    ]


def cases(context: Context) -> list[Case]:
    return [
        case
        for work in works(context)
        for case in (*recurrent_cases(context, work), cost_case(work, context.threads))
    ]


def cost_case(work: Workload, threads: int) -> Case:
    """Training, ragged against dense."""

    def build() -> Iterable[Duel]:
        data = Data.random(work)
        # Without gradients past the ends the dense batch has the same gradients everywhere.
        data = replace(data, doutput=data.doutput * work.mask)
        yield Duel(
            ours.training(work, data, threads),
            _masked(ours.training(replace(work, lengths=None), data, threads), work),
        )

    return Case(
        label=work.label,
        series=work.cell,
        mode="cost",
        dtype=work.dtype,
        threads=threads,
        rows=duels(build),
        flops=3 * work.flops,
        steps=work.steps,
    )


def _masked(dense: Runner, work: Workload) -> Runner:
    """The dense runner, with the values past the ends that a ragged one has."""

    def arrays(result: Any) -> Mapping[str, Array]:
        found = dict(dense.arrays(result))
        for state in ("h_n", "c_n"):
            found.pop(state, None)
        return {**found, "output": found["output"] * work.mask}

    return replace(dense, name="dense", arrays=arrays, counted=work.valid_share)


SUITE = Suite("ragged", "lengths drawn from 10% to 100% of T, unsorted", cases)
