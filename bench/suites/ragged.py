"""Sequences of different lengths: the flops are those of the valid steps only."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload, ragged_lengths

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((100, 32, 128, 256), (200, 64, 128, 128), (400, 16, 64, 128))  # T, B, I, H


def cases(context: Context) -> list[Case]:
    cells, shapes = (CELLS[:1], SHAPES[:1]) if context.quick else (CELLS, SHAPES)
    found = []
    for cell in cells:
        for shape in shapes:
            steps, batch, _, _ = shape
            work = Workload(cell, *shape, lengths=ragged_lengths(steps, batch))
            found += recurrent_cases(context, work)
    return found


SUITE = Suite("ragged", "lengths drawn from 10% to 100% of T, unsorted", cases)
