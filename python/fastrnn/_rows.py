"""An input whose steps are rows of a table, most of them more than once."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._load import core
from fastrnn._typing import Array, Floating, Integers


class Rows:
    """x[t, b] = table[index[t, b]], as an input of the functions in `fastrnn.functional`.

    What a layer makes of a step's input, W x_t + b, is then made once for each row of the table,
    however many steps have it; in the backward pass its gradients are added up by row first. Of
    word vectors this saves most of the work, since texts repeat their words. The outputs are the
    same bits, gradients have their sums in another order. ``numpy.asarray`` writes x out.

    Parameters
    ----------
    table : array [N, I], float32 or float64
        The rows.
    index : array of integers, as x without its last axis: [T, B], [B, T] or [T]
        Which row each step has.

    Attributes
    ----------
    shape : tuple of int
        That of x.

    Raises
    ------
    IndexError
        If an index is not in 0 .. N - 1.
    ValueError, TypeError
        An argument has a wrong type, dtype or rank; the message names it.

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> table = np.eye(3, dtype=np.float32)
    >>> np.asarray(F.Rows(table, np.array([[2, 0]])))
    array([[[0., 0., 1.],
            [1., 0., 0.]]], dtype=float32)
    """

    def __init__(self, table: Floating, index: Integers) -> None:
        self.table = _check.floating("table", table, (None, None))
        self.index = _check.integers("index", index)
        count = len(self.table)
        if self.index.size and not 0 <= self.index.min() <= self.index.max() < count:
            worst = self.index.min() if self.index.min() < 0 else self.index.max()
            raise IndexError(f"index: expected 0 .. {count - 1}, got {worst}")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array that this stands for."""
        return (*self.index.shape, self.table.shape[1])

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return self.index.ndim + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers."""
        return self.table.dtype

    def __getitem__(self, key: Any) -> Rows:
        """Return some of its steps; ``key`` is one of all axes but the last."""
        return Rows(self.table, self.index[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("copy: Rows cannot become an array without a copy")
        whole = self.table[self.index]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<Rows of shape {self.shape}, {len(self.table)} different>"


def sum_by_row(index: Integers, dx: Floating, rows: int) -> Floating:
    """Return the gradient of a table [rows, I] from that of x [T, B, I], with index [T, B]."""
    dtable = np.empty((rows, dx.shape[-1]), dx.dtype)
    flat = np.ascontiguousarray(dx).reshape(-1, dx.shape[-1])
    core.embedding_backward(index.reshape(-1), flat, dtable)
    return dtable
