"""Metrics of a confusion matrix: precision, recall, the area under a curve of both."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating
from fastrnn.losses import like_predictions
from fastrnn.metrics.base import Metric


class _Counts(Metric):
    """What precision and recall share: true and false positives and negatives.

    Parameters
    ----------
    thresholds : float
        A prediction above it is positive.
    class_id : int, optional
        Count this one of the C columns only.
    """

    def __init__(
        self, thresholds: float = 0.5, class_id: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.thresholds = _check.real("thresholds", thresholds)
        self.class_id = None if class_id is None else _check.integer("class_id", class_id)

    def reset_state(self) -> None:
        """Forget all batches."""
        self.true_positives = self.false_positives = self.false_negatives = 0.0

    def update(self, y_true: Any, y_pred: Floating, weights: Floating | None) -> None:
        """Take a batch in."""
        targets, y_pred, counts = _elements(y_true, y_pred, weights, self.class_id)
        positive = y_pred > self.thresholds
        self.true_positives += float(counts[positive & targets].sum())
        self.false_positives += float(counts[positive & ~targets].sum())
        self.false_negatives += float(counts[~positive & targets].sum())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "thresholds": self.thresholds,
            "class_id": self.class_id,
        }


class Precision(_Counts):
    """True positives / all that were taken for positive; 0 if there is none."""

    default_name = "precision"
    greater_is_better = True

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)


class Recall(_Counts):
    """True positives / all that are positive; 0 if there is none."""

    default_name = "recall"
    greater_is_better = True

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)


class AUC(Metric):
    """The area under the ROC or the precision-recall curve, from counts at fixed thresholds.

    As in Keras: trapezoids under the ROC curve; for "PR" the interpolation of Davis and Goadrich
    2006. A prediction that is NaN makes the area NaN.

    Parameters
    ----------
    num_thresholds : int
        How many points the curve has, at least 2.
    curve : {"ROC", "PR"}
        True positive rate over false positive rate, or precision over recall.
    from_logits : bool
        Whether the predictions are logits rather than in 0..1.
    """

    default_name = "auc"
    greater_is_better = True

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Literal["ROC", "PR"] = "ROC",
        name: str | None = None,
        from_logits: bool = False,
    ) -> None:
        self.num_thresholds = _check.positive_int("num_thresholds", num_thresholds)
        if self.num_thresholds < 2:
            raise ValueError(f"num_thresholds: expected 2 or more, got {num_thresholds}")
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve: expected 'ROC' or 'PR', got {curve!r}")
        self.curve: Literal["ROC", "PR"] = curve
        self.from_logits = _check.flag("from_logits", from_logits)
        super().__init__(name)

    def reset_state(self) -> None:
        """Forget all batches."""
        self._positives = np.zeros(self.num_thresholds)
        self._negatives = np.zeros(self.num_thresholds)

    def update(self, y_true: Any, y_pred: Floating, weights: Floating | None) -> None:
        """Take a batch in."""
        if self.from_logits:
            y_pred = ops.activation_forward("sigmoid", y_pred)
        targets, y_pred, counts = _elements(y_true, y_pred, weights, None)
        # Bucket i holds what is above threshold i = i / (n - 1) and not above the next; all is
        # above the first threshold, which lies a little below 0.
        numbers = ~np.isnan(y_pred)
        counts = np.where(numbers, counts, np.nan)
        scaled = np.clip(y_pred, 0.0, 1.0) * y_pred.dtype.type(self.num_thresholds - 1)
        scaled = np.where(numbers, scaled, 0.0)
        buckets = np.maximum(np.ceil(scaled) - 1, 0).astype(np.int64)
        for held, which in ((self._positives, targets), (self._negatives, ~targets)):
            held += np.bincount(buckets[which], counts[which], minlength=self.num_thresholds)

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`."""
        true = self._positives[::-1].cumsum()[::-1]
        false = self._negatives[::-1].cumsum()[::-1]
        if self.curve == "PR":
            return _area_under_precision_recall(true, false)
        x, y = _ratios(false, false[0]), _ratios(true, true[0])
        return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "from_logits": self.from_logits,
        }


def _area_under_precision_recall(true: Array, false: Array) -> float:
    """Take both kinds of positives to vary linearly between two thresholds."""
    predicted = true + false
    steps = true[:-1] - true[1:]
    slope = _ratios(steps, predicted[:-1] - predicted[1:])
    intercept = true[1:] - slope * predicted[1:]
    both = (predicted[:-1] > 0) & (predicted[1:] > 0)
    ratio = np.divide(predicted[:-1], predicted[1:], out=np.ones_like(slope), where=both)
    return float(_ratios(slope * (steps + intercept * np.log(ratio)), true[0]).sum())


def _elements(
    y_true: Any, y_pred: Floating, weights: Floating | None, class_id: int | None
) -> tuple[Array, Floating, Array]:
    """Return whether each element is positive, the predictions and what each counts, all flat."""
    targets = like_predictions(y_true, y_pred).astype(bool)
    counts = np.ones(y_pred.shape[:-1]) if weights is None else weights.astype(np.float64)
    if class_id is not None:
        if not 0 <= class_id < y_pred.shape[-1]:
            raise ValueError(f"class_id: expected 0 .. {y_pred.shape[-1] - 1}, got {class_id}")
        column = slice(class_id, class_id + 1)
        targets, y_pred = targets[..., column], y_pred[..., column]
    counts = np.broadcast_to(counts[..., None], y_pred.shape)
    used = counts != 0
    return targets[used], y_pred[used], counts[used]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _ratios(part: Array, whole: Any) -> Array:
    """Return part / whole, 0 where whole is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole != 0))
