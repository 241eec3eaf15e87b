"""Layer normalisation (Ba et al. 2016), and its gradients."""

import numpy as np

from fastrnn import _check
from fastrnn._load import core as _core
from fastrnn._typing import Array, Floating


def layer_norm_forward(
    x: Array, gamma: Array | None, beta: Array | None, epsilon: float
) -> tuple[Floating, Floating, Floating]:
    """Return (y [..., F], mean [...], rstd [...]) of x [..., F].

    y = (x - mean) * rstd * gamma + beta with rstd = 1 / sqrt(variance + epsilon), mean and variance
    over the last axis; gamma and beta [F] may be None.
    """
    x = _check.floating("x", x)
    if x.ndim < 2 or x.shape[-1] == 0:
        raise ValueError(f"x: expected 2 or more dimensions, the last not 0, got shape {x.shape}")
    size = x.shape[-1]
    if gamma is not None:
        gamma = _check.floating("gamma", gamma, (size,), like=x)
    if beta is not None:
        beta = _check.floating("beta", beta, (size,), like=x)
    y, mean = np.empty_like(x), np.empty(x.shape[:-1], x.dtype)
    rstd = np.empty_like(mean)
    rows = x.reshape(-1, size)
    _core.layer_norm_forward(
        rows, gamma, beta, epsilon, y.reshape(rows.shape), mean.reshape(-1), rstd.reshape(-1)
    )
    return y, mean, rstd


def layer_norm_backward(
    x: Array,
    gamma: Array | None,
    mean: Floating,
    rstd: Floating,
    dy: Array,
    *,
    need_dx: bool = True,
    need_dgamma: bool = True,
    need_dbeta: bool = True,
) -> tuple[Floating | None, Floating | None, Floating | None]:
    """Undo `layer_norm_forward`: from dy [..., F] to (dx [..., F], dgamma [F], dbeta [F])."""
    x = _check.floating("x", x)
    dy = _check.floating("dy", dy, x.shape, like=x)
    size = x.shape[-1]
    dx = np.empty_like(x) if need_dx else None
    dgamma = np.empty(size, x.dtype) if need_dgamma else None
    dbeta = np.empty(size, x.dtype) if need_dbeta else None
    _core.layer_norm_backward(
        x.reshape(-1, size),
        gamma,
        mean.reshape(-1),
        rstd.reshape(-1),
        dy.reshape(-1, size),
        None if dx is None else dx.reshape(-1, size),
        dgamma,
        dbeta,
    )
    return dx, dgamma, dbeta
