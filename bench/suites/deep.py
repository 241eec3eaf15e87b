"""Several layers, one or both directions; each kind of stack is a series of its own."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")
SHAPES = ((100, 32, 128, 128), (50, 16, 256, 256))  # T, B, I, H
STACKS = ((2, True), (3, False), (4, True))  # layers, both directions


def works(context: Context) -> list[Workload]:
    if context.quick:
        return [Workload("lstm", *SHAPES[0], *STACKS[0])]
    return [
        Workload(cell, *shape, *stack) for stack in STACKS for cell in CELLS for shape in SHAPES
    ]


def cases(context: Context) -> list[Case]:
    modes = ("training",) if context.quick else ("inference", "training")
    return [
        case
        for work in works(context)
        for case in recurrent_cases(
            context, work, modes, label=f"{work.cell} {work.label}", series=work.stack
        )
    ]


SUITE = Suite("deep", "2 to 4 layers", cases)
