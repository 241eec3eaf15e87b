"""What else a training step touches, in plain float64 NumPy."""

import numpy as np

from .recurrent import sigmoid


def linear_forward(x, weight, bias):
    """x [N, I], weight [O, I], bias [O] or None -> [N, O]."""
    return x @ weight.T + (0 if bias is None else bias)


def linear_backward(x, weight, dout):
    """-> dx [N, I], dweight [O, I], dbias [O]."""
    return dout @ weight, dout.T @ x, dout.sum(axis=0)


def embedding_forward(ids, table):
    return np.array([table[i] for i in ids]).reshape(len(ids), table.shape[1])


def embedding_backward(ids, dout, vocabulary):
    dtable = np.zeros((vocabulary, dout.shape[1]))
    for i, row in zip(ids, dout, strict=True):
        dtable[i] += row
    return dtable


def softmax_cross_entropy(logits, labels, weights):
    """-> losses [N] (0 where the label is negative), dlogits [N, C] of sum(weights * losses)."""
    losses, dlogits = np.zeros(len(logits)), np.zeros(logits.shape)
    for n, (row, label) in enumerate(zip(logits, labels, strict=True)):
        if label >= 0:
            shifted = row - row.max()
            probabilities = np.exp(shifted) / np.exp(shifted).sum()
            losses[n] = np.log(np.exp(shifted).sum()) - shifted[label]
            dlogits[n] = weights[n] * (probabilities - np.eye(len(row))[label])
    return losses, dlogits


def binary_cross_entropy(logits, targets, weights):
    """-> losses [N] = -t log(p) - (1 - t) log(1 - p) with p = sigmoid(logit), dlogits [N]."""
    losses = np.logaddexp(0, logits) - targets * logits
    return losses, weights * (sigmoid(logits) - targets)


def sgd(param, grad, velocity, lr, momentum, nesterov, weight_decay):
    """Keras's rule; -> the new parameter and velocity."""
    grad = grad + weight_decay * param
    velocity = momentum * velocity - lr * grad
    return param + (momentum * velocity - lr * grad if nesterov else velocity), velocity


def adam(param, grad, first, second, step, lr, beta1, beta2, eps, weight_decay):
    """Kingma and Ba 2014, weight decay decoupled (Loshchilov and Hutter 2017); -> parameter, first,
    second moment."""
    first = beta1 * first + (1 - beta1) * grad
    second = beta2 * second + (1 - beta2) * grad**2
    first_hat, second_hat = first / (1 - beta1**step), second / (1 - beta2**step)
    param = param - lr * weight_decay * param
    return param - lr * first_hat / (np.sqrt(second_hat) + eps), first, second


def global_norm(arrays):
    return np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in arrays))
