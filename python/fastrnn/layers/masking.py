"""Masking: steps that hold nothing but one value do not exist."""

from __future__ import annotations

from typing import Any

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating
from fastrnn.layers.base import Layer, both


class Masking(Layer):
    """Mask the steps of [B, T, F] whose features all equal ``mask_value``; they become 0.

    Parameters
    ----------
    mask_value : float
        What padding was filled with.
    """

    position_free = True
    uses_mask = True
    finds_mask = True
    kept_for_backward = ("_kept",)

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = _check.real("mask_value", mask_value)
        self._kept: tuple[Array | None] | None = None

    def forward(self, x: Array, *, mask: Array | None = None, training: bool = False) -> Floating:
        """Return the input with zeros at masked steps."""
        x = self.to_floating("x", x, ndim=3)
        if training:
            self._kept = (mask,)
        return self._zero_masked(x, mask)

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return dx, which is 0 at masked steps (None if not needed)."""
        (mask,), self._kept = self.need(self._kept), None
        return self._zero_masked(self.to_floating("dy", dy, ndim=3), mask) if need_dx else None

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the steps of x [B, T, F] that are not ``mask_value`` throughout."""
        return both(mask, ops.differs(self.to_floating("x", x, ndim=3), self.mask_value))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "mask_value": self.mask_value}

    @staticmethod
    def _zero_masked(x: Floating, mask: Array | None) -> Floating:
        if mask is None:
            return x
        lengths, kind = ops.count_steps(mask)
        if kind == ops.FULL:
            return x
        gathered = ops.gather_steps(x, mask, int(lengths.max(initial=0)))
        return ops.scatter_steps(gathered, mask)
