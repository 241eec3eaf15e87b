"""Metrics: figures collected over an epoch's batches, with Keras's names and definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastrnn._names import named
from fastrnn.losses import Loss
from fastrnn.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from fastrnn.metrics.base import FunctionMetric, Metric
from fastrnn.metrics.confusion import AUC, Precision, Recall
from fastrnn.metrics.errors import (
    MeanAbsoluteError,
    MeanSquaredError,
    Perplexity,
    RootMeanSquaredError,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
    "get_all",
]

_NAMES: dict[str, type[Metric]] = {
    "acc": Accuracy,
    "accuracy": Accuracy,
    "auc": AUC,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "perplexity": Perplexity,
    "precision": Precision,
    "recall": Recall,
    "root_mean_squared_error": RootMeanSquaredError,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
}

_OF_LOGITS: dict[type[Metric], dict[str, Any]] = {
    AUC: {"from_logits": True},
    Accuracy: {"from_logits": True},
    BinaryAccuracy: {"threshold": 0.0},
    Perplexity: {"from_logits": True},
    Precision: {"thresholds": 0.0},
    Recall: {"thresholds": 0.0},
}
"""The arguments of metrics whose predictions are logits."""


def get(metric: str | Metric | Callable[..., Any], loss: Loss | None = None) -> Metric:
    """Return the metric of that name, itself, or a `FunctionMetric` of a function.

    Names take predictions to be what ``loss`` takes: logits, if it has ``from_logits``. A threshold
    is then 0, the logit of the probability 0.5.
    """
    if isinstance(metric, Metric):
        return metric
    kind = named(metric, _NAMES)
    if kind is not None:
        from_logits = loss is not None and loss.from_logits
        return kind(name=str(metric), **(_OF_LOGITS.get(kind, {}) if from_logits else {}))
    if callable(metric) and not isinstance(metric, type):
        return FunctionMetric(metric)
    raise ValueError(
        f"metrics: expected a Metric, a function or one of {sorted(_NAMES)}, got {metric!r}"
    )


def get_all(
    metrics: Sequence[str | Metric | Callable[..., Any]], loss: Loss | None, taken: set[str]
) -> list[Metric]:
    """Return the metrics, numbering names that are ``taken`` already; it grows by theirs."""
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise TypeError(f"metrics: expected a list, got {metrics!r}")
    found = [get(metric, loss) for metric in metrics]
    for metric in found:
        base, number = metric.name, 0
        while metric.name in taken:
            number += 1
            metric.name = f"{base}_{number}"
        taken.add(metric.name)
    return found
