"""Losses, with Keras's names, equations and reductions.

Cross-entropies are computed from logits in one stable step. Where a model ends in the matching
activation (`Dense` with softmax or sigmoid), the model hands them its logits, so that
``from_logits`` need not be said.
"""

from __future__ import annotations

from collections.abc import Callable

from fastrnn._names import named
from fastrnn.losses.base import (
    FunctionLoss,
    Loss,
    LossValue,
    like_predictions,
    row_weights,
    unmasked_targets,
)
from fastrnn.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fastrnn.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Huber",
    "Loss",
    "LossValue",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
    "like_predictions",
    "row_weights",
    "unmasked_targets",
]

_NAMES: dict[str, type[Loss]] = {
    "bce": BinaryCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "huber": Huber,
    "huber_loss": Huber,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def get(loss: str | Loss | Callable[..., object]) -> Loss:
    """Return the loss of that name, ``loss`` itself, or a `FunctionLoss` of a function."""
    if isinstance(loss, Loss):
        return loss
    kind = named(loss, _NAMES)
    if kind is not None:
        return kind()
    if callable(loss) and not isinstance(loss, type):
        return FunctionLoss(loss)
    raise ValueError(f"loss: expected a Loss, a function or one of {sorted(_NAMES)}, got {loss!r}")
