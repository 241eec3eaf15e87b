"""The base of all losses: what each row counts, and how the rows are reduced to one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastrnn._registry import Registry
from fastrnn._typing import Array, Floating

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight")


class LossValue(NamedTuple):
    """What a loss says about a batch."""

    value: float
    """The rows' losses, reduced."""
    gradient: Floating | None
    """Of the value by the predictions, of their shape; None if not needed."""
    weight: float
    """What the batch counts in a mean over batches: that is then the mean over all rows. Sums are
    added up instead."""


class Loss:
    """The base of all losses, and of one's own, which overrides `losses_and_gradients`.

    A class made from one of the others may do so, too; it is then given the model's output, also
    where the other one would take the logits of the last layer. One's own also overrides
    `get_config` if its constructor takes arguments, so that it can be saved.

    Predictions [..., C] are rows [...] of C numbers; each row has a loss. What a row counts is its
    sample weight, 0 where it is masked.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"}
        As in Keras: the weighted sum of the rows' losses, divided by the number of rows that are
        not masked (the first two), by 1, or by the sum of the weights.
    name : str, optional
        For one's own use.
    """

    classes: ClassVar[Registry[Loss]] = Registry("loss")
    """Every loss class by its name: what a saved model's loss is made from."""

    activation: ClassVar[str | None] = None
    """The activation that the loss has built in; `weighted` takes its logits. None: none."""
    from_logits = False

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction: expected one of {REDUCTIONS}, got {reduction!r}")
        self.reduction = reduction
        self.name = name

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Loss.classes.add(cls)

    # ---- to override -----------------------------------------------------------------------------

    def losses_and_gradients(self, y_true: Any, y_pred: Floating) -> tuple[Any, Any]:
        """Return each row's loss [...] and its gradient by the row's predictions [..., C]."""
        raise NotImplementedError(f"{type(self).__name__}.losses_and_gradients")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {"reduction": self.reduction, "name": self.name}

    # ---- given -----------------------------------------------------------------------------------

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> float:
        """Return the reduced loss."""
        y_pred = _as_predictions(y_pred)
        return self.value_and_gradient(
            y_true, y_pred, sample_weight, mask, need_gradient=False
        ).value

    def value_and_gradient(
        self,
        y_true: Any,
        y_pred: Floating,
        sample_weight: Any = None,
        mask: Any = None,
        *,
        need_gradient: bool = True,
        of_logits: bool = False,
    ) -> LossValue:
        """Return the reduced loss and its gradient.

        Parameters
        ----------
        y_true : array
            The targets; which shape and values is the loss's matter.
        y_pred : [..., C] float32 or float64
            The predictions.
        sample_weight : [B] or [...], optional
            What each row counts; one number for each sample goes for all of its rows.
        mask : bool, [B] or [...], optional
            False where a row counts nothing. Its targets may be anything then.
        of_logits : bool
            Whether ``y_pred`` is what `activation` is to be applied to.

        Raises
        ------
        TypeError, ValueError
            If the targets or the weights do not fit the predictions, or are not finite.
        """
        if y_pred.ndim < 2:
            raise ValueError(f"y_pred: expected shape (..., classes), got {y_pred.shape}")
        y_true = unmasked_targets(y_true, y_pred.shape[:-1], mask)
        mask = self.own_mask(y_true, y_pred, mask)
        weights, valid = row_weights(y_pred.shape[:-1], sample_weight, mask, y_pred.dtype)
        count, divisor = float(valid), float(valid)
        if self.reduction == "sum":
            divisor = 1.0
        elif self.reduction == "mean_with_sample_weight" and weights is not None:
            count = divisor = float(weights.sum(dtype=np.float64))
        value, gradient = self.weighted(
            y_true,
            y_pred,
            weights,
            scale=1.0 / divisor if divisor else 0.0,
            need_gradient=need_gradient,
            of_logits=of_logits,
        )
        return LossValue(value, gradient, count)

    def own_mask(self, y_true: Any, y_pred: Floating, mask: Any) -> Any:
        """Return ``mask`` with what the loss itself leaves out."""
        return mask

    def weighted(
        self,
        y_true: Any,
        y_pred: Floating,
        weights: Floating | None,
        *,
        scale: float,
        need_gradient: bool,
        of_logits: bool,
    ) -> tuple[float, Floating | None]:
        """Return scale * the sum of weights [...] * losses, and its gradient."""
        losses, gradients = (np.asarray(a) for a in self.losses_and_gradients(y_true, y_pred))
        rows = y_pred.shape[:-1]
        shapes = {"losses": (losses, rows), "gradients": (gradients, y_pred.shape)}
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise ValueError(
                    f"{name} of {type(self).__name__}: expected shape {shape}, got {array.shape}"
                )
        # Where the weight is 0, not even NaN counts.
        factors = np.full(rows, scale) if weights is None else weights * scale
        counts = factors != 0
        value = float(np.where(counts, losses * factors, 0.0).sum(dtype=np.float64))
        if not need_gradient:
            return value, None
        gradient = np.where(counts[..., None], gradients * factors[..., None], 0.0)
        return value, gradient.astype(y_pred.dtype, copy=False)


class CoreLoss(Loss):
    """What losses share that the compiled core computes, all rows in one call.

    A class made from one of them that overrides `losses_and_gradients` is another loss: neither
    the core's call nor the logits stand for it.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        parent = next(base for base in cls.__mro__[1:] if issubclass(base, CoreLoss))
        own = cls.losses_and_gradients is not parent.losses_and_gradients
        if own and "activation" not in cls.__dict__:
            cls.activation = None

    @classmethod
    def _overrides_rows(cls) -> bool:
        return cls.losses_and_gradients is not CoreLoss.losses_and_gradients

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
        """Return what `weighted` does; each row's loss is written to ``losses`` [...], if given."""
        raise NotImplementedError(f"{type(self).__name__}.in_core")

    def weighted(
        self,
        y_true: Any,
        y_pred: Floating,
        weights: Floating | None,
        *,
        scale: float,
        need_gradient: bool,
        of_logits: bool,
    ) -> tuple[float, Floating | None]:
        """Return scale * the sum of weights [...] * losses, and its gradient."""
        compute = super().weighted if self._overrides_rows() else self.in_core
        return compute(
            y_true,
            y_pred,
            weights,
            scale=scale,
            need_gradient=need_gradient,
            of_logits=of_logits,
        )

    def losses_and_gradients(self, y_true: Any, y_pred: Floating) -> tuple[Any, Any]:
        """Return each row's loss [...] and its gradient by the row's predictions [..., C]."""
        losses = np.empty(y_pred.shape[:-1], y_pred.dtype)
        _, gradients = self.in_core(
            y_true,
            y_pred,
            None,
            scale=1.0,
            need_gradient=True,
            of_logits=False,
            losses=losses,
        )
        return losses, gradients


class FunctionLoss(Loss):
    """A function ``f(y_true, y_pred)`` as a loss: see `Loss.losses_and_gradients`."""

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def losses_and_gradients(self, y_true: Any, y_pred: Floating) -> tuple[Any, Any]:
        """Return what the function does."""
        returned = self.function(y_true, y_pred)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise TypeError(
                "loss: expected the function to return (losses, gradients), "
                f"got {type(returned).__name__}"
            )
        return returned

    def get_config(self) -> dict[str, Any]:
        """Refuse: a function cannot be written to a file."""
        raise ValueError("loss: a function cannot be saved; make it a Loss class")


def row_weights(
    rows: tuple[int, ...],
    sample_weight: Any,
    mask: Any,
    dtype: np.dtype[np.floating[Any]],
) -> tuple[Floating | None, int]:
    """Return what each row counts ([...], None: one each), and how many are not masked."""
    count = int(np.prod(rows))
    weights: Array | None = None
    if sample_weight is not None:
        given = np.asarray(sample_weight)
        if given.dtype.kind not in "fiub":
            raise TypeError(f"sample_weight: expected numbers, got {given.dtype}")
        if not np.isfinite(given).all():
            raise ValueError("sample_weight: expected finite numbers, got NaN or infinity")
        weights = _over_rows("sample_weight", given, rows).astype(dtype)
    if mask is not None:
        given = np.asarray(mask)
        if given.dtype.kind != "b":
            raise TypeError(f"mask: expected bool, got {given.dtype}")
        valid = _over_rows("mask", given, rows)
        count = int(np.count_nonzero(valid))
        if weights is not None:
            weights = np.where(valid, weights, dtype.type(0))
        elif count < valid.size:
            weights = valid.astype(dtype)
    return None if weights is None else np.ascontiguousarray(weights), count


def unmasked_targets(y_true: Any, rows: tuple[int, ...], mask: Any) -> Any:
    """Return the targets of ``rows`` with 0, a valid label, wherever the mask is False."""
    targets, given = np.asarray(y_true), np.asarray(mask)
    # What else is wrong is said by those who look at the targets and the mask.
    if given.dtype.kind != "b" or targets.shape[: len(rows)] != rows:
        return y_true
    valid = _over_rows("mask", given, rows)
    if valid.all():
        return y_true
    missing = (1,) * (targets.ndim - len(rows))
    return np.where(valid.reshape(rows + missing), targets, targets.dtype.type(0))


def _over_rows(name: str, array: Array, rows: tuple[int, ...]) -> Array:
    """Spread [B], [B, 1] or the like over rows [B, ...]."""
    shape = array.shape
    if len(shape) == len(rows) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if shape != rows[: len(shape)] or not shape:
        raise ValueError(f"{name}: expected shape {rows} or {rows[:1]}, got {array.shape}")
    missing = (1,) * (len(rows) - len(shape))
    return np.broadcast_to(array.reshape(shape + missing), rows)


def like_predictions(y_true: Any, y_pred: Array) -> Array:
    """Return the targets in the predictions' shape, where one of them lacks a last axis of 1."""
    targets = np.asarray(y_true)
    if targets.dtype.kind not in "fiub":
        raise TypeError(f"y: expected numbers, got {targets.dtype}")
    if targets.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        targets = targets[..., None]
    elif targets.ndim == y_pred.ndim + 1 and targets.shape[-1] == 1:
        targets = targets[..., 0]
    if targets.shape != y_pred.shape:
        raise ValueError(f"y: expected shape {y_pred.shape}, got {targets.shape}")
    return targets


def _as_predictions(y_pred: Any) -> Floating:
    predictions = np.asarray(y_pred)
    if predictions.dtype not in (np.float32, np.float64):
        predictions = predictions.astype(np.float64)
    return predictions
