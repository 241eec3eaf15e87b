"""Gradients by torch's own operators, which have derivatives and rules for torch.vmap."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def gradients_by_torch(
    config: tuple[Any, ...],
    batch_sizes: Tensor | None,
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    doutputs: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Compute the gradients of ``fastrnn::recurrent``; in gradient mode they have a graph.

    Parameters
    ----------
    config : tuple
        The operator's arguments from ``batch`` to ``dropout``.
    inputs : sequence of tensors
        x, h0, c0 and the weights.
    needed : sequence of bool
        Which of the inputs' gradients to compute; None is returned for the others.
    doutputs : sequence of tensors
        The gradients of output, hn and cn.

    Raises
    ------
    RuntimeError
        If there was dropout between layers.
    """
    batch, cell, num_layers, bidirectional, batch_first, dropout = config
    if dropout > 0:
        raise RuntimeError(
            "fastrnn.torch: gradients of gradients (create_graph) and batches of gradients "
            "(is_grads_batched) are not available with dropout between layers, whose masks "
            "torch.nn cannot repeat; fastrnn.torch.restore(model) leaves the model to torch.nn"
        )
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # One tensor may be two inputs, and each is to have its own part of the gradient.
        inputs = [None if t is None else t.view_as(t) for t in inputs]
        x, h0, c0, *weights = inputs
        assert x is not None
        assert weights[1] is not None
        stacked = num_layers * (2 if bidirectional else 1)
        rows = x.shape[0 if batch_first else 1] if batch is None else batch
        zeros = x.new_zeros((stacked, rows, weights[1].shape[1]))
        states = [zeros if s is None else s for s in ((h0, c0) if cell == "lstm" else (h0,))]
        state = states if cell == "lstm" else states[0]
        tail = (len(weights) == 4 * stacked, num_layers, 0.0, False, bidirectional)
        forward = getattr(torch, cell)
        with _without_one_dnn():  # its LSTM has no second derivative
            if batch_sizes is None:
                outputs = forward(x, state, weights, *tail, batch_first)
            else:
                outputs = forward(x, batch_sizes, state, weights, *tail)
    given = [(o, d) for o, d in zip(outputs, doutputs, strict=False) if d is not None]
    gradients = iter(
        torch.autograd.grad(
            [o for o, _ in given],
            [t for t, need in zip(inputs, needed, strict=True) if t is not None and need],
            [d for _, d in given],
            create_graph=graph,
            allow_unused=True,
        )
    )
    return [next(gradients) if need else None for need in needed]


class _Switch:
    """oneDNN's switch, which is one for all threads: who is at work without it, and what it was."""

    lock = threading.Lock()
    users = 0
    enabled = True


@contextmanager
def _without_one_dnn() -> Iterator[None]:
    """Keep oneDNN off; the last of several threads to leave puts back what the first one found."""
    with _Switch.lock:
        if _Switch.users == 0:
            _Switch.enabled = torch._C._get_mkldnn_enabled()
            torch._C._set_mkldnn_enabled(False)
        _Switch.users += 1
    try:
        yield
    finally:
        with _Switch.lock:
            _Switch.users -= 1
            if _Switch.users == 0:
                torch._C._set_mkldnn_enabled(_Switch.enabled)
