"""The one source of random numbers: initial weights, shuffling and dropout all draw from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

__all__ = ["SeedStream", "generator", "get_state", "next_seed", "set_seed", "set_state"]


@cache
def generator() -> np.random.Generator:
    """Return the generator; without `set_seed` it starts from the system's entropy."""
    return np.random.Generator(np.random.PCG64())


def set_seed(seed: int) -> None:
    """Make what follows repeatable: the same seed, program, build and ISA give the same bits.

    Parameters
    ----------
    seed : int
        0 or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an int, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    generator().bit_generator.state = np.random.PCG64(int(seed)).state


def next_seed() -> int:
    """Draw a seed in 0 .. 2**63 - 1 for a counter-based generator (dropout)."""
    return int(generator().integers(2**63 - 1))


def get_state() -> dict[str, Any]:
    """Return the generator's state, as made of ints and strings (JSON can hold it)."""
    return dict(generator().bit_generator.state)


def set_state(state: Mapping[str, Any]) -> None:
    """Put the generator where `get_state` found it."""
    generator().bit_generator.state = dict(state)


class SeedStream:
    """The seeds of one layer's dropout masks, one after another.

    Parameters
    ----------
    seed : int, optional
        They are then a function of it and of how many were drawn; else they come from the one
        source.

    Attributes
    ----------
    count : int
        How many were drawn; setting it goes on from there.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None:
            if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
                raise TypeError(f"seed: expected an int or None, got {seed!r}")
            if seed < 0:
                raise ValueError(f"seed: expected 0 or more, got {seed}")
        self.seed = None if seed is None else int(seed)
        self.count = 0

    def next(self) -> int:
        """Return the next seed, in 0 .. 2**63 - 1."""
        self.count += 1
        if self.seed is None:
            return next_seed()
        words = np.random.SeedSequence([self.seed, self.count]).generate_state(1, np.uint64)
        return int(words[0]) >> 1
