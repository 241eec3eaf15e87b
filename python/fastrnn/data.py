"""Batches: of arrays, and of one endless sequence for training with carried state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastrnn import _check, random
from fastrnn._typing import Array

__all__ = ["ArrayBatches", "ContinuousBatches", "continuous_batches"]


class ArrayBatches:
    """Batches of rows of ``x`` and ``y``; with ``shuffle`` each iteration has a new order."""

    def __init__(self, x: Any, y: Any, batch_size: int = 32, shuffle: bool = False) -> None:
        self.x, self.y = as_array("x", x), as_array("y", y)
        if len(self.x) != len(self.y):
            raise ValueError(f"y: expected {len(self.x)} rows, as x has, got {len(self.y)}")
        if len(self.x) == 0:
            raise ValueError("x: expected at least one row, got none")
        self.batch_size = _check.positive_int("batch_size", batch_size)
        self.shuffle = bool(shuffle)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        order = random.generator().permutation(len(self.x)) if self.shuffle else None
        for start in range(0, len(self.x), self.batch_size):
            rows: Any = slice(start, start + self.batch_size)
            if order is not None:
                rows = order[rows]
            yield self.x[rows], self.y[rows]


class ContinuousBatches:
    """One long sequence in batches that continue each other: see `continuous_batches`."""

    def __init__(self, ids: Any, batch_size: int, steps: int) -> None:
        ids = as_array("ids", ids)
        if ids.ndim != 1:
            raise ValueError(f"ids: expected one dimension, got shape {ids.shape}")
        self.batch_size = _check.positive_int("batch_size", batch_size)
        self.steps = _check.positive_int("steps", steps)
        self.length = length = (len(ids) - 1) // self.batch_size
        if length < 1:
            raise ValueError(
                f"ids: expected at least {self.batch_size + 1} for {self.batch_size} rows, "
                f"got {len(ids)}"
            )
        self.x = ids[: length * self.batch_size].reshape(self.batch_size, length)
        self.y = ids[1 : length * self.batch_size + 1].reshape(self.batch_size, length)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.length // self.steps)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, self.length, self.steps):
            columns = slice(start, start + self.steps)
            yield self.x[:, columns], self.y[:, columns]


def continuous_batches(ids: Any, batch_size: int, steps: int) -> ContinuousBatches:
    """Cut one sequence into ``batch_size`` rows side by side and go along them ``steps`` at a time.

    Row b of a batch continues row b of the batch before, so that a ``stateful`` layer sees each row
    as one sequence
    (truncated backpropagation through time).

    Parameters
    ----------
    ids : [N]
        The sequence, of at least ``batch_size + 1`` elements; fewer than ``batch_size`` at its end
        are left out.
    batch_size : int
        How many rows, B.
    steps : int
        How many steps T a batch has; the last one has what is left.

    Returns
    -------
    ContinuousBatches
        Iterate as often as you like over (x [B, T], y [B, T]), y being what follows each x.
    """
    return ContinuousBatches(ids, batch_size, steps)


def as_array(name: str, value: Any) -> Array:
    """Convert to an array of one row or more dimensions, of numbers."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}: expected rows of one shape, got ragged ones") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected numbers, got {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name}: expected an array, got a single number")
    return array
