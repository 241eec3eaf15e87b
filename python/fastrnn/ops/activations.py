"""Activations, and their gradients."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating

ACTIVATIONS = (
    "linear",
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "leaky_relu",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
)
"""Every activation's name; the equations, which are Keras 3's, are in cpp/kernels/activations.h."""


def activation_forward(activation: str, x: Array) -> Floating:
    """Return the activation of x [...], for "softmax" over the last axis; "linear" is x itself."""
    x = _check.floating("x", x)
    if activation == "linear":
        return x
    out = np.empty_like(x)
    if activation == "softmax":
        size = _last_size(x)
        _core.softmax(x.reshape(-1, size), out.reshape(-1, size))
    else:
        _core.activation(activation, x, out)
    return out


def keeps_input(activation: str) -> bool:
    """Whether `activation_backward` wants the activation's input, rather than its output."""
    return activation not in ("linear", "softmax") and _core.activation_keeps_input(activation)


def activation_backward(activation: str, kept: Array, dy: Array) -> Floating:
    """Return dx from dy and what `keeps_input` says, all of one shape."""
    kept = _check.floating("kept", kept)
    dy = _check.floating("dy", dy, kept.shape, like=kept)
    if activation == "linear":
        return dy
    dx = np.empty_like(kept)
    if activation == "softmax":
        size = _last_size(kept)
        _core.softmax_backward(kept.reshape(-1, size), dy.reshape(-1, size), dx.reshape(-1, size))
    else:
        _core.activation_backward(activation, kept, dy, dx)
    return dx


def _last_size(x: Floating) -> int:
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x: softmax needs a last axis of at least 1, got shape {x.shape}")
    return int(x.shape[-1])
