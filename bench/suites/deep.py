"""Several layers, both directions."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((100, 32, 128, 128), (50, 16, 256, 256))  # T, B, I, H
STACKS = ((2, True), (3, False), (4, True))  # layers, both directions


def cases(context: Context) -> list[Case]:
    if context.quick:
        return recurrent_cases(context, Workload("lstm", *SHAPES[0], 2, True), ("training",))
    return [
        case
        for cell in CELLS
        for shape in SHAPES
        for stack in STACKS
        for case in recurrent_cases(context, Workload(cell, *shape, *stack))
    ]


SUITE = Suite("deep", "2 to 4 layers", cases)
