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
    # the corners: B 1 to 256, H 32 to 1024, T 10 to 1000
    (10, 256, 32, 32),
    (10, 256, 256, 1024),
    (20, 1, 1024, 1024),
    (1000, 1, 64, 32),
    (1000, 64, 32, 32),
    (200, 128, 64, 256),
)
QUICK_SHAPES = (SHAPES[0], SHAPES[1], SHAPES[6])
LARGE = SHAPES[2]  # of which --quick runs the LSTM's inference


def works(context: Context) -> list[Workload]:
    shapes = QUICK_SHAPES if context.quick else SHAPES
    return [Workload(cell, *shape) for cell in CELLS for shape in shapes]


def cases(context: Context) -> list[Case]:
    found = [case for work in works(context) for case in recurrent_cases(context, work)]
    if context.quick:
        found += recurrent_cases(context, Workload("lstm", *LARGE), modes=("inference",))
    return found


SUITE = Suite("layers", "one layer, one direction", cases)
