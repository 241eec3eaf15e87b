"""The same work with 1, 2, 4 ... threads, up to the number asked for."""

from __future__ import annotations

from suites import Case, Context, Suite, recurrent_cases
from workload import Workload

SHAPES = ((100, 32, 128, 256), (10, 256, 256, 512), (1000, 16, 64, 128))  # T, B, I, H


def cases(context: Context) -> list[Case]:
    shapes = SHAPES[:1] if context.quick else SHAPES
    modes = ("training",) if context.quick else ("inference", "training")
    found = []
    for shape in shapes:
        for threads in teams(context.threads):
            work = Workload("lstm", *shape)
            label = f"{work.label} on {threads}"
            found += recurrent_cases(context, work, modes, threads, label)
    return found


def teams(most: int) -> list[int]:
    """Powers of two, and the most."""
    numbers = []
    number = 1
    while number < most:
        numbers.append(number)
        number *= 2
    return [*numbers, most]


SUITE = Suite("threads", "1 to n threads, ratios at equal numbers", cases)
