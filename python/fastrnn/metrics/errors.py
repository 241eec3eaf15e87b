"""Mean errors of numbers, and the perplexity of distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastrnn import _check, losses
from fastrnn._typing import Floating
from fastrnn.metrics.base import Metric


class MeanAbsoluteError(Metric):
    """The mean of |y_pred - y|."""

    default_name = "mean_absolute_error"
    greater_is_better = False

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return each element's error."""
        return np.abs(y_pred - losses.like_predictions(y_true, y_pred))


class MeanSquaredError(Metric):
    """The mean of (y_pred - y)^2."""

    default_name = "mean_squared_error"
    greater_is_better = False

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return each element's squared error."""
        error = y_pred - losses.like_predictions(y_true, y_pred)
        return error * error


class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of (y_pred - y)^2."""

    default_name = "root_mean_squared_error"
    greater_is_better = False

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`."""
        return math.sqrt(super().result())


class Perplexity(Metric):
    """exp of the mean of -log p[label], for labels [...] and predictions [..., C].

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits rather than probabilities.
    """

    default_name = "perplexity"
    greater_is_better = False

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = _check.flag("from_logits", from_logits)
        self._loss = losses.SparseCategoricalCrossentropy(
            from_logits=from_logits, reduction="mean_with_sample_weight"
        )

    def update(self, y_true: Any, y_pred: Floating, weights: Floating | None) -> None:
        """Take a batch in."""
        loss = self._loss.value_and_gradient(y_true, y_pred, weights, need_gradient=False)
        self._total += loss.value * loss.weight
        self._count += loss.weight

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`."""
        mean = super().result()
        return math.exp(mean) if mean < 700 else math.inf

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "from_logits": self.from_logits}
