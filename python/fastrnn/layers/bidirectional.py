"""Bidirectional: a recurrent layer run over the sequence in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer
from fastrnn.layers.recurrent import RecurrentLayer


class Bidirectional(Layer):
    """Run ``layer`` forwards and, with weights of its own, backwards; join the outputs.

    Each direction's last output is the one at its own last step (Schuster and Paliwal 1997). With
    ``num_layers`` each layer of the stack sees both directions of the one below, as in PyTorch.
    Parameters are the layer's, those of the backward direction with the suffix ``_reverse``.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Not built yet and not stateful: the backward direction has no state to carry.
    merge_mode : "concat"
        How the two outputs are put together.
    """

    def __init__(self, layer: RecurrentLayer, merge_mode: str = "concat", **kwargs: Any) -> None:
        if not isinstance(layer, RecurrentLayer):
            raise TypeError(f"layer: expected an RNN, LSTM or GRU layer, got {layer!r}")
        if layer.built or layer.directions != 1:
            raise ValueError("layer: expected a layer that is new, got one in use")
        if layer.stateful or layer.return_state:
            raise ValueError("layer: stateful and return_state do not go with Bidirectional")
        if merge_mode != "concat":
            raise ValueError(f"merge_mode: expected 'concat', got {merge_mode!r}")
        super().__init__(**{"dtype": layer.dtype.name, "trainable": layer.trainable, **kwargs})
        self.merge_mode = merge_mode
        self.layer = layer
        layer.directions = 2

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        self.layer.build(input_shape, rng)
        self.layer.input_shape = input_shape
        self.parameters = self.layer.parameters

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        return self.layer.output_shape(input_shape)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        return self.layer.forward(x, training=training)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set `gradients` and return dx (None if not needed)."""
        dx = self.layer.backward(dy, need_dx=need_dx)
        self.gradients = self.layer.gradients
        return dx

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "layer": {"class": type(self.layer).__name__, "config": self.layer.get_config()},
            "merge_mode": self.merge_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Bidirectional:
        """Make the layer that `get_config` describes."""
        inner = config["layer"]
        layer = Layer.classes[inner["class"]].from_config(inner["config"])
        return cls(**{**config, "layer": layer})
