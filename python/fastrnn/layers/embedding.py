"""Embedding: a row of numbers for every id."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating, Integers, Shape
from fastrnn.layers.base import Layer, both


class Embedding(Layer):
    """Look up ids [B, T] in a table: [B, T, output_dim].

    Parameters
    ----------
    input_dim : int
        How many ids there are; they go from 0 to ``input_dim - 1``.
    output_dim : int
        The size of a row.
    embeddings_initializer : str, Initializer or function
        Of the table [input_dim, output_dim]; Keras's "uniform" is within +-0.05.
    mask_zero : bool
        Whether id 0 is padding, a step that does not exist: the mask of the output then says so.
    weights : array [input_dim, output_dim], or a list of it, optional
        What the table begins with, such as vectors trained elsewhere; ``trainable=False`` keeps it.

    Notes
    -----
    Parameters: ``weight`` [input_dim, output_dim].
    """

    position_free = True
    gives_rows = True
    kept_for_backward = ("_ids", "_found")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = _check.positive_int("input_dim", input_dim)
        self.output_dim = _check.positive_int("output_dim", output_dim)
        self.embeddings_initializer = initializers.get(
            "embeddings_initializer", embeddings_initializer
        )
        self.mask_zero = self.finds_mask = _check.flag("mask_zero", mask_zero)
        self._weights = None if weights is None else self._table(weights)
        self._ids: Integers | None = None
        self._found: Integers | None = None

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        shape, value = (self.input_dim, self.output_dim), self._weights
        if value is None:
            initializer = self.embeddings_initializer
            value = initializers.draw("embeddings_initializer", initializer, shape, rng)
        self.add_parameter("weight", value)
        self._weights = None

    def _table(self, weights: Any) -> Array:
        """Return the given table, which may be the one element of a list."""
        listed = isinstance(weights, list | tuple) and len(weights) == 1 and np.ndim(weights) == 3
        table = self.to_floating("weights", weights[0] if listed else weights)
        if table.shape != (self.input_dim, self.output_dim):
            raise ValueError(
                f"weights of layer {self.name!r}: expected shape "
                f"{(self.input_dim, self.output_dim)}, got {table.shape}"
            )
        return table

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
            self._ids, self._found = ids, None
        try:
            return ops.embedding_forward(ids, self.parameters["weight"])
        except IndexError as error:
            raise IndexError(
                f"x of layer {self.name!r}: {error} (input_dim={self.input_dim})"
            ) from None

    def rows(self, x: Array, *, training: bool = False) -> Floating | ops.Rows:
        """Return weight[x], [B, T, output_dim], as the rows that were used and each id's.

        Raises
        ------
        IndexError
            As `forward` does.
        """
        ids = _check.whole_numbers(f"x of layer {self.name!r}", x)
        try:
            rows, found = ops.embedding_rows(ids, self.parameters["weight"])
        except IndexError:
            return self.forward(x, training=training)  # says where
        if training:
            self._ids, self._found = ids, found
        return rows

    def backward(self, dy: Array, *, need_dx: bool = True) -> None:
        """Set the table's gradient from that of the output or of `rows`; ids have none."""
        ids, self._ids = self.need(self._ids), None
        self.gradients = {}
        if not self.trainable:
            return
        dy = self.to_floating("dy", dy)
        if self._found is not None and dy.ndim <= ids.ndim:  # of the rows
            gradient = ops.RowGradient(self._found, dy, self.input_dim)
        else:
            gradient = ops.embedding_backward_rows(ids, dy, self.input_dim)
        self._row_gradients = {"weight": gradient}

    @property
    def gradients(self) -> dict[str, Floating]:
        """What the last `backward` left; the array, as large as the table, is made on demand."""
        for name, rows in self._row_gradients.items():
            self._gradients[name] = np.asarray(rows)
        self._row_gradients = {}
        return self._gradients

    @gradients.setter
    def gradients(self, value: dict[str, Floating]) -> None:
        self._gradients = value
        self._row_gradients = {}

    def gradients_for_step(self) -> dict[str, ops.Gradient]:
        """Return the gradient as the rows that the batch used."""
        return {**self._gradients, **self._row_gradients}

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return where the ids [B, T] are not 0, if that is padding."""
        if not self.mask_zero:
            return mask
        ids = np.asarray(x)
        if ids.ndim != 2:
            raise ValueError(
                f"x of layer {self.name!r}: with mask_zero expected ids [B, T], got {ids.shape}"
            )
        return both(mask, ids != 0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "weights": None,  # the table is among the arrays
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.to_config(
                "embeddings_initializer", self.embeddings_initializer
            ),
            "mask_zero": self.mask_zero,
        }
