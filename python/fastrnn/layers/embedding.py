"""Embedding: a row of numbers for every id."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating, Integers, Shape
from fastrnn.layers.base import Layer


class Embedding(Layer):
    """Look up ids [B, T] in a table: [B, T, output_dim].

    Parameters
    ----------
    input_dim : int
        How many ids there are; they go from 0 to ``input_dim - 1``.
    output_dim : int
        The size of a row.

    Notes
    -----
    Parameters: ``weight`` [input_dim, output_dim], uniform within +-0.05 at first.
    """

    def __init__(self, input_dim: int, output_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_dim = _check.positive_int("input_dim", input_dim)
        self.output_dim = _check.positive_int("output_dim", output_dim)
        self._ids: Integers | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        self.add_parameter("weight", initializers.uniform(rng, self.input_dim, self.output_dim))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        return (*input_shape, self.output_dim)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return weight[x].

        Raises
        ------
        IndexError
            If an id is not in 0 .. input_dim - 1.
        """
        ids = _check.whole_numbers(f"x of layer {self.name!r}", x)
        if training:
            self._ids = ids
        return ops.embedding_forward(ids, self.parameters["weight"])

    def backward(self, dy: Array, *, need_dx: bool = True) -> None:
        """Set the table's gradient; ids have none."""
        ids, self._ids = self.need(self._ids), None
        dy = self.to_floating("dy", dy)
        self.gradients["weight"] = ops.embedding_backward(ids, dy, self.input_dim)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
        }
