"""float64."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((50, 32, 100, 100), (100, 32, 128, 256), (200, 4, 40, 128))  # T, B, I, H


def cases(context: Context) -> list[Case]:
    cells, shapes = (CELLS[:1], SHAPES[:1]) if context.quick else (CELLS, SHAPES)
    return [
        case
        for cell in cells
        for shape in shapes
        for case in recurrent_cases(context, Workload(cell, *shape, dtype="float64"))
    ]


SUITE = Suite("double", "float64", cases)
