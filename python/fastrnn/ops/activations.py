"""Activations, and their gradients."""

from collections.abc import Callable

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def sigmoid(x: Array) -> Floating:
    """Return 1 / (1 + exp(-x)), of the shape of ``x``."""
    x = _check.floating("x", x)
    out = np.empty_like(x)
    _core.sigmoid(x, out)
    return out


def tanh(x: Array) -> Floating:
    """Return tanh(x), of the shape of ``x``."""
    x = _check.floating("x", x)
    out = np.empty_like(x)
    _core.tanh(x, out)
    return out


def relu(x: Array) -> Floating:
    """Return max(x, 0), of the shape of ``x``."""
    x = _check.floating("x", x)
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def softmax(x: Array) -> Floating:
    """Return exp(x) / sum(exp(x)) over the last axis."""
    x = _check.floating("x", x)
    out = np.exp(x - x.max(axis=-1, keepdims=True))
    out /= out.sum(axis=-1, keepdims=True)
    return np.asarray(out)


ACTIVATIONS: dict[str, Callable[[Array], Floating]] = {
    "linear": lambda x: x,
    "relu": relu,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "tanh": tanh,
}
"""The activations of a Dense layer; `activation_backward` knows the same names."""


def activation_backward(activation: str, y: Floating, dy: Floating) -> Floating:
    """Return dx from the gradient ``dy`` and the activation's *output* ``y``, all of one shape."""
    if activation == "relu":
        return np.asarray(np.where(y > 0, dy, dy.dtype.type(0)))
    if activation == "sigmoid":
        return np.asarray(dy * y * (1 - y))
    if activation == "softmax":
        return np.asarray(y * (dy - (dy * y).sum(axis=-1, keepdims=True)))
    if activation == "tanh":
        return np.asarray(dy * (1 - y * y))
    return dy
