"""Sequences whose steps do not all exist: masks [B, T], and the way to sequences without gaps.

A mask is a bool array [B, T]: True where a step exists.
"""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating, Integers

GAPS, PREFIX, FULL = 0, 1, 2
"""What `count_steps` says of a mask: the steps that exist are any, the first ones, or all."""


def count_steps(mask: Array) -> tuple[Integers, int]:
    """Return how many steps of each sequence exist [B], and GAPS, PREFIX or FULL."""
    mask = _mask(mask)
    lengths = np.empty(mask.shape[0], np.int64)
    return lengths, _core.count_steps(mask, lengths)


def gather_steps(x: Array, mask: Array, steps: int) -> Array:
    """Return x [B, T, ...] without its masked steps: [B, steps, ...].

    Each sequence begins at step 0; past its end are zeros. ``x`` may be of any type.
    """
    mask = _mask(mask, x.shape[:2])
    x, trailing = _as_steps(x)
    out = np.empty((x.shape[0], steps, x.shape[2]), x.dtype)
    _core.gather_steps(mask, x, out)
    return out.reshape(*out.shape[:2], *trailing)


def scatter_steps(x: Array, mask: Array, *, repeat: bool = False) -> Array:
    """Undo `gather_steps`: x [B, steps, ...] to [B, T, ...], zeros at masked steps.

    With ``repeat`` a masked step repeats the one before it. ``x`` may be of any type.

    Raises
    ------
    ValueError
        If a sequence of the mask has more steps than ``x``.
    """
    mask = _mask(mask)
    x, trailing = _as_steps(x)
    out = np.empty((*mask.shape, x.shape[2]), x.dtype)
    _core.scatter_steps(mask, x, repeat, out)
    return out.reshape(*mask.shape, *trailing)


def repeat_steps_backward(dout: Array, mask: Array, steps: int) -> Floating:
    """Undo ``scatter_steps(repeat=True)``: sum dout [B, T, F] into [B, steps, F]."""
    mask = _mask(mask)
    dout = _check.floating("dout", dout, (*mask.shape, None))
    dx = np.empty((mask.shape[0], steps, dout.shape[2]), dout.dtype)
    _core.scatter_steps_backward(mask, dout, dx)
    return dx


def differs(x: Array, value: float) -> Array:
    """Return the mask of the steps of x [B, T, F] that are not ``value`` throughout."""
    x = _check.floating("x", x, (None, None, None))
    mask = np.empty(x.shape[:2], np.bool_)
    _core.differs(x, value, mask)
    return mask


def _mask(mask: Array, shape: tuple[int, ...] | None = None) -> Array:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else repr(mask)
        raise TypeError(f"mask: expected a bool array [B, T], got {got}")
    if shape is not None and mask.shape != shape:
        raise ValueError(f"mask: expected shape {shape}, got {mask.shape}")
    return mask


def _as_steps(x: Array) -> tuple[Array, tuple[int, ...]]:
    """Return x [B, T, F], the last axis contiguous, and what the axes after T were."""
    trailing = x.shape[2:]
    if len(trailing) != 1:
        x = x.reshape(*x.shape[:2], -1) if x.size else x.reshape(*x.shape[:2], 0)
    if x.size and x.shape[2] > 1 and x.strides[2] != x.itemsize:
        x = np.ascontiguousarray(x)
    return x, trailing
