"""Optimiser steps over lists of parameters, in place."""

from collections.abc import Sequence

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def sgd(
    params: Sequence[Floating],
    grads: Sequence[Array],
    velocities: Sequence[Floating] = (),
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
) -> None:
    """Take one step of gradient descent, in place.

    As Keras: v = momentum * v - lr * g, p += v; with Nesterov p += momentum * v - lr * g. Gradients
    are multiplied by ``grad_scale`` first; ``velocities`` may be empty when ``momentum`` is 0.
    """
    states = {"velocities": velocities} if momentum else {}
    grads = _update_arguments(params, grads, **states)
    _core.sgd(
        params, grads, velocities, learning_rate, momentum, nesterov, weight_decay, grad_scale
    )


def adam(
    params: Sequence[Floating],
    grads: Sequence[Array],
    first: Sequence[Floating],
    second: Sequence[Floating],
    *,
    step: int,
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
) -> None:
    """Take step number ``step`` (1 for the first) of Adam, in place (Kingma and Ba 2014).

    Gradients are multiplied by ``grad_scale`` first; ``weight_decay`` is decoupled (Loshchilov and
    Hutter 2017).
    """
    grads = _update_arguments(params, grads, first=first, second=second)
    _core.adam(
        params,
        grads,
        first,
        second,
        _check.positive_int("step", step),
        learning_rate,
        beta_1,
        beta_2,
        epsilon,
        weight_decay,
        grad_scale,
    )


def global_norm(arrays: Sequence[Array]) -> float:
    """Return the square root of the sum of all squares of arrays of one type."""
    if not arrays:
        return 0.0
    like = arrays[0]
    return _core.global_norm(
        [_check.floating(f"arrays[{i}]", array, like=like) for i, array in enumerate(arrays)]
    )


def _update_arguments(
    params: Sequence[Floating], grads: Sequence[Array], **states: Sequence[Floating]
) -> list[Floating]:
    """Check an optimiser's lists against ``params``; return the gradients C-contiguous."""
    for name, arrays in (("grads", grads), *states.items()):
        if len(arrays) != len(params):
            raise ValueError(f"{name}: expected {len(params)} arrays, got {len(arrays)}")
    for name, arrays in (("params", params), *states.items()):
        for i, (array, param) in enumerate(zip(arrays, params, strict=True)):
            if _check.floating(f"{name}[{i}]", array, param.shape, like=params[0]) is not array:
                raise ValueError(f"{name}[{i}]: expected a C-contiguous array")
            if not array.flags.writeable:
                raise ValueError(f"{name}[{i}]: expected a writeable array")
    return [
        _check.floating(f"grads[{i}]", grad, param.shape, like=params[0])
        for i, (grad, param) in enumerate(zip(grads, params, strict=True))
    ]
