"""The custom operators ``fastrnn::recurrent`` and ``fastrnn::recurrent_backward``.

A stack of layers over whole sequences is one operator, so that graphs (torch.compile, torch.export)
see one node, whatever the number of steps. B, T, I, H are the usual sizes, D the directions, N the
tokens of a packed sequence, S = num_layers * D.

=============  ====================================================================================
x              [T, B, I], [B, T, I] if ``batch_first``, or the data [N, I] of a packed sequence
batch_sizes    [T] int64, of a packed sequence
h0, c0         [S, B, H] or None for zeros; of a packed sequence in its order
weights        per layer and direction ``weight_ih``, ``weight_hh`` and, all or none, the two biases
seed           [1] int64, of the dropout masks; needed where ``dropout`` > 0
batch          B of a packed sequence, which ``batch_sizes`` has only as a value
cell           "lstm", "gru", "rnn_tanh" or "rnn_relu"
keep           whether to return a cache; autograd asks for one
output         like x, with D * H features
hn, cn         [S, B, H]; cn is [0] for a cell without it
cache          uint8 [1] for the backward operator, see `_kept`; [0] without ``keep``
=============  ====================================================================================

The backward operator takes the gradients of the first three outputs, any of them None; what it need
not compute of dx, dh0 and dc0 it returns as [0].

The autograd formula is registered under the dispatcher's own key, not by
`torch.library.register_autograd`, which flattens the list of weights in Python: 155 us instead of
67 us for a training step of an operator that does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastrnn.torch import _kernels

_SEQUENCE = "Tensor x, Tensor? batch_sizes, Tensor? h0, Tensor? c0, Tensor[] weights, Tensor? seed"
_CONFIG = (
    "SymInt? batch, str cell, int num_layers, bool bidirectional, bool batch_first, float dropout"
)

_library = torch.library.Library("fastrnn", "DEF")
_library.define(
    f"recurrent({_SEQUENCE}, {_CONFIG}, bool keep=False) "
    "-> (Tensor output, Tensor hn, Tensor cn, Tensor cache)"
)
_library.define(
    f"recurrent_backward(Tensor? doutput, Tensor? dhn, Tensor? dcn, {_SEQUENCE}, Tensor output, "
    f"Tensor cache, {_CONFIG}, bool need_dx, bool need_dh0, bool need_dc0) "
    "-> (Tensor dx, Tensor dh0, Tensor dc0, Tensor[] dweights)"
)
recurrent = torch.ops.fastrnn.recurrent.default
recurrent_backward = torch.ops.fastrnn.recurrent_backward.default

_library.impl("recurrent", _kernels.forward, "CPU")
_library.impl("recurrent_backward", _kernels.backward, "CPU")


# ---- shapes alone --------------------------------------------------------------------------------


@torch.library.register_fake("fastrnn::recurrent", lib=_library)
def _fake_forward(
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    batch: int | None,
    cell: str,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    directions, hidden_size = 2 if bidirectional else 1, weights[1].shape[1]
    rows = x.shape[0 if batch_first else 1] if batch is None else batch
    hn = x.new_empty((num_layers * directions, rows, hidden_size))
    return (
        x.new_empty((*x.shape[:-1], directions * hidden_size)),
        hn,
        torch.empty_like(hn) if cell == "lstm" else x.new_empty((0,)),
        x.new_empty((1 if keep else 0,), dtype=torch.uint8),
    )


@torch.library.register_fake("fastrnn::recurrent_backward", lib=_library)
def _fake_backward(
    doutput: Tensor | None,
    dhn: Tensor | None,
    dcn: Tensor | None,
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    output: Tensor,
    cache: Tensor,
    batch: int | None,
    cell: str,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    need_dx: bool,
    need_dh0: bool,
    need_dc0: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    def gradient(of: Tensor | None, needed: bool) -> Tensor:
        return x.new_empty(of.shape if needed and of is not None else (0,))

    dweights = [w.new_empty(w.shape) for w in weights]
    return gradient(x, need_dx), gradient(h0, need_dh0), gradient(c0, need_dc0), dweights


# ---- autograd ------------------------------------------------------------------------------------


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        keys: Any,  # what the dispatcher has still to do; None where that is the kernel alone
        config: tuple[Any, ...],
        x: Tensor,
        batch_sizes: Tensor | None,
        h0: Tensor | None,
        c0: Tensor | None,
        seed: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        arguments = x, batch_sizes, h0, c0, weights, seed, *config, True
        if keys is None:
            output, hn, cn, cache = _kernels.forward(*arguments)
        else:
            output, hn, cn, cache = _redispatch(recurrent, keys, arguments)
        # Callers may write into the output, as they may with torch.nn's GRU and RNN. So autograd
        # gets it under a version counter of its own, and the counter that counts is asked later.
        seen, ctx.counter = output, None
        if type(output) is Tensor:
            seen, ctx.counter = output.data, _version_counter(output)
        ctx.config = config
        ctx.save_for_backward(x, batch_sizes, h0, c0, seed, seen, cache, *weights)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*((cache,) if config[1] == "lstm" else (cn, cache)))
        return output, hn, cn, cache

    @staticmethod
    def backward(
        ctx: Any, doutput: Tensor | None, dhn: Tensor | None, dcn: Tensor | None, _: None
    ) -> tuple[Tensor | None, ...]:
        x, batch_sizes, h0, c0, seed, output, cache, *weights = ctx.saved_tensors
        _, _, need_dx, _, need_dh0, need_dc0, _, *need_dweights = ctx.needs_input_grad
        if doutput is None and dhn is None and dcn is None:
            return (None,) * len(ctx.needs_input_grad)
        if torch.is_grad_enabled():  # create_graph=True
            return _differentiable_gradients(ctx, (doutput, dhn, dcn))
        if ctx.counter is not None and ctx.counter._version > 0:
            cache = cache.clone()  # a copy stands for nothing, and the output is computed anew
        direct = ctx.counter is not None and _unobserved(x)
        compute: Any = _kernels.backward if direct else recurrent_backward
        dx, dh0, dc0, dweights = compute(
            doutput, dhn, dcn, x, batch_sizes, h0, c0, weights, seed, output, cache,
            *ctx.config, need_dx, need_dh0, need_dc0,
        )  # fmt: skip
        return (
            None,
            None,
            dx if need_dx else None,
            None,
            dh0 if need_dh0 else None,
            dc0 if need_dc0 else None,
            None,
            *(dw if need else None for dw, need in zip(dweights, need_dweights, strict=True)),
        )


def _version_counter(tensor: Tensor) -> Tensor:
    """Return an empty tensor that shares the version counter of ``tensor`` and not its memory."""
    counter = tensor.detach()
    counter.data = tensor.new_empty(0)
    return counter


def _differentiable_gradients(
    ctx: Any, doutputs: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Compute the gradients by torch's own operators, which can be differentiated again."""
    x, batch_sizes, h0, c0, _, _, _, *weights = ctx.saved_tensors
    batch, cell, num_layers, bidirectional, batch_first, dropout = ctx.config
    if dropout > 0:
        raise RuntimeError(
            "fastrnn.torch: gradients of gradients (create_graph=True) are not available with "
            "dropout between layers, whose masks torch.nn cannot repeat; "
            "fastrnn.torch.restore(model) returns to torch.nn's implementation"
        )
    stacked = num_layers * (2 if bidirectional else 1)
    rows = x.shape[0 if batch_first else 1] if batch is None else batch
    zeros = x.new_zeros((stacked, rows, weights[1].shape[1]))
    states = [zeros if s is None else s for s in ((h0, c0) if cell == "lstm" else (h0,))]
    state = states if cell == "lstm" else states[0]
    tail = (len(weights) == 4 * stacked, num_layers, 0.0, False, bidirectional)
    one_dnn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # its LSTM has no second derivative
    try:
        if batch_sizes is None:
            outputs = getattr(torch, cell)(x, state, weights, *tail, batch_first)
        else:
            outputs = getattr(torch, cell)(x, batch_sizes, state, weights, *tail)
    finally:
        torch._C._set_mkldnn_enabled(one_dnn)
    needed = ctx.needs_input_grad
    inputs = (None, None, x, None, h0, c0, None, *weights)
    given = [(o, d) for o, d in zip(outputs, doutputs, strict=False) if d is not None]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in given],
            [t for t, need in zip(inputs, needed, strict=True) if need],
            [d for _, d in given],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if need else None for need in needed)


def _autograd_forward(
    keys: Any,
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    *config: Any,
) -> Any:
    if _wants_gradient(x, h0, c0, weights):
        return _Recurrent.apply(keys, config[:6], x, batch_sizes, h0, c0, seed, *weights)
    return _redispatch(recurrent, keys, (x, batch_sizes, h0, c0, weights, seed, *config))


def _autograd_backward(keys: Any, *arguments: Any) -> Any:
    if _wants_gradient(*arguments):
        raise RuntimeError("fastrnn::recurrent_backward: has no derivative; call it in no_grad()")
    return _redispatch(recurrent_backward, keys, arguments)


def _wants_gradient(*arguments: Any) -> bool:
    return torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments)


def _redispatch(operator: Any, keys: Any, arguments: tuple[Any, ...]) -> Any:
    """Go on to what comes after autograd."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator.redispatch(keys & torch._C._after_autograd_keyset, *arguments)


_library.impl("recurrent", _autograd_forward, "Autograd", with_keyset=True)
_library.impl("recurrent_backward", _autograd_backward, "Autograd", with_keyset=True)


# ---- the shortcut --------------------------------------------------------------------------------


def run(
    x: Tensor,
    batch_sizes: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor],
    seed: Tensor | None,
    *config: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Call ``fastrnn::recurrent``, past the dispatcher where that would only pass the call on.

    The way through it and back takes 8 us, a quarter of a small call.
    """
    if not _unobserved(x):
        return recurrent(x, batch_sizes, h0, c0, weights, seed, *config)
    if _wants_gradient(x, h0, c0, weights):
        return _Recurrent.apply(None, config, x, batch_sizes, h0, c0, seed, *weights)
    return _kernels.forward(x, batch_sizes, h0, c0, weights, seed, *config)


def _unobserved(x: Tensor) -> bool:
    """Whether x is an ordinary tensor on a CPU and nobody traces, profiles or overrides calls."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
        and not torch._C._autograd._profiler_enabled()
        and torch._C._dispatch_keys(x).raw_repr() in _ORDINARY
    )


def _ordinary() -> set[int]:
    """Return the dispatch keys of an ordinary tensor, and of one made in inference mode."""
    keys = set()
    for inference in (False, True):
        with torch.inference_mode(inference):
            keys.add(torch._C._dispatch_keys(torch.empty(0, device="cpu")).raw_repr())
    return keys


_ORDINARY = _ordinary()
