"""Cross-entropies, in nats."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating, Integers
from fastrnn.losses.base import CoreLoss
from fastrnn.losses.regression import RowLoss, counting


class SmoothedCrossentropy(RowLoss):
    """What the cross-entropies share whose targets are probabilities.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits rather than probabilities.
    label_smoothing : float
        In [0, 1): how far the targets are moved towards the same for all classes (Szegedy et al.
        2016).
    """

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.from_logits = _check.flag("from_logits", from_logits)
        self.label_smoothing = _check.fraction("label_smoothing", label_smoothing)

    @property
    def parameter(self) -> float:
        """The smoothing."""
        return self.label_smoothing

    def check_targets(self, targets: Array, weights: Floating | None) -> None:
        """Raise ValueError unless all targets that count are in 0..1."""
        used = targets[counting(weights)]
        if used.size and not (used.min() >= 0 and used.max() <= 1):
            raise ValueError(f"y: expected targets in 0..1, got {used.min():g} .. {used.max():g}")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
        }


class BinaryCrossentropy(SmoothedCrossentropy):
    """The mean over a row of -t log p - (1 - t) log(1 - p), for targets t in 0..1.

    Targets have the predictions' shape, or are [...] for predictions [..., 1]. Probabilities are
    kept 1e-7 away from 0 and 1. See `SmoothedCrossentropy` for the parameters.
    """

    activation = "sigmoid"

    def kind_of(self, of_logits: bool) -> ops.RowLoss:
        """Return the core's name of the loss."""
        return "binary_logits" if of_logits or self.from_logits else "binary"


class CategoricalCrossentropy(SmoothedCrossentropy):
    """The sum over a row of -t log p, for targets t [..., C] (one-hot, or probabilities).

    Probabilities p are divided by their sum and kept 1e-7 away from 0 and 1. See
    `SmoothedCrossentropy` for the parameters.
    """

    activation = "softmax"

    def kind_of(self, of_logits: bool) -> ops.RowLoss:
        """Return the core's name of the loss."""
        return "categorical_logits" if of_logits or self.from_logits else "categorical"


class SparseCategoricalCrossentropy(CoreLoss):
    """-log p[label], for labels [...] or [..., 1] in 0 .. C - 1 and predictions [..., C].

    Probabilities p are divided by their sum and kept 1e-7 away from 0 and 1.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits rather than probabilities.
    ignore_class : int, optional
        Rows with this label are left out, as if masked; it may lie outside of 0 .. C - 1.
    """

    activation = "softmax"

    def __init__(
        self, from_logits: bool = False, ignore_class: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.from_logits = _check.flag("from_logits", from_logits)
        self.ignore_class = (
            None if ignore_class is None else _check.integer("ignore_class", ignore_class)
        )

    def own_mask(self, y_true: Any, y_pred: Floating, mask: Any) -> Any:
        """Return ``mask`` without the rows of the class that is ignored."""
        if self.ignore_class is None:
            return mask
        counts = self.labels(y_true, y_pred) != self.ignore_class
        if mask is None:
            return counts
        mask = np.asarray(mask)
        return counts & mask.reshape(mask.shape + (1,) * (counts.ndim - mask.ndim))

    def in_core(
        self,
        y_true: Any,
        y_pred: Floating,
        weights: Floating | None,
        *,
        scale: float,
        need_gradient: bool,
        of_logits: bool,
        losses: Floating | None = None,
    ) -> tuple[float, Floating | None]:
        """Return scale * the sum of weights [...] * losses, and its gradient; fill ``losses``."""
        labels = self.labels(y_true, y_pred)
        if weights is None and self.ignore_class is not None:
            # Row by row; what such rows have for a loss is left out afterwards.
            labels = np.where(labels == self.ignore_class, 0, labels)
        used, classes = labels[counting(weights)], y_pred.shape[-1]
        if used.size and not 0 <= used.min() <= used.max() < classes:
            raise ValueError(
                f"y: expected labels in 0 .. {classes - 1}, got {used.min()} .. {used.max()}"
            )
        of_logits = of_logits or self.from_logits
        loss = ops.softmax_cross_entropy if of_logits else ops.cross_entropy
        return loss(
            y_pred, labels, weights, scale=scale, need_gradient=need_gradient, losses=losses
        )

    def labels(self, y_true: Any, y_pred: Floating) -> Integers:
        """Return the labels as integers, of the shape of the rows."""
        given = np.asarray(y_true)
        labels = _check.whole_numbers("y", given.astype(np.int64) if given.dtype == bool else given)
        if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if labels.shape != y_pred.shape[:-1]:
            raise ValueError(f"y: expected shape {y_pred.shape[:-1]}, got {labels.shape}")
        return labels

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
        }
