"""Losses of rows of predictions: a weighted sum, and its gradient."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating

LossAndGradient: TypeAlias = tuple[float, Floating | None]
"""The weighted sum of the losses, and its gradient by the predictions (None if not needed)."""

RowLoss: TypeAlias = Literal[
    "binary",
    "binary_logits",
    "categorical",
    "categorical_logits",
    "mean_squared",
    "mean_absolute",
    "huber",
]


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    scale: float = 1.0,
    need_gradient: bool = True,
    losses: Floating | None = None,
) -> LossAndGradient:
    """Return the sum of -scale * weights * log(softmax(logits)[label]), in nats, and its gradient.

    Parameters
    ----------
    logits : [..., C] float32 or float64
        Scores of the classes.
    labels : [...] integers
        In 0 .. C - 1; a negative one counts nothing.
    weights : [...] like logits, optional
        What each row counts; a row of weight 0 is not read. Ones by default.
    losses : [...] like logits, C-contiguous, optional
        Each row's loss is written into it, without scale and weight.

    Raises
    ------
    IndexError
        If a label with a weight is C or more.
    """
    rows = _Rows("logits", logits, weights, need_gradient, losses)
    labels = _check.integers("labels", labels, rows.shape[:-1]).reshape(-1)
    total = _core.softmax_cross_entropy(
        rows.predictions, labels, rows.weights, scale, rows.losses, rows.gradient
    )
    return total, rows.shaped_gradient()


def cross_entropy(
    probabilities: Array,
    labels: Array,
    weights: Array | None = None,
    *,
    scale: float = 1.0,
    need_gradient: bool = True,
    losses: Floating | None = None,
) -> LossAndGradient:
    """Do what `softmax_cross_entropy` does, from probabilities [..., C].

    They are divided by their sum and kept 1e-7 away from 0 and 1, as in Keras. ``losses`` as there.
    """
    rows = _Rows("probabilities", probabilities, weights, need_gradient, losses)
    labels = _check.integers("labels", labels, rows.shape[:-1]).reshape(-1)
    total = _core.cross_entropy(
        rows.predictions, labels, rows.weights, scale, rows.losses, rows.gradient
    )
    return total, rows.shaped_gradient()


def row_loss(
    kind: RowLoss,
    predictions: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    scale: float = 1.0,
    parameter: float = 0.0,
    need_gradient: bool = True,
    losses: Floating | None = None,
) -> LossAndGradient:
    """Return the sum of scale * weights * losses of predictions and targets [..., C].

    A row's loss is the mean over C; that of the categorical cross-entropies is the sum.
    ``parameter`` is the label smoothing of a cross-entropy, Huber's delta. ``losses`` as of
    `softmax_cross_entropy`.
    """
    rows = _Rows("predictions", predictions, weights, need_gradient, losses)
    targets = _check.floating("targets", targets, rows.shape, like=predictions)
    total = _core.row_loss(
        kind,
        rows.predictions,
        targets.reshape(rows.predictions.shape),
        rows.weights,
        scale,
        parameter,
        rows.losses,
        rows.gradient,
    )
    return total, rows.shaped_gradient()


class _Rows:
    """Predictions [..., C] as rows [N, C], with weights [N] and room for losses and gradient."""

    def __init__(
        self,
        name: str,
        predictions: Array,
        weights: Array | None,
        need_gradient: bool,
        losses: Floating | None,
    ) -> None:
        predictions = _check.floating(name, predictions)
        self.shape = predictions.shape
        if len(self.shape) < 2 or self.shape[-1] == 0:
            raise ValueError(f"{name}: expected shape (..., classes), got {self.shape}")
        # Not -1: it cannot be found out where there are no rows.
        count = int(np.prod(self.shape[:-1]))
        self.predictions = predictions.reshape(count, self.shape[-1])
        self.weights: Floating | None = None
        if weights is not None:
            weights = _check.floating("weights", weights, self.shape[:-1], like=predictions)
            self.weights = weights.reshape(-1)
        if losses is None:
            losses = np.empty(self.shape[:-1], predictions.dtype)
        elif not losses.flags.c_contiguous:  # a copy would take the numbers
            raise ValueError(f"losses: expected a C-contiguous array, got strides {losses.strides}")
        losses = _check.floating("losses", losses, self.shape[:-1], like=predictions)
        self.losses = losses.reshape(-1)
        self.gradient = np.empty_like(self.predictions) if need_gradient else None

    def shaped_gradient(self) -> Floating | None:
        return None if self.gradient is None else self.gradient.reshape(self.shape)
