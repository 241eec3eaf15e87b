"""TimeDistributed: a layer applied to every step by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._registry import name_in_files
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer


class TimeDistributed(Layer):
    """Apply ``layer`` to every step of [B, T, ...], with the same parameters.

    `Dense`, `Dropout`, `LayerNormalization` and `Activation` work so by themselves; this is for
    layers that would take T for something else, such as `Flatten` or a recurrent layer over the
    axis after T.

    Parameters
    ----------
    layer : Layer
        Not built yet, and not stateful.

    Notes
    -----
    Parameters are the layer's.
    """

    position_free = True
    kept_for_backward = ("_steps",)

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: expected a Layer, got {layer!r}")
        if layer.built:
            raise ValueError("layer: expected a layer that is new, got one in use")
        for refused in ("stateful", "return_state"):
            if getattr(layer, refused, False):
                raise ValueError(f"layer: {refused} does not go with TimeDistributed")
        self.layer = layer
        self.inner_layers = (layer,)
        super().__init__(**{"dtype": layer.dtype.name, "trainable": layer.trainable, **kwargs})
        self._steps: tuple[int, int] | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        self.layer.ensure_built(self._inner(input_shape))
        self.parameters = self.layer.parameters

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        return (*input_shape[:2], *self.layer.output_shape(self._inner(input_shape))[1:])

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        steps = x.shape[:2]
        y: Floating = self.layer.run(x.reshape(-1, *x.shape[2:]), None, training)
        if training:
            self._steps = steps
        return y.reshape(*steps, *y.shape[1:])

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx (None if not needed)."""
        steps, self._steps = self.need(self._steps), None
        dy = self.to_floating("dy", dy)
        dx = self.layer.backward(dy.reshape(-1, *dy.shape[2:]), need_dx=need_dx)
        self.gradients = self.layer.gradients
        return None if dx is None else dx.reshape(*steps, *dx.shape[1:])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "layer": {
                "class": name_in_files(type(self.layer)),
                "config": self.layer.get_config(),
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TimeDistributed:
        """Make the layer that `get_config` describes."""
        inner = config["layer"]
        layer = Layer.classes[inner["class"]].from_config(inner["config"])
        return cls(**{**config, "layer": layer})

    def _inner(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 3:
            raise ValueError(
                f"layer {self.name!r}: expected an input of 3 dimensions or more, "
                f"got shape {_check.spell(input_shape)}"
            )
        return (None, *input_shape[2:])
