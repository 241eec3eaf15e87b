"""One layer, one direction: cell x shape, inference and training."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

CELLS = ("lstm", "gru", "rnn_tanh")

# T, B, I, H. The list is fixed: a shape is not taken out because it does badly.
SHAPES = (
    (50, 32, 100, 100),
    (100, 32, 128, 256),
    (100, 64, 256, 512),
    (50, 32, 512, 1024),
    (1000, 16, 64, 128),
    (100, 1, 512, 512),
    # small ones, where the cost of a call or of a step decides
    (10, 1, 32, 32),
    (25, 8, 32, 64),
    (28, 256, 28, 128),
    (200, 4, 40, 128),
)
QUICK_SHAPES = (SHAPES[0], SHAPES[1], SHAPES[6])
LARGE = SHAPES[2]  # of which --quick runs the LSTM's inference


def cases(context: Context) -> list[Case]:
    shapes = QUICK_SHAPES if context.quick else SHAPES
    found = [
        case
        for cell in CELLS
        for shape in shapes
        for case in recurrent_cases(context, Workload(cell, *shape))
    ]
    if context.quick:
        found += recurrent_cases(context, Workload("lstm", *LARGE), modes=("inference",))
    return found


SUITE = Suite("layers", "one layer, one direction", cases)
