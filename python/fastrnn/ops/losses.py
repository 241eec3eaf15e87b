"""Cross-entropies from logits, and their gradients."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None = None, *, need_dlogits: bool = True
) -> tuple[float, Floating, Floating | None]:
    """Return (sum of weights * losses, losses [...], dlogits [..., C]).

    Of logits [..., C], labels [...] and weights [...]. A negative label is ignored. The losses are
    unweighted, in nats; ``dlogits`` is the gradient of the sum.

    Raises
    ------
    IndexError
        If a label is C or more.
    """
    logits = _check.floating("logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"logits: expected 2 or more dimensions, got shape {logits.shape}")
    classes = logits.shape[-1]
    labels = _check.integers("labels", labels, logits.shape[:-1])
    if weights is not None:
        weights = _check.floating("weights", weights, labels.shape, like=logits).reshape(-1)
    losses = np.empty(labels.shape, logits.dtype)
    dlogits = np.empty_like(logits) if need_dlogits else None
    total = _core.softmax_cross_entropy(
        logits.reshape(-1, classes),
        labels.reshape(-1),
        weights,
        losses.reshape(-1),
        None if dlogits is None else dlogits.reshape(-1, classes),
    )
    return total, losses, dlogits


def binary_cross_entropy(
    logits: Array, targets: Array, weights: Array | None = None, *, need_dlogits: bool = True
) -> tuple[float, Floating, Floating | None]:
    """Return (sum of weights * losses, losses, dlogits); targets [...] in 0..1, as logits."""
    logits = _check.floating("logits", logits)
    targets = _check.floating("targets", targets, logits.shape, like=logits)
    if weights is not None:
        weights = _check.floating("weights", weights, logits.shape, like=logits).reshape(-1)
    losses = np.empty_like(logits)
    dlogits = np.empty_like(logits) if need_dlogits else None
    total = _core.binary_cross_entropy(
        logits.reshape(-1),
        targets.reshape(-1),
        weights,
        losses.reshape(-1),
        None if dlogits is None else dlogits.reshape(-1),
    )
    return total, losses, dlogits
