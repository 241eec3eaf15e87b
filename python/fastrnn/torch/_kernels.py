"""The operators on a CPU: the tensors' memory handed to the core as NumPy views, nothing copied.

Arguments go by DLPack: after ``Tensor.numpy`` torch would refuse to resize their memory, ever.
Results are NumPy's memory seen by torch, not the other way round, since that is quicker (0.6 us
instead of 1.5 us an array).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import dlpack

from fastrnn import _memory, _stack
from fastrnn._load import core
from fastrnn._typing import Array, Floating
from fastrnn.torch import _kept, _threads
from fastrnn.torch._packed import read_packing

# torch exports it without naming it in its __all__, which is what mypy goes by.
_to_dlpack: Any = dlpack.to_dlpack  # type: ignore[attr-defined]


def forward(
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
    hold: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute ``fastrnn::recurrent``; `_operators` explains the arguments.

    With ``hold`` the cache has views of x, the output and the weights for the backward pass, which
    makes them anew only where memory has moved. Autograd allows that, which sees to it that they do
    not change; a compiled graph does not: it may give x's memory to others and make x anew.
    """
    _threads.follow()
    sequence = _sequence(x, batch_first)
    if batch_sizes is None:
        steps, rows, input_size = sequence.shape
        lengths = None
    else:
        steps, rows, lengths = read_packing(batch_sizes, x.shape[0])
        input_size = sequence.shape[-1]
    dtype = sequence.dtype
    directions = 2 if bidirectional else 1
    hidden_size = weights[1].shape[1]
    mode, plan = _plan(
        recompute if keep else "none",
        cell,
        dtype == np.float64,
        steps,
        rows,
        input_size,
        hidden_size,
        num_layers,
        directions,
        lengths,
        dropout,
        0 if seed is None else int(seed),
        # The core drops only where it keeps; torch.nn also where no gradient is wanted.
        keep or dropout > 0,
    )
    output = _empty_like(sequence, directions * hidden_size, batch_first)
    hn = np.empty((num_layers * directions, rows, hidden_size), dtype)
    cn = np.empty(hn.shape if cell == "lstm" else 0, dtype)
    parameters = _parameters(weights, num_layers * directions)
    cache = core.recurrent_forward(
        plan,
        sequence,
        parameters,
        _dense(h0),
        _dense(c0),
        output,
        hn,
        cn if cell == "lstm" else None,
        None,
    )
    if cache is None or not keep:
        kept = torch.from_numpy(np.empty(0, np.uint8))
    elif hold:
        arrays = sequence, output, parameters
        kept = _kept.keep(plan, cache, mode, arrays, _addresses(x, weights))
    else:
        kept = _kept.keep(plan, cache, mode)
    result = _as_given(output, batch_first)
    return result, torch.from_numpy(hn), torch.from_numpy(cn), kept


def _plan(recompute: str, *arguments: Any) -> tuple[str, core.Plan]:
    """Make the plan, and where it may keep less, choose what."""
    make: Callable[..., core.Plan] = core.Plan
    if recompute == "none":
        return recompute, make(*arguments)

    def prepare(mode: str) -> tuple[core.Plan, int]:
        plan = make(*arguments, mode)
        return plan, plan.cache_nbytes

    return _request(recompute).choose(prepare)


def _request(recompute: str) -> _memory.Request:
    if recompute in (*_memory.MODES, "auto"):
        return _memory.parse(recompute, None)
    try:
        size = int(recompute) if recompute.isdecimal() else recompute
        return _memory.parse(None, _memory.parse_bytes("recompute", size))
    except ValueError:
        raise ValueError(
            'recompute: expected "none", "gates", "checkpoint", "auto" or the most bytes, such as '
            f'"512MB", got {recompute!r}'
        ) from None


def backward(
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
    """Compute ``fastrnn::recurrent_backward``."""
    _threads.follow()
    kept = _kept.find(cache)
    if kept is None:
        config = (batch, cell, num_layers, bidirectional, batch_first, dropout)
        output, _, _, cache = forward(x, batch_sizes, h0, c0, weights, seed, *config, keep=True)
        kept = _kept.find(cache)
        assert kept is not None
    stacked = num_layers * (2 if bidirectional else 1)
    if kept.arrays is not None and kept.addresses == _addresses(x, weights):
        sequence, filled, parameters = kept.arrays
    else:
        sequence, filled = _sequence(x, batch_first), _sequence(output, batch_first)
        parameters = _parameters(weights, stacked)
    dtype = sequence.dtype
    rows = sequence.shape[1] if batch is None else batch
    state = (stacked, rows, filled.shape[-1] * num_layers // stacked)
    dx = _empty_like(sequence, sequence.shape[-1], batch_first) if need_dx else None
    dh0 = np.empty(state, dtype) if need_dh0 else None
    dc0 = np.empty(state, dtype) if need_dc0 else None
    needed = iter(need_dweights)
    dweights = [
        np.empty(w.shape, dtype) if w is not None and next(needed) else None for w in parameters
    ]
    core.recurrent_backward(
        kept.plan,
        kept.cache,
        sequence,
        parameters,
        _dense(h0),
        _dense(c0),
        filled,
        None if doutput is None else _sequence(doutput, batch_first),
        _dense(dhn),
        _dense(dcn),
        None,
        dx,
        dh0,
        dc0,
        dweights,
    )
    return (
        x.new_empty(0) if dx is None else _as_given(dx, batch_first),
        x.new_empty(0) if dh0 is None else torch.from_numpy(dh0),
        x.new_empty(0) if dc0 is None else torch.from_numpy(dc0),
        [
            x.new_empty(0) if d is None else torch.from_numpy(d)
            for d, w in zip(dweights, parameters, strict=True)
            if w is not None
        ],
    )


class _Exported:
    """What `numpy.from_dlpack` asks; Tensor's own answer takes three times as long."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(  # named, these take half the time of **options
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        return _to_dlpack(self.tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # a CPU


def _view(tensor: Tensor) -> Array:
    """View a tensor, or copy one without memory as the core can read it."""
    address = tensor.data_ptr()
    if not address or (address & 7 and address % tensor.itemsize) or tensor.is_neg():
        copy: Array = tensor.clone().numpy(force=True)
        return copy
    # A view that is kept must not keep what made the tensor.
    return np.from_dlpack(_Exported(tensor if tensor.grad_fn is None else tensor.detach()))


def _addresses(x: Tensor, weights: Sequence[Tensor]) -> list[int]:
    return [x.data_ptr(), *map(Tensor.data_ptr, weights)]


def _sequence(tensor: Tensor, batch_first: bool) -> Array:
    """View a sequence as [T, B, F], packed data as [N, F]; only the last axis must be dense."""
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    array = _view(tensor)
    return array.transpose(1, 0, 2) if batch_first else array


def _empty_like(sequence: Array, width: int, batch_first: bool) -> Array:
    """Return a new array [T, B, width] or [N, width]."""
    if sequence.ndim == 2:
        return np.empty((sequence.shape[0], width), sequence.dtype)
    steps, rows, _ = sequence.shape
    return _stack.empty_sequence(steps, rows, width, sequence.dtype, batch_first)


def _dense(tensor: Tensor | None) -> Floating | None:
    return None if tensor is None else _view(tensor.contiguous())


def _parameters(weights: Sequence[Tensor], stacked: int) -> list[Floating | None]:
    """View the weights as the core takes them: four a layer and direction."""
    arrays: list[Floating | None] = [_view(w.contiguous()) for w in weights]
    if len(arrays) == 2 * stacked:  # no biases
        return [a for i in range(stacked) for a in (*arrays[2 * i : 2 * i + 2], None, None)]
    return arrays


def _as_given(sequence: Array, batch_first: bool) -> Tensor:
    """Return a [T, B, F] or [N, F] result in the caller's layout."""
    return torch.from_numpy(sequence.transpose(1, 0, 2) if batch_first else sequence)
