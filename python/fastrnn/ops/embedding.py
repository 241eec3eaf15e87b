"""Rows of a table by id, and the table's gradient."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


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


def embedding_backward(ids: Array, dout: Array, rows: int) -> Floating:
    """Undo `embedding_forward`: sum dout [..., E] by id into dtable [rows, E]."""
    ids = _check.integers("ids", ids)
    size = dout.shape[-1]
    dout = _check.floating("dout", dout, (*ids.shape, size))
    dtable = np.empty((_check.positive_int("rows", rows), size), dout.dtype)
    _core.embedding_backward(ids.reshape(-1), dout.reshape(-1, size), dtable)
    return dtable
