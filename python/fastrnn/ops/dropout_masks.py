"""Dropout with masks that depend on seed and place alone."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def dropout(x: Array, p: float, seed: int, *, stream: int = 0, first_step: int = 0) -> Floating:
    """Zero a fraction ``p`` of x [B, F] or [B, T, F] and divide the rest by 1 - p.

    The mask depends on (seed, stream, first_step + t, row, unit) alone: the same call on the
    gradient undoes it.
    """
    p = _check.fraction("p", p)
    x = _check.floating("x", x)
    if x.ndim not in (2, 3):
        raise ValueError(f"x: expected 2 or 3 dimensions, got shape {x.shape}")
    out = np.empty_like(x)
    shape = (x.shape[0], 1, x.shape[1]) if x.ndim == 2 else x.shape
    _core.dropout(x.reshape(shape), out.reshape(shape), p, seed, stream, first_step)
    return out
