"""One time step of one sequence: the latency of a call, Python's share included."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")
SIZES = (32, 64, 128, 256, 512)  # I = H


def cases(context: Context) -> list[Case]:
    cells, sizes = (CELLS[:1], SIZES[::2]) if context.quick else (CELLS, SIZES)
    return [
        case
        for cell in cells
        for size in sizes
        for case in recurrent_cases(context, Workload(cell, 1, 1, size, size), modes=("step",))
    ]


SUITE = Suite("step", "one step, batch 1, state carried", cases)
