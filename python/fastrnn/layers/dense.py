"""Dense: a matrix product, a bias and an activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.activation import activation_named
from fastrnn.layers.base import Layer, last_size


class Dense(Layer):
    """activation(x weight^T + bias), over the last axis: [..., I] to [..., units].

    Parameters
    ----------
    units : int
        The size of the output's last axis.
    activation : str or None
        One of `fastrnn.ops.ACTIVATIONS`; None is "linear".
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, bias_initializer : str, Initializer or function
        Of the weight, as Keras's [I, units], and the bias: see `fastrnn.initializers`.

    Notes
    -----
    Parameters: ``weight`` [units, I] and ``bias`` [units], PyTorch's layout. `logits` and
    `logits_backward` leave the activation out: a loss that has softmax or sigmoid in it works on
    them.
    """

    position_free = True
    gives_logits = True
    kept_for_backward = ("_x", "_kept")

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _check.positive_int("units", units)
        self.activation = activation_named(activation)
        self.use_bias = _check.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get("kernel_initializer", kernel_initializer)
        self.bias_initializer = initializers.get("bias_initializer", bias_initializer)
        self._x: Floating | None = None
        self._kept: Floating | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        if len(input_shape) < 2:
            raise ValueError(
                f"layer {self.name!r}: expected an input of 2 dimensions or more, "
                f"got shape {_check.spell(input_shape)}"
            )
        kernel = (last_size(self, input_shape), self.units)
        value = initializers.draw("kernel_initializer", self.kernel_initializer, kernel, rng)
        self.add_parameter("weight", value.T)
        if self.use_bias:
            bias = initializers.draw("bias_initializer", self.bias_initializer, (self.units,), rng)
            self.add_parameter("bias", bias)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        return (*input_shape[:-1], self.units)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        logits = self.logits(x, training=training)
        y = self.activate(logits)
        if training:
            self._kept = logits if ops.keeps_input(self.activation) else y
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx (None if not needed)."""
        kept, self._kept = self.need(self._kept), None
        dlogits = ops.activation_backward(self.activation, kept, self.to_floating("dy", dy))
        return self.logits_backward(dlogits, need_dx=need_dx)

    def activate(self, logits: Floating) -> Floating:
        """Return the activation of ``logits`` [..., units]."""
        return ops.activation_forward(self.activation, logits)

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
            has_bias=self.use_bias and self.trainable,
            need_dx=need_dx,
            need_dweight=self.trainable,
        )
        gradients = {"weight": dweight, "bias": dbias}
        self.gradients = {name: d for name, d in gradients.items() if d is not None}
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.to_config(
                "kernel_initializer", self.kernel_initializer
            ),
            "bias_initializer": initializers.to_config("bias_initializer", self.bias_initializer),
        }
