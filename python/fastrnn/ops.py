"""The arithmetic that layers, losses and optimisers are made of.

They call this module and no other, so that a second back end is a second module of this shape.
Arrays come in as float32 or float64 and results are new arrays; only `sgd` and `adam` write, into
the parameters and their own state.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating
from fastrnn.functional import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)

__all__ = [
    "ACTIVATIONS",
    "activation_backward",
    "adam",
    "binary_cross_entropy",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "global_norm",
    "gru_backward",
    "gru_forward",
    "linear_backward",
    "linear_forward",
    "lstm_backward",
    "lstm_forward",
    "relu",
    "rnn_backward",
    "rnn_forward",
    "sgd",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "tanh",
]


def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> Floating:
    """Return x [..., I] times weight [O, I] transposed, plus bias [O]: [..., O]."""
    weight = _check.floating("weight", weight, (None, None))
    units, size = weight.shape
    x = _last_axis("x", x, size, like=weight)
    if bias is not None:
        bias = _check.floating("bias", bias, (units,), like=weight)
    out = np.empty((*x.shape[:-1], units), x.dtype)
    _core.linear_forward(x.reshape(-1, size), weight, bias, out.reshape(-1, units))
    return out


def linear_backward(
    x: Array, weight: Array, dout: Array, *, has_bias: bool = True, need_dx: bool = True
) -> tuple[Floating | None, Floating, Floating | None]:
    """Undo `linear_forward`: from dout [..., O] to (dx [..., I], dweight [O, I], dbias [O]).

    ``dx`` is None without ``need_dx``, ``dbias`` without ``has_bias``.
    """
    weight = _check.floating("weight", weight, (None, None))
    units, size = weight.shape
    x = _last_axis("x", x, size, like=weight)
    dout = _check.floating("dout", dout, (*x.shape[:-1], units), like=weight)
    dx = np.empty_like(x) if need_dx else None
    dweight = np.empty_like(weight)
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


def softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None = None, *, need_dlogits: bool = True
) -> tuple[float, Floating, Floating | None]:
    """Return (sum of weights * losses, losses [...], dlogits [..., C]).

    Of logits [..., C], labels [...] and weights [...]. A negative label is ignored. The losses are
    unweighted, in nats; ``dlogits`` is the gradient of the sum.

    Raises
    ------
    IndexError
        If a label is C or more.
    """
    logits = _check.floating("logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"logits: expected 2 or more dimensions, got shape {logits.shape}")
    classes = logits.shape[-1]
    labels = _check.integers("labels", labels, logits.shape[:-1])
    if weights is not None:
        weights = _check.floating("weights", weights, labels.shape, like=logits).reshape(-1)
    losses = np.empty(labels.shape, logits.dtype)
    dlogits = np.empty_like(logits) if need_dlogits else None
    total = _core.softmax_cross_entropy(
        logits.reshape(-1, classes),
        labels.reshape(-1),
        weights,
        losses.reshape(-1),
        None if dlogits is None else dlogits.reshape(-1, classes),
    )
    return total, losses, dlogits


def binary_cross_entropy(
    logits: Array, targets: Array, weights: Array | None = None, *, need_dlogits: bool = True
) -> tuple[float, Floating, Floating | None]:
    """Return (sum of weights * losses, losses, dlogits); targets [...] in 0..1, as logits."""
    logits = _check.floating("logits", logits)
    targets = _check.floating("targets", targets, logits.shape, like=logits)
    if weights is not None:
        weights = _check.floating("weights", weights, logits.shape, like=logits).reshape(-1)
    losses = np.empty_like(logits)
    dlogits = np.empty_like(logits) if need_dlogits else None
    total = _core.binary_cross_entropy(
        logits.reshape(-1),
        targets.reshape(-1),
        weights,
        losses.reshape(-1),
        None if dlogits is None else dlogits.reshape(-1),
    )
    return total, losses, dlogits


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


def _last_axis(name: str, x: Array, size: int, like: Array) -> Floating:
    x = _check.floating(name, x, like=like)
    if x.ndim < 2 or x.shape[-1] != size:
        raise ValueError(f"{name}: expected shape (..., {size}), got {x.shape}")
    return x


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
