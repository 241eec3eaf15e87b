"""Keras 3's optimisers and clipping, in plain float64 NumPy, written from its formulas.

Each rule takes a parameter, its gradient and a dict of what it keeps (empty at first), and returns
the new parameter.
"""

import numpy as np


def decayed(param, lr, weight_decay):
    return param - param * weight_decay * lr


def sgd(param, grad, kept, step, *, lr, momentum, nesterov, weight_decay):
    param = decayed(param, lr, weight_decay)
    if not momentum:
        return param - lr * grad
    kept["v"] = momentum * kept.get("v", 0.0) - lr * grad
    return param + (momentum * kept["v"] - lr * grad if nesterov else kept["v"])


def adam(param, grad, kept, step, *, lr, beta1, beta2, eps, amsgrad, weight_decay):
    param = decayed(param, lr, weight_decay)
    kept["m"] = beta1 * kept.get("m", 0.0) + (1 - beta1) * grad
    kept["v"] = beta2 * kept.get("v", 0.0) + (1 - beta2) * grad**2
    kept["largest"] = np.maximum(kept.get("largest", 0.0), kept["v"])
    alpha = lr * np.sqrt(1 - beta2**step) / (1 - beta1**step)
    second = kept["largest"] if amsgrad else kept["v"]
    return param - alpha * kept["m"] / (np.sqrt(second) + eps)


def rmsprop(param, grad, kept, step, *, lr, rho, momentum, eps, centered, weight_decay):
    param = decayed(param, lr, weight_decay)
    kept["s"] = rho * kept.get("s", 0.0) + (1 - rho) * grad**2
    kept["mean"] = rho * kept.get("mean", 0.0) + (1 - rho) * grad
    variance = kept["s"] - (kept["mean"] ** 2 if centered else 0.0)
    change = lr * grad / np.sqrt(variance + eps)
    if momentum:
        change = kept["v"] = momentum * kept.get("v", 0.0) + change
    return param - change


def clipped(grads, kind, limit):
    """The gradients after clipping."""
    if kind == "value":
        return [np.clip(g, -limit, limit) for g in grads]
    if kind == "norm":
        return [g * limit / max(limit, global_norm([g])) for g in grads]
    if kind == "global_norm":
        return [g * limit / max(limit, global_norm(grads)) for g in grads]
    return grads


def global_norm(arrays):
    return np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in arrays))
