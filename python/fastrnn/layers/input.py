"""Input: the shape of what a model is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer


class InputLayer(Layer):
    """Say which shape a model's input has, so that its parameters exist from the beginning.

    Only as the first element of a `Sequential`, which takes the shape from it and does not count it
    among its layers, as in Keras.

    Parameters
    ----------
    shape : sequence of int or None
        The input's shape without the batch: (T,) for ids, (T, F) for features; None where any
        length will do.
    batch_size : int, optional
        As in Keras; batches of another size are accepted all the same.
    batch_shape : sequence of int or None, optional
        The shape with the batch, instead of ``shape``.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if (shape is None) == (batch_shape is None):
            raise ValueError("shape: expected it or batch_shape, got both or neither")
        sizes = (batch_size, *_sizes("shape", shape)) if shape is not None else None
        sizes = _sizes("batch_shape", batch_shape) if sizes is None else sizes
        if len(sizes) < 2:
            raise ValueError("shape: expected at least one dimension besides the batch, got none")
        if dtype is not None:
            np.dtype(dtype)  # the layers convert what they are given
        self.batch_shape: Shape = (None, *sizes[1:])

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the input."""
        return x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return the gradient."""
        return dy


Input = InputLayer
"""Keras's function of that name, for the first element of a `Sequential`."""


def _sizes(name: str, shape: Any) -> Shape:
    if isinstance(shape, int) or not hasattr(shape, "__iter__"):
        raise TypeError(f"{name}: expected a tuple such as (None, 26), got {shape!r}")
    return tuple(None if size is None else _check.positive_int(name, size) for size in shape)
