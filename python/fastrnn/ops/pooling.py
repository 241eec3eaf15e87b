"""From sequences to one row each, and the two halves of a bidirectional output to one."""

from typing import Literal, NamedTuple

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating

Pooling = Literal["mean", "max", "last"]
Merge = Literal["sum", "mul", "ave"]


class Pooled(NamedTuple):
    """What `pool_backward` needs besides the gradient."""

    pooling: Pooling
    shape: tuple[int, ...]
    mask: Array | None
    place: Array | None


def pool_forward(pooling: Pooling, x: Array, mask: Array | None) -> tuple[Floating, Pooled]:
    """Return x [B, T, F] pooled over the steps that exist, [B, F]; zeros where none does.

    ``mask`` is bool [B, T], None for all steps. Of equal maxima the first is taken.
    """
    x = _check.floating("x", x, (None, None, None))
    out = np.empty((x.shape[0], x.shape[2]), x.dtype)
    place = np.empty(out.shape, np.int32) if pooling == "max" else None
    _core.pool(pooling, x, mask, out, place)
    return out, Pooled(pooling, x.shape, mask, place)


def pool_backward(pooled: Pooled, dout: Array) -> Floating:
    """Undo `pool_forward`: from dout [B, F] to dx [B, T, F]."""
    shape = pooled.shape
    dout = _check.floating("dout", dout, (shape[0], shape[2]))
    dx = np.empty(shape, dout.dtype)
    _core.pool_backward(pooled.pooling, dout, pooled.mask, pooled.place, dx)
    return dx


def merge_forward(merge: Merge, x: Array) -> Floating:
    """Return the two halves of x [..., 2 H] put together: [..., H]."""
    x = _check.floating("x", x)
    size = x.shape[-1] // 2
    out = np.empty((*x.shape[:-1], size), x.dtype)
    _core.merge(merge, x.reshape(-1, 2 * size), out.reshape(-1, size))
    return out


def merge_backward(merge: Merge, x: Array, dout: Array) -> Floating:
    """Undo `merge_forward`: from dout [..., H] to dx [..., 2 H]."""
    x = _check.floating("x", x)
    size = x.shape[-1] // 2
    dout = _check.floating("dout", dout, (*x.shape[:-1], size), like=x)
    dx = np.empty_like(x)
    _core.merge_backward(
        merge, x.reshape(-1, 2 * size), dout.reshape(-1, size), dx.reshape(-1, 2 * size)
    )
    return dx
