"""Dense: a matrix product, a bias and an activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer, last_size


class Dense(Layer):
    """activation(x weight^T + bias), over the last axis: [..., I] to [..., units].

    Parameters
    ----------
    units : int
        The size of the output's last axis.
    activation : {"linear", "relu", "sigmoid", "softmax", "tanh"} or None
        None is "linear".
    use_bias : bool
        Whether there is a bias.

    Notes
    -----
    Parameters: ``weight`` [units, I], Glorot uniform at first, and ``bias`` [units], 0 at first.
    `logits` and `logits_backward` leave the activation out: a loss that has softmax or sigmoid in
    it works on them.
    """

    def __init__(
        self, units: int, activation: str | None = None, use_bias: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = _check.positive_int("units", units)
        self.activation = "linear" if activation is None else activation
        if self.activation not in ops.ACTIVATIONS:
            raise ValueError(
                f"activation: expected one of {sorted(ops.ACTIVATIONS)}, got {activation!r}"
            )
        self.use_bias = bool(use_bias)
        self._x: Floating | None = None
        self._y: Floating | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        size = last_size(self, input_shape)
        self.add_parameter("weight", initializers.glorot_uniform(rng, self.units, size))
        if self.use_bias:
            self.add_parameter("bias", np.zeros(self.units))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        y = self.activate(self.logits(x, training=training))
        if training:
            self._y = y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx (None if not needed)."""
        y, self._y = self.need(self._y), None
        dlogits = ops.activation_backward(self.activation, y, self.to_floating("dy", dy))
        return self.logits_backward(dlogits, need_dx=need_dx)

    def activate(self, logits: Floating) -> Floating:
        """Return the activation of ``logits`` [..., units]."""
        return ops.ACTIVATIONS[self.activation](logits)

    def logits(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output [..., units] before the activation."""
        x = self.to_floating("x", x)
        if training:
            self._x = x
        return ops.linear_forward(x, self.parameters["weight"], self.parameters.get("bias"))

    def logits_backward(self, dlogits: Array, *, need_dx: bool = True) -> Floating | None:
        """Do what `backward` does, from the gradient of `logits`."""
        x, self._x = self.need(self._x), None
        dx, dweight, dbias = ops.linear_backward(
            x,
            self.parameters["weight"],
            self.to_floating("dlogits", dlogits),
            has_bias=self.use_bias,
            need_dx=need_dx,
        )
        self.gradients["weight"] = dweight
        if dbias is not None:
            self.gradients["bias"] = dbias
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
        }
