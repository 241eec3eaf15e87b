"""Losses: a mean over all elements, and its gradient.

Cross-entropies are computed from logits in one stable step. Where a model ends in the matching
activation (`Dense` with softmax or sigmoid), the model hands them its logits, so that
``from_logits`` need not be said.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating

_SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1, as in Keras."""


class Loss:
    """The base of all losses, and of one's own, which overrides `value_and_gradient`."""

    activation: ClassVar[str | None] = None
    """The activation that the loss has built in, with `on_logits`; None: none."""
    from_logits = False

    def __call__(self, y_true: Any, y_pred: Any) -> float:
        """Return the mean loss."""
        return self.value_and_gradient(y_true, np.asarray(y_pred), need_gradient=False)[0]

    def value_and_gradient(
        self, y_true: Any, y_pred: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Return the mean loss and its gradient [...], as ``y_pred`` (None if not needed)."""
        raise NotImplementedError(f"{type(self).__name__}.value_and_gradient")

    def on_logits(
        self, y_true: Any, logits: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Do what `value_and_gradient` does, for what the `activation` was made from."""
        raise NotImplementedError(f"{type(self).__name__}.on_logits")


class SparseCategoricalCrossentropy(Loss):
    """-log p[label], for labels [...] in 0 .. C - 1 and predictions [..., C]; nats.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits rather than probabilities.
    """

    activation = "softmax"

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = bool(from_logits)

    def value_and_gradient(
        self, y_true: Any, y_pred: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Return the mean loss and its gradient by the predictions."""
        if self.from_logits:
            return self.on_logits(y_true, y_pred, need_gradient=need_gradient)
        # softmax(log p) = p / sum(p), so that one kernel serves both.
        p = np.maximum(y_pred, y_pred.dtype.type(_SMALLEST))
        value, dlogits = self.on_logits(y_true, np.log(p), need_gradient=need_gradient)
        return value, None if dlogits is None else dlogits / p

    def on_logits(
        self, y_true: Any, logits: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Return the mean loss and its gradient by the logits."""
        labels = _check.whole_numbers("y", np.asarray(y_true))
        if labels.ndim == logits.ndim and labels.shape[-1] == 1:
            labels = labels[..., 0]
        classes = logits.shape[-1]
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"y: expected labels in 0 .. {classes - 1}, got {labels.min()} .. {labels.max()}"
            )
        weights = _mean_weights(labels, logits)
        value, _, dlogits = ops.softmax_cross_entropy(
            logits, labels, weights, need_dlogits=need_gradient
        )
        return value, dlogits


class BinaryCrossentropy(Loss):
    """-t log p - (1 - t) log(1 - p), for targets t in 0..1; nats.

    Targets have the predictions' shape, or are [B] for predictions [B, 1].

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logits rather than probabilities.
    """

    activation = "sigmoid"

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = bool(from_logits)

    def value_and_gradient(
        self, y_true: Any, y_pred: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Return the mean loss and its gradient by the predictions."""
        if self.from_logits:
            return self.on_logits(y_true, y_pred, need_gradient=need_gradient)
        p = np.clip(y_pred, y_pred.dtype.type(_SMALLEST), y_pred.dtype.type(1 - _SMALLEST))
        value, dlogits = self.on_logits(
            y_true, np.log(p) - np.log1p(-p), need_gradient=need_gradient
        )
        return value, None if dlogits is None else dlogits / (p * (1 - p))

    def on_logits(
        self, y_true: Any, logits: Floating, *, need_gradient: bool = True
    ) -> tuple[float, Floating | None]:
        """Return the mean loss and its gradient by the logits."""
        targets = like_predictions(y_true, logits)
        if targets.size and not 0 <= targets.min() <= targets.max() <= 1:
            raise ValueError(
                f"y: expected targets in 0..1, got {targets.min():g} .. {targets.max():g}"
            )
        weights = _mean_weights(targets, logits)
        value, _, dlogits = ops.binary_cross_entropy(
            logits, targets, weights, need_dlogits=need_gradient
        )
        return value, dlogits


def like_predictions(y_true: Any, y_pred: Floating) -> Floating:
    """Return the targets in the predictions' type, [B] as [B, 1] where the predictions are so."""
    targets = np.asarray(y_true)
    if targets.dtype.kind not in "fiub":
        raise TypeError(f"y: expected numbers, got {targets.dtype}")
    if targets.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        targets = targets[..., None]
    if targets.shape != y_pred.shape:
        raise ValueError(f"y: expected shape {y_pred.shape}, got {targets.shape}")
    return targets.astype(y_pred.dtype, copy=False)


def _mean_weights(elements: Array, like: Floating) -> Floating:
    """Return what each element counts in a mean."""
    return np.full(elements.shape, 1.0 / max(1, elements.size), like.dtype)


_NAMES: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def get(loss: str | Loss) -> Loss:
    """Return the loss of that name, or ``loss`` itself."""
    if isinstance(loss, Loss):
        return loss
    if loss in _NAMES:
        return _NAMES[loss]()
    raise ValueError(f"loss: expected a Loss or one of {sorted(_NAMES)}, got {loss!r}")
