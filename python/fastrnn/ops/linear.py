"""A linear map of the last axis, and its gradients."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> Floating:
    """Return x [..., I] times weight [O, I] transposed, plus bias [O]: [..., O].

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or I or O is 0.
    """
    weight = _weight(weight)
    units, size = weight.shape
    x = _last_axis("x", x, size, like=weight)
    if bias is not None:
        bias = _check.floating("bias", bias, (units,), like=weight)
    out = np.empty((*x.shape[:-1], units), x.dtype)
    _core.linear_forward(x.reshape(-1, size), weight, bias, out.reshape(-1, units))
    return out


def linear_backward(
    x: Array,
    weight: Array,
    dout: Array,
    *,
    has_bias: bool = True,
    need_dx: bool = True,
    need_dweight: bool = True,
) -> tuple[Floating | None, Floating | None, Floating | None]:
    """Undo `linear_forward`: from dout [..., O] to (dx [..., I], dweight [O, I], dbias [O]).

    ``dx`` is None without ``need_dx``, ``dweight`` without ``need_dweight``, ``dbias`` without
    ``has_bias``.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or I or O is 0.
    """
    weight = _weight(weight)
    units, size = weight.shape
    x = _last_axis("x", x, size, like=weight)
    dout = _check.floating("dout", dout, (*x.shape[:-1], units), like=weight)
    dx = np.empty_like(x) if need_dx else None
    dweight = np.empty_like(weight) if need_dweight else None
    dbias = np.empty(units, weight.dtype) if has_bias else None
    _core.linear_backward(
        x.reshape(-1, size),
        weight,
        dout.reshape(-1, units),
        None if dx is None else dx.reshape(-1, size),
        dweight,
        dbias,
    )
    return dx, dweight, dbias


def _weight(weight: Array) -> Floating:
    weight = _check.floating("weight", weight, (None, None))
    if 0 in weight.shape:
        raise ValueError(f"weight: expected sizes of 1 or more, got shape {weight.shape}")
    return weight


def _last_axis(name: str, x: Array, size: int, like: Array) -> Floating:
    x = _check.floating(name, x, like=like)
    if x.ndim < 2 or x.shape[-1] != size:
        raise ValueError(f"{name}: expected shape (..., {size}), got {x.shape}")
    return x
