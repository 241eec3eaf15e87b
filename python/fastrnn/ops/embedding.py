"""Rows of a table by id, and the table's gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._rows import Rows
from fastrnn._typing import Array, Floating, Integers


class RowGradient:
    """The gradient of a table [V, E] of which few rows were used: zeros but for those.

    `numpy.asarray` makes the whole array of it.

    Attributes
    ----------
    ids : int64 array [n]
        The rows that were used, all different.
    rows : array [n, E]
        Their gradients.
    shape : tuple of int
        That of the table.
    """

    def __init__(self, ids: Integers, rows: Floating, count: int) -> None:
        self.ids = ids
        self.rows = rows
        self.shape = (count, rows.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self.rows.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("copy: a RowGradient cannot become an array without a copy")
        whole = np.zeros(self.shape, self.dtype)
        whole[self.ids] = self.rows
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<RowGradient of shape {self.shape}, {len(self.ids)} rows>"


def embedding_forward(ids: Array, table: Array) -> Floating:
    """Return the rows of table [V, E] that ids [...] name: [..., E].

    Raises
    ------
    IndexError
        If an id is not in 0 .. V - 1.
    """
    table = _check.floating("table", table, (None, None))
    ids = _check.integers("ids", ids)
    out = np.empty((*ids.shape, table.shape[1]), table.dtype)
    _core.embedding_forward(ids.reshape(-1), table, out.reshape(-1, table.shape[1]))
    return out


def embedding_rows(ids: Array, table: Array) -> tuple[Rows, Integers]:
    """Return what `embedding_forward` does as `Rows`, and the id of each row."""
    ids = _check.integers("ids", ids)
    found, place = _core.number_ids(ids.reshape(-1))
    return Rows(embedding_forward(found, table), place.reshape(ids.shape)), found


def embedding_backward(ids: Array, dout: Array, rows: int) -> Floating:
    """Undo `embedding_forward`: sum dout [..., E] by id into dtable [rows, E]."""
    ids = _check.integers("ids", ids)
    size = dout.shape[-1]
    dout = _check.floating("dout", dout, (*ids.shape, size))
    dtable = np.empty((_check.positive_int("rows", rows), size), dout.dtype)
    _core.embedding_backward(ids.reshape(-1), dout.reshape(-1, size), dtable)
    return dtable


def embedding_backward_rows(ids: Array, dout: Array, rows: int) -> RowGradient:
    """Sum dout [..., E] by id, for those rows of the table [rows, E] that ids [...] name."""
    ids = _check.integers("ids", ids)
    found, place = _core.number_ids(ids.reshape(-1))
    sums = embedding_backward(place.reshape(ids.shape), dout, max(1, len(found)))
    return RowGradient(found, sums[: len(found)], _check.positive_int("rows", rows))
