"""Keras's arguments that fastrnn's layers do not have: what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# They say how Keras computes, not what: there is nothing to do about them.
_WITHOUT_EFFECT = ("unroll", "use_cudnn", "input_length")
_SHAPES = ("input_shape", "batch_input_shape", "batch_shape", "input_dim")
_INSTEAD = {
    "regularizer": "not supported, expected None; the optimizers' weight_decay= shrinks weights",
    "constraint": "not supported, expected None; clipnorm= and clipvalue= of the optimizers limit "
    "gradients",
}


def refuse(layer: str, arguments: Mapping[str, Any]) -> None:
    """Raise an error for arguments that would change something; accept Keras's defaults.

    Raises
    ------
    ValueError
        If it is one of Keras's arguments; the message says what there is instead.
    TypeError
        If it is none.
    """
    for name, value in arguments.items():
        kind = name.rpartition("_")[2]
        if name in _WITHOUT_EFFECT or (kind in _INSTEAD and value is None):
            continue
        if kind in _INSTEAD:
            raise ValueError(f"{name}: {_INSTEAD[kind]}, got {value!r}")
        if name in _SHAPES:
            raise ValueError(f"{name}: put Input(shape) before the model's first layer instead")
        raise TypeError(f"{layer}: unexpected argument {name!r}")
