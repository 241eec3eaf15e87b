"""What layers do besides recurrence, in plain float64 NumPy loops.

A mask [B, T] says which steps exist; the others are not there.
"""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805

# (y, dy/dx) of one number
ACTIVATIONS = {
    "linear": lambda x: (x, 1),
    "relu": lambda x: (max(x, 0), float(x > 0)),
    "leaky_relu": lambda x: (x if x > 0 else 0.2 * x, 1 if x > 0 else 0.2),
    "elu": lambda x: (x, 1) if x > 0 else (math.expm1(x), math.exp(x)),
    "selu": lambda x: (
        (SCALE * x, SCALE)
        if x > 0
        else (SCALE * ALPHA * math.expm1(x), SCALE * ALPHA * math.exp(x))
    ),
    "gelu": lambda x: (
        x * normal_cdf(x),
        normal_cdf(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "silu": lambda x: (x * sigmoid(x), sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "softplus": lambda x: (max(x, 0) + math.log1p(math.exp(-abs(x))), sigmoid(x)),
    "softsign": lambda x: (x / (1 + abs(x)), 1 / (1 + abs(x)) ** 2),
    "exponential": lambda x: (math.exp(x), math.exp(x)),
    "hard_sigmoid": lambda x: (min(max(x / 6 + 0.5, 0), 1), 1 / 6 if abs(x) < 3 else 0),
    "sigmoid": lambda x: (sigmoid(x), sigmoid(x) * (1 - sigmoid(x))),
    "tanh": lambda x: (math.tanh(x), 1 - math.tanh(x) ** 2),
}


def activation(name, x, dy):
    """-> y, dx, of the shape of x."""
    if name == "softmax":
        return softmax(x, dy)
    pairs = np.array([ACTIVATIONS[name](float(element)) for element in x.reshape(-1)])
    pairs = pairs.reshape(-1, 2)
    return pairs[:, 0].reshape(x.shape), dy * pairs[:, 1].reshape(x.shape)


def softmax(x, dy):
    y, dx = np.empty(x.shape), np.empty(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        e = np.exp(x[place] - x[place].max())
        y[place] = e / e.sum()
        jacobian = np.diag(y[place]) - np.outer(y[place], y[place])
        dx[place] = jacobian @ dy[place]
    return y, dx


def layer_norm(x, gamma, beta, epsilon, dy):
    """x [N, F] -> y, dx, dgamma, dbeta."""
    y, dx = np.empty(x.shape), np.empty(x.shape)
    dgamma, dbeta = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    n = x.shape[1]
    for i, row in enumerate(x):
        rstd = 1 / np.sqrt(row.var() + epsilon)
        normal = (row - row.mean()) * rstd
        y[i] = normal * gamma + beta
        jacobian = rstd * (np.eye(n) - 1 / n - np.outer(normal, normal) / n)
        dx[i] = jacobian @ (dy[i] * gamma)
        dgamma += dy[i] * normal
        dbeta += dy[i]
    return y, dx, dgamma, dbeta


def gather(x, mask, steps):
    out = np.zeros((x.shape[0], steps, *x.shape[2:]), x.dtype)
    for b in range(x.shape[0]):
        kept = [x[b, t] for t in range(x.shape[1]) if mask[b, t]]
        for k, step in enumerate(kept):
            out[b, k] = step
    return out


def scatter(x, mask, repeat=False):
    out = np.zeros((*mask.shape, *x.shape[2:]), x.dtype)
    for b in range(mask.shape[0]):
        k = 0
        for t in range(mask.shape[1]):
            if mask[b, t]:
                out[b, t] = x[b, k]
                k += 1
            elif repeat and t > 0:
                out[b, t] = out[b, t - 1]
    return out


def pool(pooling, x, mask, dout):
    """-> [B, F], dx."""
    out, dx = np.zeros((x.shape[0], x.shape[2])), np.zeros(x.shape)
    for b in range(x.shape[0]):
        steps = [t for t in range(x.shape[1]) if mask[b, t]]
        for j in range(x.shape[2]):
            if not steps:
                continue
            values = [x[b, t, j] for t in steps]
            if pooling == "mean":
                out[b, j] = math.fsum(values) / len(values)
                for t in steps:
                    dx[b, t, j] = dout[b, j] / len(values)
            else:
                place = values.index(max(values)) if pooling == "max" else len(values) - 1
                out[b, j] = values[place]
                dx[b, steps[place], j] = dout[b, j]
    return out, dx


def merge(mode, x, dout):
    a, b = np.split(x, 2, axis=-1)
    value = {"sum": a + b, "ave": (a + b) / 2, "mul": a * b}[mode]
    parts = {"sum": (dout, dout), "ave": (dout / 2, dout / 2), "mul": (dout * b, dout * a)}[mode]
    return value, np.concatenate(parts, axis=-1)
