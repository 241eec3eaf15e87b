"""Losses of numbers: the mean over a row of a function of the error."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating
from fastrnn.losses.base import CoreLoss, like_predictions


class RowLoss(CoreLoss):
    """What losses share whose targets are as wide as the predictions."""

    kind: ClassVar[ops.RowLoss]
    """The core's name of the loss."""

    @property
    def parameter(self) -> float:
        """What the core takes besides: Huber's delta, the smoothing of labels."""
        return 0.0

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
        targets = like_predictions(y_true, y_pred)
        self.check_targets(targets, weights)
        return ops.row_loss(
            self.kind_of(of_logits),
            y_pred,
            targets.astype(y_pred.dtype, copy=False),
            weights,
            scale=scale,
            parameter=self.parameter,
            need_gradient=need_gradient,
            losses=losses,
        )

    def kind_of(self, of_logits: bool) -> ops.RowLoss:
        """Return the core's name of the loss, for logits where it has them."""
        return self.kind

    def check_targets(self, targets: Array, weights: Floating | None) -> None:
        """Raise ValueError unless all targets that count are finite."""
        finite = np.isfinite(targets)
        if not finite.all() and not finite[counting(weights)].all():
            raise ValueError("y: expected finite numbers, got NaN or infinity")


def counting(weights: Floating | None) -> Any:
    """Return an index of the rows that count."""
    return ... if weights is None else weights != 0


class MeanSquaredError(RowLoss):
    """The mean of (y_pred - y)^2."""

    kind = "mean_squared"


class MeanAbsoluteError(RowLoss):
    """The mean of |y_pred - y|; the gradient at 0 is 0."""

    kind = "mean_absolute"


class Huber(RowLoss):
    """The mean of e^2 / 2 for errors |e| <= delta, delta * (|e| - delta / 2) beyond (Huber 1964).

    Parameters
    ----------
    delta : float
        Greater than 0.
    """

    kind = "huber"

    def __init__(self, delta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delta = _check.real("delta", delta)
        if self.delta <= 0:
            raise ValueError(f"delta: expected more than 0, got {delta!r}")

    @property
    def parameter(self) -> float:
        """Delta."""
        return self.delta

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "delta": self.delta}
