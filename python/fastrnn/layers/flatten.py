"""Flatten: all axes but the batch in one."""

from __future__ import annotations

import math

from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer


class Flatten(Layer):
    """[B, ...] to [B, F]; [B] to [B, 1]. What a mask leaves out is 0."""

    _shape: tuple[int, ...] | None = None
    kept_for_backward = ("_shape",)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        sizes = [size for size in input_shape[1:] if size is not None]
        known = len(sizes) == len(input_shape) - 1
        return (input_shape[0], math.prod(sizes) if known else None)

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        x = self.to_floating("x", x)
        if training:
            self._shape = x.shape
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return dx (None if not needed)."""
        shape, self._shape = self.need(self._shape), None
        return self.to_floating("dy", dy).reshape(shape) if need_dx else None

    def compute_mask(self, x: Array, mask: Array | None = None) -> None:
        """Return None: the output has no steps."""
