"""Bidirectional: a recurrent layer run over the sequence in both directions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastrnn import ops
from fastrnn._registry import name_in_files
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer
from fastrnn.layers.recurrent import RecurrentLayer

_MODES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """Run ``layer`` forwards and, with weights of its own, backwards; join the outputs.

    Each direction's last output is the one at its own last step (Schuster and Paliwal 1997). With
    ``num_layers`` each layer of the stack sees both directions of the one below, side by side, as
    in PyTorch. With ``return_state`` a call returns the output, then the forward direction's state,
    then the backward one's.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Not built yet, and neither stateful nor with ``go_backwards``.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two outputs are put together: side by side, which costs nothing, or by sum, product
        or mean of the elements. With None a call returns both, for a layer that is called directly.

    Notes
    -----
    Parameters are the layer's, those of the backward direction with the suffix ``_reverse``.
    """

    uses_mask = True
    position_free = True
    takes_rows = True
    kept_for_backward = ("_halves",)

    def __init__(
        self,
        layer: RecurrentLayer,
        merge_mode: Literal["concat", "sum", "mul", "ave"] | None = "concat",
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, RecurrentLayer):
            raise TypeError(f"layer: expected an RNN, LSTM or GRU layer, got {layer!r}")
        if layer.built or layer.directions != 1:
            raise ValueError("layer: expected a layer that is new, got one in use")
        for name, refused in (("stateful", True), ("go_backwards", True)):
            if getattr(layer, name) is refused:
                raise ValueError(f"layer: {name}={refused} does not go with Bidirectional")
        if not layer.zero_output_for_mask:
            raise ValueError("layer: zero_output_for_mask=False does not go with Bidirectional")
        if merge_mode not in _MODES:
            raise ValueError(f"merge_mode: expected one of {list(_MODES)}, got {merge_mode!r}")
        self.layer = layer
        self.inner_layers = (layer,)
        super().__init__(**{"dtype": layer.dtype.name, "trainable": layer.trainable, **kwargs})
        self.merge_mode = merge_mode
        self.return_state = layer.return_state
        layer.directions = 2
        self._halves: Floating | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        self.layer.ensure_built(input_shape)
        self.parameters = self.layer.parameters

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape, for ``merge_mode`` None that of each."""
        shape = self.layer.output_shape(input_shape)
        return shape if self.merge_mode == "concat" else (*shape[:-1], self.layer.units)

    def __call__(
        self, x: Any, *, mask: Any = None, training: bool = False, initial_state: Any = None
    ) -> Any:
        """Do what `RecurrentLayer.__call__` does; the states are the forward direction's first."""
        self.layer._initial = initial_state
        try:
            return super().__call__(x, mask=mask, training=training)
        finally:
            self.layer._initial = None

    def run(self, x: Array, mask: Array | None, training: bool) -> Any:
        """Return the output, or a tuple of both and, with ``return_state``, of the states."""
        output = super().run(x, mask, training)
        if not self.return_state:
            return output
        outputs = output if self.merge_mode is None else (output,)
        return (*outputs, *self.layer.final_states())

    def forward(
        self, x: Array | ops.Rows, *, mask: Array | None = None, training: bool = False
    ) -> Any:
        """Return the output; with ``training``, keep what `backward` needs."""
        y = self.layer.forward(x, mask=mask, training=training)
        if self.merge_mode == "concat":
            return y
        if self.merge_mode is None:
            return y[..., : self.layer.units], y[..., self.layer.units :]
        if training:
            self._halves = y
        return ops.merge_forward(self.merge_mode, y)

    @property
    def recomputed(self) -> str | None:
        """What the last training pass ran with, as of a `RecurrentLayer`."""
        return self.layer.recomputed

    @property
    def initial_state_gradients(self) -> tuple[Floating, ...] | None:
        """Those that the last `backward` found, as of a `RecurrentLayer`."""
        return self.layer.initial_state_gradients

    def backward(self, dy: Any, *, need_dx: bool = True, dstate: Any = None) -> Floating | None:
        """Set `gradients` and return dx (None if not needed).

        For ``merge_mode`` None ``dy`` is a pair, too; ``dstate`` as of a `RecurrentLayer`.
        """
        if self.merge_mode is None:
            dy = np.concatenate([self.layer.to_floating("dy", part) for part in dy], axis=-1)
        elif self.merge_mode != "concat":
            halves, self._halves = self.need(self._halves), None
            dy = ops.merge_backward(self.merge_mode, halves, self.layer.to_floating("dy", dy))
        dx = self.layer.backward(dy, need_dx=need_dx, dstate=dstate)
        self.gradients = self.layer.gradients
        return dx

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask of the output; None where it is the last step alone."""
        return self.layer.compute_mask(x, mask)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "layer": {
                "class": name_in_files(type(self.layer)),
                "config": self.layer.get_config(),
            },
            "merge_mode": self.merge_mode,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Bidirectional:
        """Make the layer that `get_config` describes."""
        inner = config["layer"]
        layer = Layer.classes[inner["class"]].from_config(inner["config"])
        return cls(**{**config, "layer": layer})
