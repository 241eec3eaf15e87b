"""Recurrent layers as functions: NumPy arrays in, NumPy arrays out, forward and backward explicit.

Each cell has a pair. ``x_forward`` returns the outputs, the final state and a cache; ``x_backward``
takes the cache and the gradients of the outputs and returns those of the inputs and parameters.

Arrays are float32 or float64, all of one type, time-major unless ``batch_first``. Parameters are
dicts under PyTorch's names (``weight_ih_l0`` [G * H, I], ``weight_hh_l0`` [G * H, H],
``bias_ih_l0``, ``bias_hh_l0`` [G * H], ``..._l1``, ``..._l0_reverse``) with PyTorch's gate order:
LSTM i, f, g, o; GRU r, z, n. Of the biases both, or ``bias_hh`` alone, may be missing.

Every argument that is not as described raises a ValueError or TypeError whose message begins with
its name, before anything is computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from fastrnn import _memory, _stack
from fastrnn._load import core
from fastrnn._memory import MemoryLimit, Recompute
from fastrnn._typing import Array, Floating

__all__ = [
    "Cache",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]

Weights = Mapping[str, Floating]
Lengths = npt.NDArray[np.integer[Any]] | Sequence[int]
State = tuple[Floating, Floating]
StateGradient = tuple[Floating | None, Floating | None]


@dataclass(frozen=True, repr=False, eq=False)
class Cache:
    """What a forward pass keeps for its backward pass; it can be used more than once.

    It refers to x, the weights and the output, which must not change in between; the output is
    therefore returned read-only. Its memory is freed, for the next call, with the object.
    """

    _plan: core.Plan
    _core: core.Cache
    _stack: _stack.Stack
    _x: Array
    _h0: Floating | None
    _c0: Floating | None
    _output: Array
    _unbatched: bool
    _batch_first: bool
    _mode: str

    @property
    def nbytes(self) -> int:
        """The bytes that it holds beyond x, the weights and the output."""
        return self._core.nbytes

    @property
    def recompute(self) -> str:
        """What the backward pass computes again: "none", "gates" or "checkpoint"."""
        return self._mode

    def __repr__(self) -> str:
        steps, batch = self._x.shape[:2]
        return (
            f"<Cache of {self._stack.cell}, T={steps}, B={batch}, recompute={self._mode!r}, "
            f"{self.nbytes} bytes>"
        )


def _forward(
    cell: str,
    x: Floating,
    weights: Weights,
    state: object,
    num_layers: SupportsIndex,
    bidirectional: bool,
    lengths: Lengths | None,
    batch_first: bool,
    dropout: float,
    seed: SupportsIndex | None,
    training: bool,
    return_cells: bool,
    recompute: Recompute | None,
    memory_limit: MemoryLimit | None,
) -> tuple[Array, Array, Array | None, Cache | None, Array | None]:
    stack = _stack.parse_weights(cell, weights, num_layers, bidirectional)
    batch_first = _stack.flag("batch_first", batch_first)
    training = _stack.flag("training", training)
    return_cells = _stack.flag("return_cells", return_cells)
    sequence, unbatched = _stack.parse_input(x, stack, batch_first)
    steps, batch = sequence.shape[:2]
    arguments = (
        stack,
        steps,
        batch,
        _stack.parse_lengths(lengths, steps, batch, unbatched),
        _stack.probability("dropout", dropout),
        _stack.mask_seed(seed) if dropout or seed is not None else 0,
        training,
    )
    request = _memory.parse(recompute, memory_limit)
    if training:
        mode, plan = request.choose(lambda mode: _stack.make_plan(*arguments, mode))
    else:
        mode, plan = "none", _stack.make_plan(*arguments)
    h0, c0 = _stack.parse_state(state, stack, batch, unbatched)
    row_first = batch_first and not unbatched
    output = _stack.empty_sequence(steps, batch, stack.output_size, stack.dtype, row_first)
    cells = np.empty_like(output) if return_cells else None
    hn = np.empty(stack.state_shape(batch), stack.dtype)
    cn = np.empty_like(hn) if stack.has_cell_state else None
    kept = core.recurrent_forward(plan, sequence, stack.arrays, h0, c0, output, hn, cn, cells)
    cache = None
    if kept is not None:
        output.flags.writeable = False
        cache = Cache(plan, kept, stack, sequence, h0, c0, output, unbatched, row_first, mode)
    if unbatched:
        hn = hn[:, 0]
        cn = None if cn is None else cn[:, 0]
    if cells is not None:
        cells = _stack.as_given(cells, unbatched, row_first)
    return _stack.as_given(output, unbatched, row_first), hn, cn, cache, cells


def _backward(
    cells: tuple[str, ...],
    cache: Cache,
    doutput: Floating | None,
    dstate: object,
    dcells: Floating | None,
    need_dx: bool,
) -> tuple[Array | None, Array, Array | None, dict[str, Array]]:
    if not isinstance(cache, Cache):
        raise TypeError(
            f"cache: expected what {cells[0].partition('_')[0]}_forward returned with "
            f"training=True, got {type(cache).__name__}"
        )
    stack = cache._stack
    if stack.cell not in cells:
        raise ValueError(f"cache: expected one of {cells[0].partition('_')[0]}, got {stack.cell}")
    steps, batch = cache._x.shape[:2]

    def sequence(name: str, gradient: Floating | None) -> Array | None:
        if gradient is None:
            return None
        shape = _stack.as_given(cache._output, cache._unbatched, cache._batch_first).shape
        array = _stack.shaped(name, gradient, stack.dtype, shape)
        return _stack.as_internal(array, cache._unbatched, cache._batch_first)

    doutput = sequence("doutput", doutput)
    dcells = sequence("dcells", dcells)
    dhn, dcn = _stack.parse_state(dstate, stack, batch, cache._unbatched, prefix="d", suffix="n")
    dx = None
    if _stack.flag("need_dx", need_dx):
        size = stack.input_size
        dx = _stack.empty_sequence(steps, batch, size, stack.dtype, cache._batch_first)
    dh0 = np.empty(stack.state_shape(batch), stack.dtype)
    dc0 = np.empty_like(dh0) if stack.has_cell_state else None
    dweights = [None if w is None else np.empty(w.shape, stack.dtype) for w in stack.arrays]
    core.recurrent_backward(
        cache._plan,
        cache._core,
        cache._x,
        stack.arrays,
        cache._h0,
        cache._c0,
        cache._output,
        doutput,
        dhn,
        dcn,
        dcells,
        dx,
        dh0,
        dc0,
        dweights,
    )
    if cache._unbatched:
        dh0 = dh0[:, 0]
        dc0 = None if dc0 is None else dc0[:, 0]
    if dx is not None:
        dx = _stack.as_given(dx, cache._unbatched, cache._batch_first)
    named = zip(stack.names, dweights, strict=True)
    return dx, dh0, dc0, {name: d for name, d in named if d is not None}


def lstm_forward(
    x: Floating,
    weights: Weights,
    state: State | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_cells: bool = False,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Any:
    """Run a stack of LSTM layers over whole sequences.

    i, f, o = sigmoid(W x_t + b + W_h h_{t-1} + b_h), g = tanh(...); c_t = f * c_{t-1} + i * g;
    h_t = o * tanh(c_t) (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Parameters
    ----------
    x : array, [T, B, I] ([B, T, I] if ``batch_first``) or [T, I], float32 or float64
        Any strides with a contiguous last axis are read in place. B = 0 is legal, T = 0 is not.
    weights : dict of str to array
        PyTorch's parameters; their shapes give I and H.
    state : pair of arrays, optional
        Initial (h, c), each [num_layers * D, B, H] (D directions; no B axis for x [T, I]).
        Zeros if None.
    num_layers : int
        Layers on top of each other.
    bidirectional : bool
        A second direction in every layer; its outputs stand beside the first's.
    lengths : array of integers, [B], optional
        Each sequence's number of steps, in any order, zero allowed. Past a sequence's end the
        output is 0; the final state is the one at its last step; the reverse direction starts at
        its last step. Work goes by the valid steps, not by T * B.
    batch_first : bool
        Whether x and the output have the batch axis first. States never do.
    dropout : float
        Probability of zeroing an element of what one layer hands the next, in training.
    seed : int, optional
        Of the dropout masks, which are a function of (seed, layer, step, row, unit). A fresh one
        is drawn if None.
    training : bool
        Whether to return a cache for `lstm_backward`, and to apply dropout.
    return_cells : bool
        Whether to return every c_t of the last layer too.
    recompute : {"none", "gates", "checkpoint", "auto"}, optional
        What the cache does not keep and the backward pass computes again, to the same bits: nothing
        (the default), the gates, or the gates and most of c. "auto" takes the first of these that
        keeps to ``memory_limit``; ``cache.recompute`` says which.
    memory_limit : int or str, optional
        The most bytes that the cache may hold, such as "512MB"; given alone it means "auto". By
        default "auto" takes half of the memory that is available at the call.

    Returns
    -------
    output : array, [T, B, D * H]
        h_t of the last layer, in x's layout; read-only in training, because the cache refers to it.
    state : pair of arrays, each [num_layers * D, B, H]
        Final (h, c).
    cache : Cache or None
        None if not ``training``.
    cells : array, [T, B, D * H]
        Only if ``return_cells``.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong type, dtype, rank, shape or value; the message names it.
    """
    output, hn, cn, cache, cells = _forward(
        "lstm",
        x,
        weights,
        state,
        num_layers,
        bidirectional,
        lengths,
        batch_first,
        dropout,
        seed,
        training,
        return_cells,
        recompute,
        memory_limit,
    )
    if return_cells:
        return output, (hn, cn), cache, cells
    return output, (hn, cn), cache


def lstm_backward(
    cache: Cache,
    doutput: Floating | None,
    dstate: StateGradient | None = None,
    dcells: Floating | None = None,
    *,
    need_dx: bool = True,
) -> tuple[Array | None, State, dict[str, Array]]:
    """Gradients of `lstm_forward`.

    Parameters
    ----------
    cache : Cache
        From the forward pass; may be used more than once.
    doutput : array like the output, or None
        The loss's gradient by the output; None for zeros.
    dstate : pair of arrays or None, optional
        By the final (h, c), each [num_layers * D, B, H] or None.
    dcells : array like the cells, optional
        By every c_t of the last layer.
    need_dx : bool
        Whether to compute dx; a first layer can do without.

    Returns
    -------
    dx : array like x, or None
        0 past a sequence's end.
    dstate : pair of arrays, each [num_layers * D, B, H]
        By the initial (h, c).
    dweights : dict of str to array
        Under the weights' names, with their shapes.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong type, dtype, rank or shape; the message names it.
    """
    dx, dh0, dc0, dweights = _backward(("lstm",), cache, doutput, dstate, dcells, need_dx)
    assert dc0 is not None
    return dx, (dh0, dc0), dweights


def gru_forward(
    x: Floating,
    weights: Weights,
    state: Floating | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> tuple[Array, Array, Cache | None]:
    """Run a stack of GRU layers over whole sequences, the reset gate after the product.

    r, z = sigmoid(W x_t + b + W_h h_{t-1} + b_h); n = tanh(W_n x_t + b_n + r * (W_hn h_{t-1} +
    b_hn)); h_t = (1 - z) * n + z * h_{t-1} (Cho et al. 2014 in cuDNN's and PyTorch's form).

    Parameters, returns and errors are those of `lstm_forward`, but for the state, which is h alone
    [num_layers * D, B, H].
    """
    output, hn, _, cache, _ = _forward(
        "gru",
        x,
        weights,
        state,
        num_layers,
        bidirectional,
        lengths,
        batch_first,
        dropout,
        seed,
        training,
        False,
        recompute,
        memory_limit,
    )
    return output, hn, cache


def gru_backward(
    cache: Cache,
    doutput: Floating | None,
    dstate: Floating | None = None,
    *,
    need_dx: bool = True,
) -> tuple[Array | None, Array, dict[str, Array]]:
    """Gradients of `gru_forward`; as `lstm_backward`, the state being h alone."""
    dx, dh0, _, dweights = _backward(("gru",), cache, doutput, dstate, None, need_dx)
    return dx, dh0, dweights


def rnn_forward(
    x: Floating,
    weights: Weights,
    state: Floating | None = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> tuple[Array, Array, Cache | None]:
    """Run a stack of Elman RNN layers (Elman 1990) over whole sequences.

    h_t = tanh(W x_t + b + W_h h_{t-1} + b_h), or relu for ``nonlinearity="relu"``.

    The other parameters, returns and errors are those of `lstm_forward`, but for the state, which
    is h alone [num_layers * D, B, H].
    """
    if not isinstance(nonlinearity, str) or nonlinearity not in ("tanh", "relu"):
        raise ValueError(f'nonlinearity: expected "tanh" or "relu", got {nonlinearity!r}')
    output, hn, _, cache, _ = _forward(
        f"rnn_{nonlinearity}",
        x,
        weights,
        state,
        num_layers,
        bidirectional,
        lengths,
        batch_first,
        dropout,
        seed,
        training,
        False,
        recompute,
        memory_limit,
    )
    return output, hn, cache


def rnn_backward(
    cache: Cache,
    doutput: Floating | None,
    dstate: Floating | None = None,
    *,
    need_dx: bool = True,
) -> tuple[Array | None, Array, dict[str, Array]]:
    """Gradients of `rnn_forward`; as `lstm_backward`, the state being h alone."""
    cells = ("rnn_tanh", "rnn_relu")
    dx, dh0, _, dweights = _backward(cells, cache, doutput, dstate, None, need_dx)
    return dx, dh0, dweights
