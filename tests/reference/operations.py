"""Linear and embedding, in plain float64 NumPy."""

import numpy as np


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
