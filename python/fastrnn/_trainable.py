"""What a model must provide to be trained."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer


class Trainable(ABC):
    """The face that a model shows to the training loop; `Sequential` has what is behind it."""

    name: str
    layers: list[Layer]
    input_shape: Shape | None
    output_mask: Array | None
    metadata: dict[str, str]

    @abstractmethod
    def named_layers(self) -> dict[str, Layer]:
        """Return the layers by the names that they have in this model."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Floating]:
        """All parameters, as "layer.parameter", in the layers' order."""

    @abstractmethod
    def __call__(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch."""

    @abstractmethod
    def logits(self, x: Any, *, mask: Any = None, training: bool = False) -> Floating:
        """Return the output for one batch before the activation of the last layer."""

    @abstractmethod
    def activate(self, logits: Floating) -> Floating:
        """Return the output that belongs to what `logits` returned."""

    @abstractmethod
    def ends_in(self, activation: str | None) -> bool:
        """Whether the last layer is a `Dense` with this activation that ``gives_logits``."""

    @abstractmethod
    def backward(self, dy: Array) -> None:
        """Set the layers' gradients from that of the last training call's output."""

    @abstractmethod
    def build(self, input_shape: Shape) -> None:
        """Create all parameters for inputs of this shape."""

    @abstractmethod
    def get_weights(self) -> list[Floating]:
        """Return copies of all parameters."""

    @abstractmethod
    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all parameters."""

    @abstractmethod
    def reset_states(self, rows: Sequence[int] | None = None) -> None:
        """Let stateful layers begin the next batch with zeros, in all rows or in some."""

    @abstractmethod
    def get_states(self) -> list[Any]:
        """Return what stateful layers carry, for `set_states`."""

    @abstractmethod
    def set_states(self, states: Sequence[Any]) -> None:
        """Put back what `get_states` returned."""

    @abstractmethod
    def get_seed_counts(self) -> list[int]:
        """Return how far layers with seeds of their own have drawn."""

    @abstractmethod
    def set_seed_counts(self, counts: Sequence[int]) -> None:
        """Put back what `get_seed_counts` returned."""

    @abstractmethod
    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        include_optimizer: bool = False,
    ) -> None:
        """Write the model to a file."""
