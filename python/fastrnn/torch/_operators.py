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
recompute      what the cache leaves out: "none", "gates", "checkpoint", "auto", or the most bytes
               that it may hold ("512MB"); no result depends on it
output         like x, with D * H features
hn, cn         [S, B, H]; cn is [0] for a cell without it
cache          uint8 [1] for the backward operator, see `_kept`; [0] without ``keep``
=============  ====================================================================================

The backward operator takes the gradients of the first three outputs, any of them None; what it need
not compute it returns as [0].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from fastrnn.torch import _kernels

_SEQUENCE = "Tensor x, Tensor? batch_sizes, Tensor? h0, Tensor? c0, Tensor[] weights, Tensor? seed"
_CONFIG = (
    "SymInt? batch, str cell, int num_layers, bool bidirectional, bool batch_first, float dropout"
)

SCHEMAS = (
    f"recurrent({_SEQUENCE}, {_CONFIG}, bool keep=False, "
    "str recompute='none') "
    "-> (Tensor output, Tensor hn, Tensor cn, Tensor cache)",
    f"recurrent_backward(Tensor? doutput, Tensor? dhn, Tensor? dcn, {_SEQUENCE}, Tensor output, "
    f"Tensor cache, {_CONFIG}, bool need_dx, bool need_dh0, bool need_dc0, "
    "bool[] need_dweights) "
    "-> (Tensor dx, Tensor dh0, Tensor dc0, Tensor[] dweights)",
)

library = torch.library.Library("fastrnn", "DEF")
for _schema in SCHEMAS:
    library.define(_schema)
recurrent = torch.ops.fastrnn.recurrent.default
recurrent_backward = torch.ops.fastrnn.recurrent_backward.default

library.impl("recurrent", _kernels.forward, "CPU")
library.impl("recurrent_backward", _kernels.backward, "CPU")


@torch.library.register_fake("fastrnn::recurrent", lib=library)
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
    recompute: str = "none",
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


@torch.library.register_fake("fastrnn::recurrent_backward", lib=library)
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
    need_dweights: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    def gradient(of: Tensor | None, needed: bool) -> Tensor:
        return x.new_empty(of.shape if needed and of is not None else (0,))

    dweights = [gradient(w, needed) for w, needed in zip(weights, need_dweights, strict=True)]
    return gradient(x, need_dx), gradient(h0, need_dh0), gradient(c0, need_dc0), dweights


# ---- for FlopCounterMode, which hands over shapes ------------------------------------------------

Shape = Sequence[int]


@register_flop_formula(torch.ops.fastrnn.recurrent)
def _forward_flops(
    x: Shape, batch_sizes: Any, h0: Any, c0: Any, weights: Sequence[Shape], *_: Any, **__: Any
) -> int:
    """Count the products, as torch does for its own GRU and RNN: two a weight and token."""
    return _flops(math.prod(x[:-1]), weights)


@register_flop_formula(torch.ops.fastrnn.recurrent_backward)
def _backward_flops(
    doutput: Any, dhn: Any, dcn: Any, x: Shape, batch_sizes: Any, h0: Any, c0: Any,
    weights: Sequence[Shape], seed: Any, output: Any, cache: Any, batch: int | None, cell: str,
    num_layers: int, bidirectional: bool, batch_first: bool, dropout: float, need_dx: bool,
    need_dh0: bool, need_dc0: bool, need_dweights: Sequence[bool], **_: Any,
) -> int:  # fmt: skip
    directions = 2 if bidirectional else 1
    each = len(weights) // (num_layers * directions)
    tokens, rows = math.prod(x[:-1]), x[0 if batch_first else 1] if batch is None else batch
    wanted = [w for w, need in zip(weights, need_dweights, strict=True) if need]
    total = _flops(tokens, weights) + _flops(tokens, wanted)
    if not need_dx:
        total -= _flops(tokens, weights[: each * directions : each])
    if not need_dh0:
        total -= _flops(rows, weights[1::each])
    return total


def _flops(rows: int, weights: Sequence[Shape]) -> int:
    return 2 * rows * sum([math.prod(shape) for shape in weights if len(shape) == 2])
