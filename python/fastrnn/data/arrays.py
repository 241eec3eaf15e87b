"""Batches of the rows of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastrnn import _check, random
from fastrnn._typing import Array
from fastrnn.data.batch import RowBatches, as_array, check_rows, finite


class ArrayBatches(RowBatches):
    """Batches (x, y) or (x, y, sample_weight) of the rows of arrays; iterate as often as you like.

    Parameters
    ----------
    x : array [N, ...]
        The input, finite numbers.
    y : array [N, ...]
        The targets.
    batch_size : int
        How many rows a batch has; the last one has what is left.
    shuffle : bool
        Take the rows in a new random order in each iteration.
    sample_weight : array [N] or [N, T], optional
        What each sample, or each step of it, counts in the loss.

    Raises
    ------
    TypeError, ValueError
        If something consists of no numbers or ragged rows, ``x`` has NaN or infinity or no row, the
        numbers of rows do not match, or ``batch_size`` is no whole number of at least 1.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
    ) -> None:
        self.x = finite("x", as_array("x", x))
        self.y = as_array("y", y)
        self.sample_weight: Array | None = None
        if sample_weight is not None:
            self.sample_weight = as_array("sample_weight", sample_weight)
        check_rows(self.x, y=self.y, sample_weight=self.sample_weight)
        self.batch_size = _check.positive_int("batch_size", batch_size)
        self.shuffle = _check.flag("shuffle", shuffle)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        order = random.generator().permutation(len(self.x)) if self.shuffle else None
        arrays = [self.x, self.y]
        if self.sample_weight is not None:
            arrays.append(self.sample_weight)
        for start in range(0, len(self.x), self.batch_size):
            rows: Any = slice(start, start + self.batch_size)
            if order is not None:
                rows = order[rows]
            yield tuple(array[rows] for array in arrays)

    def split(
        self, fraction: float, batch_size: int | None = None
    ) -> tuple[ArrayBatches, ArrayBatches]:
        """Return batches of the first rows, and of a ``fraction`` of them from the end.

        ``batch_size`` is that of the second ones, by default the same.

        Raises
        ------
        ValueError
            If either would have no rows.
        """
        first, second = self.parts(fraction, batch_size)
        return ArrayBatches(**first, shuffle=self.shuffle), ArrayBatches(**second, shuffle=False)
