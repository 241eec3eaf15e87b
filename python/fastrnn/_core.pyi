"""The compiled core: what the bindings in ``cpp/bindings`` register.

Every function checks the types, ranks and shapes that it relies on (a wrong one raises ValueError
or TypeError), fills arrays that the caller allocated, and runs without the GIL, which only calls of
some microseconds keep: a stepper's step, a prepared call. Arrays called ``Floating`` are float32 or
float64, all of one type in a call, C-contiguous unless said otherwise. Clear messages, defaults and
conversions are the Python modules' business.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floating = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]

__version__: str

# ---- runtime -------------------------------------------------------------------------------------

def compiler() -> str: ...
def available_isas() -> list[str]:
    """ISAs that this build has and this machine runs, the slowest first ("scalar", "avx2", ...)."""

def compiled_isas() -> list[str]: ...
def get_isa() -> str: ...
def set_isa(name: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def openmp_runtime() -> Literal["libgomp", "libomp"]: ...
def get_awake_seconds() -> float: ...
def set_awake_seconds(seconds: float) -> None:
    """How long idle workers stay awake; little work that comes later runs on one thread."""

def note_paces(paces: list[float]) -> None:
    """For tests: what a team notes of its members' work in a unit of time."""

def fma_peak(double_precision: bool, num_threads: int, seconds: float) -> float:
    """Floating-point operations per second of independent fused multiply-adds in registers."""

def read_bandwidth(bytes: int, num_threads: int, seconds: float) -> float:
    """Bytes per second of an array that all threads read a part of each, again and again."""

# ---- recurrent layers ----------------------------------------------------------------------------

class Plan:
    """A validated description of one recurrent call: sizes, lengths, dropout."""

    def __init__(
        self,
        cell: str,  # "rnn_tanh", "rnn_relu", "lstm", "gru"
        double_precision: bool,
        steps: int,
        batch: int,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        num_directions: int,
        lengths: Integers | None,  # [B], in 0..T
        dropout: float,
        seed: int,
        training: bool,
        recompute: str = "none",  # "gates", "checkpoint"
        first_step: int = 0,  # of a segment, a multiple of chunk_steps
        total_steps: int = -1,  # of which it is a part, and to which the lengths refer
        input_dropout: float = 0.0,  # one mask a sequence and direction
    ) -> None: ...

    chunk_steps: int
    """Sums over time are made by chunks of so many steps."""
    cache_nbytes: int
    """What the cache of a training forward pass would hold."""

class Cache:
    """What the backward pass needs besides x, the weights and the output. Reusable."""

    nbytes: int

    def row_sums_size(self, plan: Plan, rows: int) -> int:
        """How many numbers row_sums of a table of so many rows are."""

class PackedWeights:
    """A frozen, packed snapshot of the weights of one stack, for repeated inference."""

    nbytes: int
    isa: str

class Inference:
    """Whole sequences with packed weights."""

    def __init__(self, weights: PackedWeights, batch_first: bool) -> None: ...
    def run(
        self,
        x: object,  # [T, B, I] ([B, T, I] if batch_first) or [T, I]; a contiguous last axis
        state: object,  # h or, of an LSTM, a tuple (h, c), each [L * D, B, H]; None: zeros
    ) -> tuple[Floating, Floating | tuple[Floating, Floating]]:
        """Return the output [T, B, D * H], laid out as x, and the final state."""

class Stepper:
    """One time step after another from packed weights of one direction, the state carried."""

    def __init__(self, weights: PackedWeights) -> None: ...
    def step(self, x: Floating) -> Floating:
        """From [B, I], any stride between rows, to h of the last layer, [B, H]."""

    def reset(self, h: Floating | None, c: Floating | None) -> None:
        """Carry a copy of this state, each [L, B, H]; None: zeros, of any batch."""

    @property
    def state(self) -> Floating | tuple[Floating, Floating] | None:
        """A copy of the carried state; None before the first step."""

def pack_weights(plan: Plan, weights: Sequence[Floating | None]) -> PackedWeights: ...
def recurrent_forward(
    plan: Plan,
    # Sequences [T, B, F] have any strides with a contiguous last axis; or they are packed, [N, F]:
    # the rows of the N valid steps, step after step, where the lengths do not rise.
    x: Floating,  # [T, B, I], with x_rows the table [N, I]
    weights: Sequence[Floating | None]
    | PackedWeights,  # 4 per layer and direction: w_ih, w_hh, b_ih, b_hh
    h0: Floating | None,  # [L * D, B, H]
    c0: Floating | None,
    output: Floating,  # [T, B, D * H]
    hn: Floating,  # [L * D, B, H]
    cn: Floating | None,
    cells: Floating | None,  # [T, B, D * H], like output
    x_rows: Integers | None = None,  # [T, B] each step's row of x
) -> Cache | None: ...
def recurrent_backward(
    plan: Plan,
    cache: Cache,
    x: Floating,
    weights: Sequence[Floating | None],
    h0: Floating | None,
    c0: Floating | None,
    output: Floating,
    doutput: Floating | None,  # [T, B, D * H]
    dhn: Floating | None,
    dcn: Floating | None,
    dcells: Floating | None,
    dx: Floating | None,  # like x
    dh0: Floating | None,
    dc0: Floating | None,
    dweights: Sequence[Floating | None],  # None: not wanted
    accumulate: bool = False,  # dweights hold the sums over the steps after these: add to them
    x_rows: Integers | None = None,
    row_sums: Floating | None = None,  # of segments with x_rows: goes on from one to the next
) -> None: ...

# ---- the rest of a training step -----------------------------------------------------------------

def linear_forward(x: Floating, weight: Floating, bias: Floating | None, out: Floating) -> None:
    """out [N, O] = x [N, I] weight.T [I, O] + bias [O]."""

def linear_backward(
    x: Floating,
    weight: Floating,
    dout: Floating,
    dx: Floating | None,
    dweight: Floating | None,
    dbias: Floating | None,
) -> None: ...
def embedding_forward(ids: Integers, table: Floating, out: Floating) -> None:
    """out [N, E] = table [V, E][ids [N]]; an id outside 0..V-1 is an IndexError, out untouched."""

def embedding_backward(ids: Integers, dout: Floating, dtable: Floating) -> None:
    """dtable [V, E] is overwritten with the sums of dout [N, E] per id, in the order of N."""

def number_ids(ids: Integers) -> tuple[Integers, Integers]:
    """The ids that occur in ids [N], each once, as they first appear, and where each one is [N]."""

def dropout(x: Floating, out: Floating, p: float, seed: int, stream: int, first_step: int) -> None:
    """Inverted dropout of x [B, T, F]: kept elements are divided by 1 - p.

    The mask is a function of (seed, stream, first_step + t, row, unit) alone, so the same call
    applied to the output gradient is the backward pass.
    """

# ---- losses --------------------------------------------------------------------------------------
#
# Each returns scale * sum of weights * losses, in double and in the order of the rows; it writes
# the unweighted losses [N] and, unless it is None, the gradient of what it returns, which may be
# the predictions' own array. A row of weight 0 is not read: its loss and gradient are 0.

def softmax_cross_entropy(
    logits: Floating,  # [N, C]
    # [N]; a negative one counts as weight 0; one of C or more (with a weight) is an IndexError
    labels: Integers,
    weights: Floating | None,  # [N]
    scale: float,
    losses: Floating,
    dlogits: Floating | None,
) -> float:
    """In nats; dlogits = scale * weights[n] * (softmax - one_hot)."""

def cross_entropy(
    probabilities: Floating,  # [N, C]
    labels: Integers,
    weights: Floating | None,
    scale: float,
    losses: Floating,
    dprobabilities: Floating | None,
) -> float: ...
def row_loss(
    kind: str,  # binary, binary_logits, categorical, categorical_logits, mean_squared, ...
    predictions: Floating,  # [N, C]
    targets: Floating,  # [N, C]
    weights: Floating | None,
    scale: float,
    parameter: float,  # label smoothing of the cross-entropies, Huber's delta
    losses: Floating,
    dpredictions: Floating | None,
) -> float: ...

# ---- optimisers ----------------------------------------------------------------------------------
#
# One step in place. Gradients are multiplied by grad_scale and then clipped: "none", "value" (each
# number), "norm" (each gradient) or "global_norm" (all together) to `limit`. Weight decay is
# decoupled: p -= lr * weight_decay * p first. The gradient of a parameter [V, E] may be a pair: ids
# [n], all different, and their rows [n, E]; the others are 0.

Gradient: TypeAlias = Floating | tuple[Integers, Floating]

def sgd(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    velocities: list[Floating],  # or empty
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float,
    clip: str,
    limit: float,
) -> None: ...
def adam(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    first: list[Floating],
    second: list[Floating],
    largest: list[Floating],  # AMSGrad's; or empty
    step: int,  # 1 for the first
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
    clip: str,
    limit: float,
) -> None: ...
def rmsprop(
    params: Sequence[Floating],
    grads: Sequence[Gradient],
    squares: list[Floating],
    means: list[Floating],  # centered; or empty
    velocities: list[Floating],  # momentum; or empty
    lr: float,
    rho: float,
    momentum: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
    clip: str,
    limit: float,
) -> None: ...
def global_norm(arrays: Sequence[Gradient]) -> float:
    """The square root of the sum of all squares; the same bits for any number of threads."""

# ---- activations and normalisation ---------------------------------------------------------------

def activation_keeps_input(name: str) -> bool:
    """Whether `activation_backward` takes the activation's input as ``kept``, or its output."""

def activation(name: str, x: Floating, out: Floating) -> None:
    """Of any shape; out may be x."""

def activation_backward(name: str, kept: Floating, dout: Floating, dx: Floating) -> None: ...
def softmax(x: Floating, out: Floating) -> None:
    """Over each row of x [N, C]."""

def softmax_backward(y: Floating, dout: Floating, dx: Floating) -> None: ...
def layer_norm_forward(
    x: Floating,  # [N, F]
    gamma: Floating | None,  # [F]
    beta: Floating | None,
    eps: float,
    out: Floating,  # [N, F]
    mean: Floating,  # [N]
    rstd: Floating,
) -> None: ...
def layer_norm_backward(
    x: Floating,
    gamma: Floating | None,
    mean: Floating,
    rstd: Floating,
    dout: Floating,
    dx: Floating | None,
    dgamma: Floating | None,
    dbeta: Floating | None,
) -> None: ...

# ---- masks: bool [B, T] of any strides, True where a step exists ---------------------------------

Mask = npt.NDArray[np.bool_]

def packed_lengths(batch_sizes: Integers, tokens: int, lengths: Integers) -> bool:
    """Write the lengths [B], the longest first, of a PackedSequence's batch_sizes [T].

    False if those rise, are below 1, begin with another number than B or do not add up to
    ``tokens``.
    """

def count_steps(mask: Mask, lengths: Integers) -> int:
    """lengths [B] = how many steps exist. 2: all do; 1: the first ones; 0: there are gaps."""

def gather_steps(mask: Mask, x: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """out [B, S, F] = the steps of x [B, T, F] that exist, zeros past their end; of any type."""

def scatter_steps(mask: Mask, x: npt.NDArray[Any], repeat: bool, out: npt.NDArray[Any]) -> None:
    """out [B, T, F] = x's [B, S, F] steps where they exist; else 0, or the one before."""

def scatter_steps_backward(mask: Mask, dout: Floating, dx: Floating) -> None:
    """Undoes `scatter_steps` with repeat: sums dout [B, T, F] into dx [B, S, F]."""

def differs(x: Floating, value: float, mask: Mask) -> None:
    """mask [B, T] = whether any of x [B, T, F] is not `value`."""

def pool(
    pooling: str,  # "mean", "max", "last"
    x: Floating,  # [B, T, F]
    mask: Mask | None,
    out: Floating,  # [B, F]
    place: npt.NDArray[np.int32] | None,  # [B, F], for "max": the step it came from, -1: none
) -> None: ...
def pool_backward(
    pooling: str,
    dout: Floating,
    mask: Mask | None,
    place: npt.NDArray[np.int32] | None,
    dx: Floating,
) -> None: ...
def merge(merge: str, x: Floating, out: Floating) -> None:
    """out [N, H] = the halves of x [N, 2 H] as "sum", "ave" or "mul"."""

def merge_backward(merge: str, x: Floating, dout: Floating, dx: Floating) -> None: ...
