"""Which calls fastrnn computes; everything else, errors too, is left to torch.nn.

Besides what fastrnn does not cover these are the calls in which torch.nn is quicker. The core packs
the weights anew in every call, since they may have changed; where a call makes few steps, that
costs more than it brings. torch.nn's LSTM (oneDNN) packs in every call too, its cells, GRU and RNN
do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.utils.rnn import PackedSequence

from fastrnn.torch._packed import read_packing

# A step of torch.nn's GRU or RNN costs as much as packing so many bytes of weights, without and
# with gradients. Measured for the GRU on two cores of a Xeon with AVX-512, torch 2.13, B 1 (torch's
# time by fastrnn's, which passes 1 between these rows):
#   H 256, inference: 8 steps 0.99, 16 steps 1.57     training: 2 steps 0.92, 4 steps 1.28
#   H 512, inference: 10 steps 0.80, 30 steps 1.37    training: 4 steps 0.96, 10 steps 1.94
# On two cores of a Zen 4 fastrnn was ahead in all calls of H 512 and 1024, T 2 to 10, B 1 to 64, by
# 1.06 to 4.7: so the limits are those from which on it loses 8% at most on the Xeon.
_BYTES_PER_STEP = 200_000, 1_300_000
# And where each weight is used for so many rows, packing is a tenth of the call or less.
_ROWS_WORTH_PACKING = 256

_GATES = {1: (nn.RNN, nn.RNNCell), 3: (nn.GRU, nn.GRUCell), 4: (nn.LSTM, nn.LSTMCell)}
_SHAPES = "the parameters do not have the shapes that the module's sizes say"

_always = False


def always(on: bool = True) -> None:
    """Compute every call that fastrnn covers by fastrnn, even where torch.nn is quicker.

    That is the case in calls of few steps (`explain` tells). Then fastrnn's promises hold for
    these, too: the same bits for any number of threads and whatever else is in the batch.
    """
    global _always
    _always = on


class Call(NamedTuple):
    """The arguments of ``fastrnn::recurrent`` that the call of a module comes down to."""

    x: Tensor
    batch_sizes: Tensor | None
    h0: Tensor | None
    c0: Tensor | None
    weights: list[Tensor]
    batch: int | None
    cell: str


def sequence_call(module: Any, input: Any, hx: Any) -> Call | str:
    """Return what to compute for an nn.RNN, LSTM or GRU, or why torch.nn is to do it.

    Parameters
    ----------
    input : Tensor [T, B, I], [B, T, I] or [T, I], or PackedSequence
    hx : Tensor [S, B, H] or [S, H], for the LSTM a pair, or None
    """
    if module.proj_size > 0:
        return "proj_size is not covered"
    if not 0 <= module.dropout <= 1:
        return f"dropout={module.dropout} is not in [0, 1]"
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    weights = _parameters(module, module._flat_weights_names)
    compiling = torch.compiler.is_compiling()
    reason = _why_not(x, weights, compiling)
    if reason is not None:
        return reason
    mode, stacked = module.mode, module.num_layers * (2 if module.bidirectional else 1)
    # What else may be wrong with the shapes the core finds, which looks at them anyway.
    if (
        len(weights) != stacked * (4 if module.bias else 2)
        or weights[1].shape[-1:] != (module.hidden_size,)
        or (compiling and not _have_shapes(weights, module))
    ):
        return _SHAPES
    dims = x.dim()
    if dims != 2 and (packed or dims != 3):
        return f"the input has {dims} dimensions"
    if x.shape[-1] != module.input_size:
        return f"the input has {x.shape[-1]} features, not input_size={module.input_size}"
    batch_first = dims == 3 and module.batch_first
    if x.shape[1 if batch_first else 0] == 0:
        return "the sequence is empty"
    batch_sizes, batch = None, None
    shape: tuple[int, ...] = (stacked, module.hidden_size)
    if packed:
        batch_sizes, order = input.batch_sizes, input.sorted_indices
        if batch_sizes.dtype is not torch.int64 or batch_sizes.dim() != 1:
            return "batch_sizes are not integers [T]"
        batch = int(batch_sizes[0]) if order is None else order.shape[0]
        shape = (stacked, batch, module.hidden_size)
    elif dims == 3:
        shape = (stacked, x.shape[0 if batch_first else 1], module.hidden_size)
    states = _states(x, hx, mode == "LSTM", shape)
    if isinstance(states, str):
        return states
    if not (mode == "LSTM" or _always or compiling):
        steps = x.shape[1 if batch_first else 0] if batch_sizes is None else batch_sizes.shape[0]
        reason = _too_few(steps, x.shape[:-1].numel(), weights, stacked)
        if reason is not None:
            return reason
    return Call(x, batch_sizes, *states, weights, batch, mode.lower())


def cell_call(module: Any, input: Any, hx: Any) -> Call | str:
    """Return what to compute for an nn.RNNCell, LSTMCell or GRUCell, or why torch.nn is to do it.

    Parameters
    ----------
    input : Tensor [B, I] or [I]
    hx : Tensor [B, H] or [H], for the LSTM a pair, or None
    """
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    weights = _parameters(module, names if module.bias else names[:2])
    reason = _why_not(input, weights, torch.compiler.is_compiling())
    if reason is not None:
        return reason
    if not _have_shapes(weights, module):
        return _SHAPES
    if 0 in (module.input_size, module.hidden_size):
        return f"a size is 0 (input_size={module.input_size}, hidden_size={module.hidden_size})"
    if input.dim() not in (1, 2):
        return f"the input has {input.dim()} dimensions"
    if input.shape[-1] != module.input_size:
        return f"the input has {input.shape[-1]} features, not input_size={module.input_size}"
    if isinstance(module, nn.RNNCell):
        if module.nonlinearity not in ("tanh", "relu"):
            return f"the nonlinearity is {module.nonlinearity!r}"
        cell = f"rnn_{module.nonlinearity}"
    else:
        cell = "lstm" if isinstance(module, nn.LSTMCell) else "gru"
    states = _states(input, hx, cell == "lstm", (*input.shape[:-1], module.hidden_size))
    if isinstance(states, str):
        return states
    if not _always:
        return "in a single step torch.nn is quicker"
    return Call(input, None, *states, weights, None, cell)


def _parameters(module: nn.Module, names: list[str]) -> list[Tensor]:
    """Return them as they are now: plain, parametrized, or what functional_call put there."""
    registered = module._parameters
    return [getattr(module, name) if (p := registered.get(name)) is None else p for name in names]


def mismatch(module: Any, call: Call) -> str | None:
    """Say what is wrong with a call that the core refuses, if torch.nn is to give the error."""
    if not _have_shapes(call.weights, module):
        return _SHAPES
    if call.batch_sizes is not None:
        try:
            read_packing(call.batch_sizes, call.x.shape[0])
        except ValueError as error:
            return str(error)
    return None


def _have_shapes(weights: Sequence[Tensor], module: Any) -> bool:
    """Whether the parameters are as large as the module's attributes say."""
    size, layers, directions = module.hidden_size, 1, 1
    if isinstance(module, nn.RNNBase):
        layers, directions = module.num_layers, 2 if module.bidirectional else 1
    rows = size * next(gates for gates, cells in _GATES.items() if isinstance(module, cells))
    shapes: list[tuple[int, ...]] = []
    for layer in range(layers):
        columns = directions * size if layer else module.input_size
        shapes += [
            (rows, columns),
            (rows, size),
            *([(rows,)] * (2 if module.bias else 0)),
        ] * directions
    return [tuple(w.shape) for w in weights] == shapes


def _why_not(x: Any, weights: list[Tensor], compiling: bool) -> str | None:
    """Say what about the types, or the modes in force, fastrnn does not cover."""
    if not isinstance(x, Tensor):
        return f"the input is a {type(x).__name__}, not a tensor"
    dtype = x.dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"the input is {dtype}, not float32 or float64"
    if not x.is_cpu:
        return f"the input is on the device {x.device}"
    if x.layout is not torch.strided or x.is_nested:
        return f"the input is {'nested' if x.is_nested else x.layout}"
    for weight in weights:
        if type(weight) is not Parameter and type(weight) is not Tensor and not compiling:
            return f"a parameter is a {type(weight).__name__}"
        if weight.dtype is not dtype:
            return f"the input is {dtype}, a parameter {weight.dtype}"
        if not weight.is_cpu:
            return f"a parameter is on the device {weight.device}"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation is on"
    if torch._C._are_functorch_transforms_active():
        return "a transform of torch.func is at work"
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        return "torch.jit.trace is recording"
    if compiling and torch.onnx.is_in_onnx_export():
        return "ONNX, which has no operators of fastrnn, is being exported"
    return None


def _too_few(steps: int, rows: int, weights: list[Tensor], stacked: int) -> str | None:
    """Say that packing the weights of a layer is too much for so many steps, of so many rows."""
    if steps > 1 and rows >= _ROWS_WORTH_PACKING:
        return None
    training = torch.is_grad_enabled() and weights[0].requires_grad
    elements = sum(map(Tensor.numel, weights)) / stacked
    if steps > 1 and elements * weights[0].itemsize <= steps * _BYTES_PER_STEP[training]:
        return None
    return f"in so few steps ({steps}) with weights of this size torch.nn is quicker"


def _states(
    x: Tensor, hx: Any, pair: bool, shape: tuple[int, ...]
) -> tuple[Tensor | None, Tensor | None] | str:
    if hx is None:
        return None, None
    if pair and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
        return "hx is not a pair of states"
    for state in hx if pair else (hx,):
        if not isinstance(state, Tensor):
            return f"a state is a {type(state).__name__}, not a tensor"
        if state.shape != shape:
            return f"a state has the shape {tuple(state.shape)}, not {shape}"
        if state.dtype is not x.dtype or not state.is_cpu or state.layout is not torch.strided:
            return f"a state is {state.dtype}, {state.layout}, on {state.device}"
    return (hx[0], hx[1]) if pair else (hx, None)
