"""Losses of one row and their gradients by finite differences, in plain float64 NumPy."""

import numpy as np

from .recurrent import sigmoid

SMALLEST = 1e-7  # Keras's epsilon


def clip(p):
    return np.clip(p, SMALLEST, 1 - SMALLEST)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def smoothed(target, smoothing, middle):
    return target * (1 - smoothing) + smoothing * middle


def binary(p, target, smoothing):
    t, p = smoothed(target, smoothing, 0.5), clip(p)
    return np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p))


def binary_logits(x, target, smoothing):
    t = smoothed(target, smoothing, 0.5)
    return np.mean(np.logaddexp(0, x) - t * x)


def categorical(p, target, smoothing):
    t = smoothed(target, smoothing, 1 / len(p))
    return -np.sum(t * np.log(clip(p / p.sum())))


def categorical_logits(x, target, smoothing):
    t = smoothed(target, smoothing, 1 / len(x))
    return np.sum(t * (np.logaddexp.reduce(x) - x))


def mean_squared(y, target, parameter):
    return np.mean((y - target) ** 2)


def mean_absolute(y, target, parameter):
    return np.mean(np.abs(y - target))


def huber(y, target, delta):
    error = np.abs(y - target)
    return np.mean(np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)))


ROW_LOSSES = {
    function.__name__: function
    for function in (
        *(binary, binary_logits, categorical, categorical_logits),
        *(mean_squared, mean_absolute, huber),
    )
}


def gradient(loss, y, *arguments):
    """The gradient of loss(y, *arguments) by central differences."""
    out = np.empty_like(y)
    for j in range(len(y)):
        step = 1e-6 * max(1.0, abs(y[j]))
        around = []
        for sign in (1, -1):
            moved = y.copy()
            moved[j] += sign * step
            around.append(loss(moved, *arguments))
        out[j] = (around[0] - around[1]) / (2 * step)
    return out


# ---- with closed gradients, for rows too long for differences ------------------------------------


def softmax_cross_entropy(logits, labels, weights):
    """-> losses [N] (0 where the label is negative), dlogits [N, C] of sum(weights * losses)."""
    losses, dlogits = np.zeros(len(logits)), np.zeros(logits.shape)
    for n, (row, label) in enumerate(zip(logits, labels, strict=True)):
        if label >= 0:
            losses[n] = np.logaddexp.reduce(row) - row[label]
            dlogits[n] = weights[n] * (softmax(row) - np.eye(len(row))[label])
    return losses, dlogits


def binary_logits_gradient(x, target, smoothing):
    return (sigmoid(x) - smoothed(target, smoothing, 0.5)) / len(x)
