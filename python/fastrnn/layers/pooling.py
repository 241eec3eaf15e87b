"""From a sequence to one row: the mean, the maximum or the last of the steps that exist."""

from __future__ import annotations

from typing import ClassVar

from fastrnn import ops
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer
from fastrnn.ops.pooling import Pooling


class _GlobalPooling(Layer):
    """What the poolings share: [B, T, F] to [B, F]; a sequence without any step gives 0."""

    uses_mask = True
    position_free = True
    pooling: ClassVar[Pooling]
    _pooled: ops.Pooled | None = None
    kept_for_backward = ("_pooled",)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        if len(input_shape) != 3:
            raise ValueError(
                f"layer {self.name!r}: expected an input of 3 dimensions, got {len(input_shape)}"
            )
        return (input_shape[0], input_shape[2])

    def forward(self, x: Array, *, mask: Array | None = None, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        x = self.to_floating("x", x, ndim=3)
        y, pooled = ops.pool_forward(self.pooling, x, mask)
        if training:
            self._pooled = pooled
        return y

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return dx (None if not needed)."""
        pooled, self._pooled = self.need(self._pooled), None
        return ops.pool_backward(pooled, self.to_floating("dy", dy)) if need_dx else None

    def compute_mask(self, x: Array, mask: Array | None = None) -> None:
        """Return None: the output has no steps."""


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean over the steps that exist: [B, T, F] to [B, F]."""

    pooling = "mean"


class GlobalMaxPooling1D(_GlobalPooling):
    """The maximum over the steps that exist: [B, T, F] to [B, F].

    The gradient goes to the first step that has it. (Keras's looks at masked steps, too.)
    """

    pooling = "max"


class LastStep(_GlobalPooling):
    """The last step that exists: [B, T, F] to [B, F]."""

    pooling = "last"
