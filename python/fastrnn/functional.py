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
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastrnn import _calls, _segments
from fastrnn._calls import Cache
from fastrnn._memory import MemoryLimit, Recompute
from fastrnn._rows import Rows
from fastrnn._segments import Segments
from fastrnn._typing import Array, Floating

__all__ = [
    "Cache",
    "Rows",
    "Segments",
    "gru_backward",
    "gru_forward",
    "gru_segments",
    "lstm_backward",
    "lstm_forward",
    "lstm_segments",
    "rnn_backward",
    "rnn_forward",
    "rnn_segments",
]

Weights = Mapping[str, Floating]
Lengths = npt.NDArray[np.integer[Any]] | Sequence[int]
State = tuple[Floating, Floating]
StateGradient = tuple[Floating | None, Floating | None]


def lstm_forward(
    x: Floating | Rows,
    weights: Weights,
    state: State | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_output: bool = True,
    return_cells: bool = False,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Any:
    """Run a stack of LSTM layers over whole sequences.

    i, f, o = sigmoid(W x_t + b + W_h h_{t-1} + b_h), g = tanh(...); c_t = f * c_{t-1} + i * g;
    h_t = o * tanh(c_t) (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Parameters
    ----------
    x : array, [T, B, I] ([B, T, I] if ``batch_first``) or [T, I], float32 or float64; or `Rows`
        Any strides with a contiguous last axis are read in place. B = 0 is legal, T = 0 is not.
        Of `Rows` what depends on the row alone is computed once for each row, unless
        ``input_dropout`` makes steps differ.
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
    input_dropout : float
        That of zeroing a feature of the first layer's x, in training: one mask for each sequence
        and direction, the same at all steps (Gal and Ghahramani 2016; Keras's ``dropout=``).
    seed : int, optional
        Of the dropout masks, which are a function of (seed, layer, step, row, unit). A fresh one
        is drawn if None.
    training : bool
        Whether to return a cache for `lstm_backward`, and to apply dropout.
    return_output : bool
        Whether the output is wanted, or the final state alone; it is then None.
    return_cells : bool
        Whether to return every c_t of the last layer too.
    recompute : {"none", "gates", "checkpoint", "auto"}, optional
        What the cache does not keep and the backward pass computes again, to the same bits: nothing
        (the default), the gates, or the gates and most of c, of one direction without
        ``return_output`` or with several layers their outputs too. "auto" takes the first of these
        that keeps to ``memory_limit``; ``cache.recompute`` says which.
    memory_limit : int or str, optional
        The most bytes that the cache may hold, such as "512MB"; given alone it means "auto". By
        default "auto" takes half of the memory that is available at the call.

    Returns
    -------
    output : array, [T, B, D * H], or None
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
    output, hn, cn, cache, cells = _calls.forward(
        "lstm",
        x,
        weights,
        state,
        num_layers=num_layers,
        bidirectional=bidirectional,
        lengths=lengths,
        batch_first=batch_first,
        dropout=dropout,
        input_dropout=input_dropout,
        seed=seed,
        training=training,
        return_output=return_output,
        return_cells=return_cells,
        recompute=recompute,
        memory_limit=memory_limit,
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
    need_dweights: bool = True,
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
    need_dweights : bool
        Whether to compute dweights; a frozen layer can do without.

    Returns
    -------
    dx : array like x, or None
        0 past a sequence's end. Where x was `Rows`, the gradient of their table [N, I].
    dstate : pair of arrays, each [num_layers * D, B, H]
        By the initial (h, c).
    dweights : dict of str to array
        Under the weights' names, with their shapes; empty if not needed.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong type, dtype, rank or shape; the message names it.
    """
    dx, dh0, dc0, dweights = _calls.backward(
        ("lstm",), cache, doutput, dstate, dcells, need_dx, need_dweights
    )
    assert dc0 is not None
    return dx, (dh0, dc0), dweights


def gru_forward(
    x: Floating | Rows,
    weights: Weights,
    state: Floating | None = None,
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_output: bool = True,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> tuple[Any, Array, Cache | None]:
    """Run a stack of GRU layers over whole sequences, the reset gate after the product.

    r, z = sigmoid(W x_t + b + W_h h_{t-1} + b_h); n = tanh(W_n x_t + b_n + r * (W_hn h_{t-1} +
    b_hn)); h_t = (1 - z) * n + z * h_{t-1} (Cho et al. 2014 in cuDNN's and PyTorch's form).

    Parameters, returns and errors are those of `lstm_forward`, but for the state, which is h alone
    [num_layers * D, B, H].
    """
    output, hn, _, cache, _ = _calls.forward(
        "gru",
        x,
        weights,
        state,
        num_layers=num_layers,
        bidirectional=bidirectional,
        lengths=lengths,
        batch_first=batch_first,
        dropout=dropout,
        input_dropout=input_dropout,
        seed=seed,
        training=training,
        return_output=return_output,
        recompute=recompute,
        memory_limit=memory_limit,
    )
    return output, hn, cache


def gru_backward(
    cache: Cache,
    doutput: Floating | None,
    dstate: Floating | None = None,
    *,
    need_dx: bool = True,
    need_dweights: bool = True,
) -> tuple[Array | None, Array, dict[str, Array]]:
    """Gradients of `gru_forward`; as `lstm_backward`, the state being h alone."""
    dx, dh0, _, dweights = _calls.backward(
        ("gru",), cache, doutput, dstate, None, need_dx, need_dweights
    )
    return dx, dh0, dweights


def rnn_forward(
    x: Floating | Rows,
    weights: Weights,
    state: Floating | None = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    num_layers: int = 1,
    bidirectional: bool = False,
    lengths: Lengths | None = None,
    batch_first: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    training: bool = True,
    return_output: bool = True,
    recompute: Recompute | None = None,
    memory_limit: MemoryLimit | None = None,
) -> tuple[Any, Array, Cache | None]:
    """Run a stack of Elman RNN layers (Elman 1990) over whole sequences.

    h_t = tanh(W x_t + b + W_h h_{t-1} + b_h), or relu for ``nonlinearity="relu"``.

    The other parameters, returns and errors are those of `lstm_forward`, but for the state, which
    is h alone [num_layers * D, B, H].
    """
    output, hn, _, cache, _ = _calls.forward(
        _rnn_cell(nonlinearity),
        x,
        weights,
        state,
        num_layers=num_layers,
        bidirectional=bidirectional,
        lengths=lengths,
        batch_first=batch_first,
        dropout=dropout,
        input_dropout=input_dropout,
        seed=seed,
        training=training,
        return_output=return_output,
        recompute=recompute,
        memory_limit=memory_limit,
    )
    return output, hn, cache


def rnn_backward(
    cache: Cache,
    doutput: Floating | None,
    dstate: Floating | None = None,
    *,
    need_dx: bool = True,
    need_dweights: bool = True,
) -> tuple[Array | None, Array, dict[str, Array]]:
    """Gradients of `rnn_forward`; as `lstm_backward`, the state being h alone."""
    cells = ("rnn_tanh", "rnn_relu")
    dx, dh0, _, dweights = _calls.backward(
        cells, cache, doutput, dstate, None, need_dx, need_dweights
    )
    return dx, dh0, dweights


def lstm_segments(
    x: Any,
    weights: Weights,
    state: State | None = None,
    *,
    shape: tuple[int, int] | None = None,
    num_layers: int = 1,
    lengths: Lengths | None = None,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    segment_steps: int | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Segments:
    """Prepare an LSTM for sequences longer than memory, run segment by segment.

    The gradients are those of `lstm_forward` and `lstm_backward` over the whole sequences, bit for
    bit: nothing is truncated. The price is a second forward pass.

    Parameters
    ----------
    x : array [T, B, I], or function (start, stop)
        Anything with a ``shape`` and slices along its first axis will do, such as `numpy.memmap`. A
        function returns the steps start .. stop - 1, [stop - start, B, I]. Each segment is asked
        for in the forward and again in the backward pass, and must then be the same.
    weights : dict of str to array
        PyTorch's parameters of one direction, as in `lstm_forward`. They must not change between
        the passes.
    state : pair of arrays, optional
        Initial (h, c), each [num_layers, B, H].
    shape : pair of int
        (T, B), needed where x is a function.
    num_layers, lengths, dropout, input_dropout, seed
        As in `lstm_forward`.
    segment_steps : int, optional
        Steps of a segment, rounded up to what the core's sums need. By default some 8,192 tokens.
    memory_limit : int or str, optional
        Choose the longest segments for which ``nbytes`` of the result keeps to this.

    Returns
    -------
    Segments
        Its methods `Segments.forward` and `Segments.backward` do the work.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong type, dtype, rank, shape or value; the message names it.

    Examples
    --------
    >>> import numpy as np, fastrnn.functional as F
    >>> rng = np.random.default_rng(0)
    >>> shapes = {"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 3)}
    >>> weights = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    >>> x = rng.normal(size=(100_000, 1, 2)).astype(np.float32)  # or a numpy.memmap
    >>> segments = F.lstm_segments(x, weights)
    >>> h, c = segments.forward()
    >>> _, dweights = segments.backward(dstate=(np.ones_like(h), None))
    """
    return _segments.make(
        "lstm", x, weights, state, shape, num_layers, lengths, dropout, input_dropout, seed,
        segment_steps, memory_limit,
    )  # fmt: skip


def gru_segments(
    x: Any,
    weights: Weights,
    state: Floating | None = None,
    *,
    shape: tuple[int, int] | None = None,
    num_layers: int = 1,
    lengths: Lengths | None = None,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    segment_steps: int | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Segments:
    """Prepare a GRU for sequences longer than memory; as `lstm_segments`, the state being h."""
    return _segments.make(
        "gru", x, weights, state, shape, num_layers, lengths, dropout, input_dropout, seed,
        segment_steps, memory_limit,
    )  # fmt: skip


def rnn_segments(
    x: Any,
    weights: Weights,
    state: Floating | None = None,
    *,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    shape: tuple[int, int] | None = None,
    num_layers: int = 1,
    lengths: Lengths | None = None,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    seed: int | None = None,
    segment_steps: int | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Segments:
    """Prepare an Elman RNN for sequences longer than memory; as `lstm_segments`, the state being h.

    ``nonlinearity`` is that of `rnn_forward`.
    """
    return _segments.make(
        _rnn_cell(nonlinearity), x, weights, state, shape, num_layers, lengths, dropout,
        input_dropout, seed, segment_steps, memory_limit,
    )  # fmt: skip


def _rnn_cell(nonlinearity: object) -> str:
    if not isinstance(nonlinearity, str) or nonlinearity not in ("tanh", "relu"):
        raise ValueError(f'nonlinearity: expected "tanh" or "relu", got {nonlinearity!r}')
    return f"rnn_{nonlinearity}"
