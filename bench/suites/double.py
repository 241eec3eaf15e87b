"""float64."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((50, 32, 100, 100), (100, 32, 128, 256), (200, 4, 40, 128))  # T, B, I, H


def works(context: Context) -> list[Workload]:
    cells, shapes = (CELLS[:1], SHAPES[:1]) if context.quick else (CELLS, SHAPES)
    return [Workload(cell, *shape, dtype="float64") for cell in cells for shape in shapes]


def cases(context: Context) -> list[Case]:
    return [case for work in works(context) for case in recurrent_cases(context, work)]


SUITE = Suite("double", "float64", cases)
