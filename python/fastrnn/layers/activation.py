"""Activation: a function of every element, or softmax over the last axis."""

from __future__ import annotations

from typing import Any

from fastrnn import ops
from fastrnn._typing import Array, Floating
from fastrnn.layers.base import Layer

_ALIASES = {None: "linear", "swish": "silu"}


def activation_named(activation: Any) -> str:
    """Return the name under which ops knows ``activation``; None is "linear"."""
    name = _ALIASES.get(activation, activation) if isinstance(activation, str | None) else None
    if name not in ops.ACTIVATIONS:
        raise ValueError(
            f"activation: expected None or one of {sorted(ops.ACTIVATIONS)}, got {activation!r}"
        )
    return str(name)


class Activation(Layer):
    """Apply an activation, e.g. "relu", "gelu" or "softmax" (over the last axis).

    Parameters
    ----------
    activation : str
        One of `fastrnn.ops.ACTIVATIONS`, which are Keras's.
    """

    position_free = True
    kept_for_backward = ("_kept",)

    def __init__(self, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation_named(activation)
        self._kept: Floating | None = None

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        x = self.to_floating("x", x)
        y = ops.activation_forward(self.activation, x)
        if training:
            self._kept = x if ops.keeps_input(self.activation) else y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return dx (None if not needed)."""
        kept, self._kept = self.need(self._kept), None
        if not need_dx:
            return None
        return ops.activation_backward(self.activation, kept, self.to_floating("dy", dy))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "activation": self.activation}
