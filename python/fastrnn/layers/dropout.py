"""Dropout: a random part of the input set to 0 while training."""

from __future__ import annotations

from typing import Any

from fastrnn import _check, ops, random
from fastrnn._typing import Array, Floating
from fastrnn.layers.base import Layer


class Dropout(Layer):
    """While training, zero a fraction ``rate`` of the input and divide the rest by 1 - rate.

    The input is [B, F] or [B, T, F]. Outside of training it is passed on (Srivastava et al. 2014).

    Parameters
    ----------
    rate : float
        In 0 <= rate < 1.
    seed : int, optional
        Draws masks apart from the one source of random numbers.
    """

    position_free = True
    kept_for_backward = ("_seed",)

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = _check.fraction("rate", rate)
        self.seeds = random.SeedStream(seed)
        self._seed: int | None = None

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return the output; with ``training``, keep what `backward` needs."""
        x = self.to_floating("x", x)
        if not training:
            return x
        self._seed = self.seeds.next()
        return ops.dropout(x, self.rate, self._seed) if self.rate else x

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Return dx (None if not needed)."""
        seed, self._seed = self.need(self._seed), None
        if not need_dx:
            return None
        dy = self.to_floating("dy", dy)
        return ops.dropout(dy, self.rate, seed) if self.rate else dy

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seeds.seed}
