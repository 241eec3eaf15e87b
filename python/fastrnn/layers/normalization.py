"""LayerNormalization: the features of every step with mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer, last_size


class LayerNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta over the last axis (Ba et al. 2016).

    Parameters
    ----------
    axis : -1
        The last axis, the only one that there is.
    epsilon : float
        Keras's default is 1e-3, PyTorch's 1e-5.
    center, scale : bool
        Whether there are beta and gamma.

    Notes
    -----
    Parameters: ``gamma`` [F], 1 at first, and ``beta`` [F], 0 at first.
    """

    position_free = True
    kept_for_backward = ("_kept",)

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if axis != -1:
            raise ValueError(f"axis: expected -1, the last one, got {axis!r}")
        self.epsilon = _check.real("epsilon", epsilon, minimum=0.0)
        self.center, self.scale = _check.flag("center", center), _check.flag("scale", scale)
        self._kept: tuple[Floating, Floating, Floating] | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        size = last_size(self, input_shape)
        if self.scale:
            ones = initializers.draw("gamma", initializers.Ones(), (size,), rng)
            self.add_parameter("gamma", ones)
        if self.center:
            zeros = initializers.draw("beta", initializers.Zeros(), (size,), rng)
            self.add_parameter("beta", zeros)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        x = self.to_floating("x", x)
        gamma, beta = self.parameters.get("gamma"), self.parameters.get("beta")
        y, mean, rstd = ops.layer_norm_forward(x, gamma, beta, self.epsilon)
        if training:
            self._kept = x, mean, rstd
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx (None if not needed)."""
        (x, mean, rstd), self._kept = self.need(self._kept), None
        dx, dgamma, dbeta = ops.layer_norm_backward(
            x,
            self.parameters.get("gamma"),
            mean,
            rstd,
            self.to_floating("dy", dy),
            need_dx=need_dx,
            need_dgamma=self.scale and self.trainable,
            need_dbeta=self.center and self.trainable,
        )
        gradients = {"gamma": dgamma, "beta": dbeta}
        self.gradients = {name: d for name, d in gradients.items() if d is not None}
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "axis": -1,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }


LayerNorm = LayerNormalization
"""PyTorch's name for it."""
