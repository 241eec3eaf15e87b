"""The base of all metrics: a weighted mean over all batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastrnn._registry import Registry
from fastrnn._typing import Array, Floating
from fastrnn.losses import row_weights, unmasked_targets


class Metric:
    """The base of all metrics, and of one's own: a weighted mean of `values` over all rows.

    Predictions [..., C] are rows [...] of C numbers. A metric that is no mean overrides `update`,
    `result` and `reset_state` instead of `values`.

    Parameters
    ----------
    name : str, optional
        What the figure is called in logs and history; `default_name` where it is missing.
    """

    classes: ClassVar[Registry[Metric]] = Registry("metric")
    """Every metric class by its name: what a saved model's metrics are made from."""

    default_name: ClassVar[str] = "metric"
    greater_is_better: ClassVar[bool | None] = None
    """What callbacks that look for the best epoch go by; None: they have to be told."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or self.default_name
        self.reset_state()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Metric.classes.add(cls)

    # ---- to override -----------------------------------------------------------------------------

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return a number (or bool) for each row [...], or for each element [..., C]."""
        raise NotImplementedError(f"{type(self).__name__}.values")

    def update(self, y_true: Any, y_pred: Floating, weights: Floating | None) -> None:
        """Take a batch in; ``weights`` [...] is what each row counts, None: 1."""
        values = np.asarray(self.values(y_true, y_pred), np.float64)
        if values.shape == y_pred.shape and values.ndim > 1:
            values = values.mean(axis=-1)
        if weights is None:
            self._total += float(values.sum())
            self._count += values.size
        else:
            # Where the weight is 0, not even NaN counts.
            weighted = np.multiply(values, weights, where=weights != 0, out=np.zeros_like(values))
            self._total += float(weighted.sum())
            self._count += float(weights.sum(dtype=np.float64))

    def result(self) -> float:
        """Return the figure for all batches since `reset_state`; 0 for none, as in Keras."""
        return self._total / self._count if self._count else 0.0

    def reset_state(self) -> None:
        """Forget all batches."""
        self._total, self._count = 0.0, 0.0

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {"name": self.name}

    # ---- given -----------------------------------------------------------------------------------

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> None:
        """Take a batch in.

        Parameters
        ----------
        y_true : array
            The targets.
        y_pred : [..., C] floating
            The predictions.
        sample_weight : [B] or [...], optional
            What each row counts; one number for each sample goes for all of its rows.
        mask : bool, [B] or [...], optional
            False where a row counts nothing. Its targets may be anything then.
        """
        y_pred = np.asarray(y_pred)
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(np.float64)
        if y_pred.ndim < 2:
            raise ValueError(f"y_pred: expected shape (..., classes), got {y_pred.shape}")
        rows = y_pred.shape[:-1]
        weights, _ = row_weights(rows, sample_weight, mask, y_pred.dtype)
        y_true = unmasked_targets(y_true, rows, mask)
        self.update(y_true, y_pred, weights)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> float:
        """Take a batch in and return the figure."""
        self.update_state(y_true, y_pred, sample_weight, mask)
        return self.result()


class FunctionMetric(Metric):
    """The weighted mean of what a function ``f(y_true, y_pred)`` gives for each row or element."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function
        super().__init__(name or getattr(function, "__name__", "metric"))

    def values(self, y_true: Any, y_pred: Floating) -> Any:
        """Return what the function does."""
        values = np.asarray(self.function(y_true, y_pred))
        if values.shape not in (y_pred.shape, y_pred.shape[:-1]):
            raise ValueError(
                f"{self.name}: expected values of shape {y_pred.shape[:-1]}, got {values.shape}"
            )
        return values

    def get_config(self) -> dict[str, Any]:
        """Refuse: a function cannot be written to a file."""
        raise ValueError("metrics: a function cannot be saved; make it a Metric class")


def labels_like(y_true: Any, y_pred: Array) -> Array:
    """Return labels [...] for predictions [..., C], without a last axis of 1."""
    labels = np.asarray(y_true)
    if labels.ndim == y_pred.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != y_pred.shape[:-1]:
        raise ValueError(f"y: expected shape {y_pred.shape[:-1]}, got {labels.shape}")
    return labels
