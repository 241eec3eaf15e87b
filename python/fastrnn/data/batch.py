"""One batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastrnn._typing import Array, Integers


@dataclass(frozen=True)
class Batch:
    """What one step is taken on; an iterable of batches for `fit` may yield these or tuples.

    Attributes
    ----------
    x : array [B, ...]
        The input.
    y : array [B, ...] or None
        The targets.
    sample_weight : array [B] or [B, T], optional
        What each sample, or each step of it, counts in the loss.
    mask : bool array [B, T], optional
        Which steps exist.
    reset : integer array or list, optional
        The rows in which another sequence begins: stateful layers forget those rows' state first.
    """

    x: Array
    y: Array | None = None
    sample_weight: Array | None = None
    mask: Array | None = None
    reset: Integers | None = None


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


def finite(name: str, array: Array, mask: Array | None = None) -> Array:
    """Return the array, if no number in it is NaN or infinite, other than at masked steps."""
    if array.dtype.kind == "f":
        good = np.isfinite(array)
        if mask is not None and mask.dtype == np.bool_ and mask.shape == array.shape[: mask.ndim]:
            good |= ~mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
        if not good.all():
            row, value = int(np.argwhere(~good)[0][0]), array[~good][0]
            raise ValueError(f"{name}: expected finite numbers, got {value} in row {row}")
    return array


def check_rows(x: Any, **others: Any) -> None:
    """Raise ValueError unless all that is given has as many rows as ``x``, and at least one."""
    for name, rows in others.items():
        if rows is not None and len(rows) != len(x):
            raise ValueError(f"{name}: expected {len(x)} rows, as x has, got {len(rows)}")
    if len(x) == 0:
        raise ValueError("x: expected at least one row, got none")


class RowBatches:
    """What batches share that hold all their rows: their number, and parts of the rows."""

    x: Any
    y: Any
    sample_weight: Any
    batch_size: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.x) // self.batch_size)

    def parts(
        self, fraction: float, batch_size: int | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the constructor's arguments for the first rows, and for a ``fraction`` at the end.

        ``batch_size`` is that of the second ones, by default the same.

        Raises
        ------
        ValueError
            If either would have no rows.
        """
        rows = len(self.x)
        kept = int(rows * (1.0 - fraction))
        if not 0 < kept < rows:
            raise ValueError(
                "validation_split: expected at least one row for the training and one for the "
                f"validation, got {fraction:g} of {rows}"
            )
        first = self._part(slice(kept), self.batch_size)
        return first, self._part(slice(kept, None), batch_size or self.batch_size)

    def _part(self, rows: slice, batch_size: int) -> dict[str, Any]:
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return {
            "x": self.x[rows],
            "y": self.y[rows],
            "sample_weight": weight,
            "batch_size": batch_size,
        }
