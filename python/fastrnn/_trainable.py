"""What a model must provide to be trained."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer


class Trainable:
    """The face that a model shows to the training loop; `Sequential` has what is behind it."""

    layers: list[Layer]
    input_shape: Shape | None
    output_mask: Array | None
    metadata: dict[str, str]

    @property
    def parameters(self) -> dict[str, Floating]:
        """All parameters, as "layer.parameter", in the layers' order."""
        raise NotImplementedError

    def __call__(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch."""
        raise NotImplementedError

    def logits(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch before the activation of the last layer."""
        raise NotImplementedError

    def activate(self, logits: Floating) -> Floating:
        """Return the output that belongs to what `logits` returned."""
        raise NotImplementedError

    def ends_in(self, activation: str | None) -> bool:
        """Whether the last layer is a `Dense` with this activation."""
        raise NotImplementedError

    def backward(self, dy: Array) -> None:
        """Set the layers' gradients from that of the last training call's output."""
        raise NotImplementedError

    def build(self, input_shape: Shape) -> None:
        """Create all parameters for inputs of this shape."""
        raise NotImplementedError

    def get_weights(self) -> list[Floating]:
        """Return copies of all parameters."""
        raise NotImplementedError

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all parameters."""
        raise NotImplementedError

    def reset_states(self, rows: Sequence[int] | None = None) -> None:
        """Let stateful layers begin the next batch with zeros, in all rows or in some."""
        raise NotImplementedError

    def get_states(self) -> list[Any]:
        """Return what stateful layers carry, for `set_states`."""
        raise NotImplementedError

    def set_states(self, states: Sequence[Any]) -> None:
        """Put back what `get_states` returned."""
        raise NotImplementedError

    def get_seed_counts(self) -> list[int]:
        """Return how far layers with seeds of their own have drawn."""
        raise NotImplementedError

    def set_seed_counts(self, counts: Sequence[int]) -> None:
        """Put back what `get_seed_counts` returned."""
        raise NotImplementedError

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        include_optimizer: bool = False,
    ) -> None:
        """Write the model to a file."""
        raise NotImplementedError
