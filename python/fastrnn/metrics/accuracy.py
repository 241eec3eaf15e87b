"""Accuracies: how often the prediction is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._typing import Array, Floating
from fastrnn.losses import like_predictions
from fastrnn.metrics.base import Metric, labels_like


class BinaryAccuracy(Metric):
    """The fraction of targets (0 or 1) on whose side of ``threshold`` the prediction lies."""

    default_name = "binary_accuracy"
    greater_is_better = True

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = _check.real("threshold", threshold)

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each element is right."""
        return (y_pred > self.threshold) == like_predictions(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(Metric):
    """The fraction of rows whose greatest target and greatest prediction are in one place."""

    default_name = "categorical_accuracy"
    greater_is_better = True

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each row is right."""
        return y_pred.argmax(axis=-1) == like_predictions(y_true, y_pred).argmax(axis=-1)


class SparseCategoricalAccuracy(Metric):
    """The fraction of labels [...] that are the greatest of the predictions [..., C]."""

    default_name = "sparse_categorical_accuracy"
    greater_is_better = True

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each row is right."""
        return y_pred.argmax(axis=-1) == labels_like(y_true, y_pred)


class Accuracy(Metric):
    """The accuracy that fits targets and predictions, as Keras picks it for "accuracy".

    `BinaryAccuracy` for predictions [..., 1], else `SparseCategoricalAccuracy` for labels [...] or
    [..., 1], else `CategoricalAccuracy`.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits: the threshold of the binary accuracy is then 0.
    """

    default_name = "accuracy"
    greater_is_better = True

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        super().__init__(name)
        self.from_logits = _check.flag("from_logits", from_logits)
        self._kinds = (
            BinaryAccuracy(threshold=0.0 if from_logits else 0.5),
            SparseCategoricalAccuracy(),
            CategoricalAccuracy(),
        )

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each row or element is right."""
        shape = np.shape(y_true)
        binary, sparse, categorical = self._kinds
        if y_pred.shape[-1] == 1:
            return binary.values(y_true, y_pred)
        if len(shape) < y_pred.ndim or shape[-1] == 1:
            return sparse.values(y_true, y_pred)
        return categorical.values(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "from_logits": self.from_logits}


class SparseTopKCategoricalAccuracy(Metric):
    """The fraction of labels [...] that are among the ``k`` greatest predictions [..., C]."""

    default_name = "sparse_top_k_categorical_accuracy"
    greater_is_better = True

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        self.k = _check.positive_int("k", k)

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each row is right."""
        return self._among_the_greatest(labels_like(y_true, y_pred), y_pred)

    def _among_the_greatest(self, labels: Array, y_pred: Floating) -> Array:
        index = np.clip(labels, 0, y_pred.shape[-1] - 1).astype(np.int64)[..., None]
        chosen = np.take_along_axis(y_pred, index, axis=-1)
        among = (y_pred > chosen).sum(axis=-1) < self.k
        right = among & (index[..., 0] == labels) & np.isfinite(chosen[..., 0])
        return np.asarray(right)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "k": self.k}


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """The same for targets [..., C], whose greatest is the label."""

    default_name = "top_k_categorical_accuracy"
    greater_is_better = True

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return whether each row is right."""
        labels = like_predictions(y_true, y_pred).argmax(axis=-1)
        return self._among_the_greatest(labels, y_pred)
