"""Optimisers, with Keras 3's names, formulas and defaults."""

from __future__ import annotations

from fastrnn._names import named
from fastrnn.optimizers import schedules
from fastrnn.optimizers.base import Optimizer
from fastrnn.optimizers.rules import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules"]

_NAMES: dict[str, type[SGD] | type[RMSprop] | type[Adam]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": SGD,
}


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return a new optimiser of that name, or ``optimizer`` itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    kind = named(optimizer, _NAMES)
    if kind is not None:
        return kind()
    raise ValueError(
        f"optimizer: expected an Optimizer or one of {sorted(_NAMES)}, got {optimizer!r}"
    )
