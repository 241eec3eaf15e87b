"""Metrics: figures collected over an epoch's batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import losses
from fastrnn._typing import Floating


class Metric:
    """The base of all metrics, and of one's own: a mean of `values` over all elements."""

    name = "metric"

    def __init__(self) -> None:
        self.reset_state()

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return one number (or bool) for each element of a batch; to override."""
        raise NotImplementedError(f"{type(self).__name__}.values")

    def update_state(self, y_true: Any, y_pred: Floating) -> None:
        """Take a batch in."""
        values = np.asarray(self.values(y_true, y_pred))
        self._total += float(values.sum())
        self._count += values.size

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`; NaN for none."""
        return self._total / self._count if self._count else float("nan")

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total, self._count = 0.0, 0


class BinaryAccuracy(Metric):
    """The fraction of targets (0 or 1) on whose side of ``threshold`` the prediction lies."""

    name = "accuracy"

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each element is right."""
        targets = losses.like_predictions(y_true, y_pred)
        return (y_pred > self.threshold) == (targets > 0.5)


class SparseCategoricalAccuracy(Metric):
    """The fraction of labels [...] that are the greatest of the predictions [..., C]."""

    name = "accuracy"

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each element is right."""
        labels = np.asarray(y_true)
        if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
            labels = labels[..., 0]
        return y_pred.argmax(axis=-1) == labels


def get(metric: str | Metric, loss: losses.Loss) -> Metric:
    """Return the metric of that name, or itself; "accuracy" is the one that fits ``loss``."""
    if isinstance(metric, Metric):
        return metric
    if metric == "sparse_categorical_accuracy":
        return SparseCategoricalAccuracy()
    if metric == "binary_accuracy":
        return BinaryAccuracy()
    if metric in ("accuracy", "acc"):
        if isinstance(loss, losses.SparseCategoricalCrossentropy):
            return SparseCategoricalAccuracy()
        if isinstance(loss, losses.BinaryCrossentropy):
            # A logit of 0 is a probability of one half.
            return BinaryAccuracy(0.0 if loss.from_logits else 0.5)
        raise ValueError(f"metrics: 'accuracy' does not fit the loss {type(loss).__name__}")
    raise ValueError(f"metrics: expected a Metric or 'accuracy', got {metric!r}")
