"""One step of an optimiser over all parameters, in place.

Every list has an array for each parameter, of its shape and of one type; the lists of what is kept
only in some variants may be empty. ``grads`` are multiplied by ``grad_scale``, then clipped. Weight
decay is decoupled: p -= learning_rate * weight_decay * p comes first. A gradient may be a
`RowGradient`, which gives the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating, Integers
from fastrnn.ops.embedding import RowGradient

Gradient: TypeAlias = Array | RowGradient

Clip: TypeAlias = tuple[Literal["none", "value", "norm", "global_norm"], float]
"""How gradients are clipped: each number to +-limit, each gradient's norm or all gradients' joint
norm to the limit."""

NO_CLIP: Clip = ("none", 0.0)


def sgd(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    velocities: Sequence[Floating] = (),
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    clip: Clip = NO_CLIP,
) -> None:
    """Take one step of gradient descent, in place.

    As Keras: v = momentum * v - lr * g, p += v; with Nesterov p += momentum * v - lr * g. Without
    velocities p -= lr * g.
    """
    _core.sgd(
        params,
        _contiguous(grads),
        list(velocities),
        learning_rate,
        momentum,
        nesterov,
        weight_decay,
        grad_scale,
        *clip,
    )


def adam(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    first: Sequence[Floating],
    second: Sequence[Floating],
    largest: Sequence[Floating] = (),
    *,
    step: int,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    clip: Clip = NO_CLIP,
) -> None:
    """Take step number ``step`` (1 for the first) of Adam, in place (Kingma and Ba 2014).

    As Keras: p -= alpha * m / (sqrt(v) + epsilon), alpha = lr * sqrt(1 - beta_2^step) / (1 -
    beta_1^step). With ``largest`` it is AMSGrad (Reddi et al. 2018).
    """
    _core.adam(
        params,
        _contiguous(grads),
        list(first),
        list(second),
        list(largest),
        _check.positive_int("step", step),
        learning_rate,
        beta_1,
        beta_2,
        epsilon,
        weight_decay,
        grad_scale,
        *clip,
    )


def rmsprop(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    squares: Sequence[Floating],
    means: Sequence[Floating] = (),
    velocities: Sequence[Floating] = (),
    *,
    learning_rate: float,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    clip: Clip = NO_CLIP,
) -> None:
    """Take one step of RMSprop, in place (Hinton 2012; Graves 2013).

    As Keras: s = rho * s + (1 - rho) * g^2, p -= lr * g / sqrt(s + epsilon); ``means`` center it
    (s less the squared mean of g), ``velocities`` give it momentum.
    """
    _core.rmsprop(
        params,
        _contiguous(grads),
        list(squares),
        list(means),
        list(velocities),
        learning_rate,
        rho,
        momentum,
        epsilon,
        weight_decay,
        grad_scale,
        *clip,
    )


def global_norm(arrays: Sequence[Gradient]) -> float:
    """Return the square root of the sum of all squares of arrays of one type."""
    return _core.global_norm(_contiguous(arrays))


def _contiguous(gradients: Sequence[Gradient]) -> list[Floating | tuple[Integers, Floating]]:
    """Return C-contiguous arrays; what is not a NumPy array is the core's to refuse."""
    return [
        (g.ids, g.rows)
        if isinstance(g, RowGradient)
        else g
        if g.flags.c_contiguous
        else np.ascontiguousarray(g)
        for g in gradients
    ]
