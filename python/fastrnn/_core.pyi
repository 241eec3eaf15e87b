"""The compiled core: what the bindings in ``cpp/bindings`` register.

Every function checks the types, ranks and shapes that it relies on (a wrong one raises ValueError
or TypeError), fills arrays that the caller allocated, and runs without the GIL. Arrays called
``Floating`` are float32 or float64, all of one type in a call, C-contiguous unless said otherwise.
Clear messages, defaults and conversions are the Python modules' business.
"""

from collections.abc import Sequence
from typing import Any

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
def fma_peak(double_precision: bool, num_threads: int, seconds: float) -> float:
    """Floating-point operations per second of independent fused multiply-adds in registers."""

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
    ) -> None: ...

class Cache:
    """What the backward pass needs besides x, the weights and the output. Reusable."""

    nbytes: int

class PackedWeights:
    """A frozen, packed snapshot of the weights of one stack, for repeated inference."""

    nbytes: int
    isa: str

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
    x: Floating,  # [T, B, I], any strides with a contiguous last axis
    weights: Sequence[Floating | None]
    | PackedWeights,  # 4 per layer and direction: w_ih, w_hh, b_ih, b_hh
    h0: Floating | None,  # [L * D, B, H]
    c0: Floating | None,
    output: Floating,  # [T, B, D * H], any strides with a contiguous last axis
    hn: Floating,  # [L * D, B, H]
    cn: Floating | None,
    cells: Floating | None,  # [T, B, D * H], like output
) -> Cache | None: ...
def recurrent_backward(
    plan: Plan,
    cache: Cache,
    x: Floating,
    weights: Sequence[Floating | None],
    h0: Floating | None,
    c0: Floating | None,
    output: Floating,
    doutput: Floating | None,  # [T, B, D * H], any strides with a contiguous last axis
    dhn: Floating | None,
    dcn: Floating | None,
    dcells: Floating | None,
    dx: Floating | None,
    dh0: Floating | None,
    dc0: Floating | None,
    dweights: Sequence[Floating | None],
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

def dropout(x: Floating, out: Floating, p: float, seed: int, stream: int, first_step: int) -> None:
    """Inverted dropout of x [B, T, F]: kept elements are divided by 1 - p.

    The mask is a function of (seed, stream, first_step + t, row, unit) alone, so the same call
    applied to the output gradient is the backward pass.
    """

def softmax_cross_entropy(
    logits: Floating,  # [N, C]
    # [N]; a negative label is ignored (loss and gradient 0); one of C or more is an IndexError
    labels: Integers,
    weights: Floating | None,  # [N]; what each row's loss counts
    losses: Floating,  # [N], unweighted
    dlogits: Floating | None,  # [N, C], weights[n] * (softmax - one_hot); may be logits itself
) -> float:
    """The sum of the weighted losses, in nats."""

def binary_cross_entropy(
    logits: Floating,  # [N]
    targets: Floating,  # [N], in 0..1
    weights: Floating | None,
    losses: Floating,
    dlogits: Floating | None,
) -> float: ...
def sigmoid(x: Floating, out: Floating) -> None: ...
def tanh(x: Floating, out: Floating) -> None: ...
def sgd(
    params: Sequence[Floating],
    grads: Sequence[Floating],
    velocities: Sequence[Floating],  # empty when momentum is 0
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float,  # every gradient is multiplied by it first (clipping)
) -> None:
    """In place, as Keras: v = momentum * v - lr * g; p += v (or Nesterov's step)."""

def adam(
    params: Sequence[Floating],
    grads: Sequence[Floating],
    first: Sequence[Floating],
    second: Sequence[Floating],
    step: int,  # 1 for the first
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,  # decoupled (AdamW): p -= lr * weight_decay * p
    grad_scale: float,
) -> None:
    """In place, bias-corrected: p -= lr * mhat / (sqrt(vhat) + eps) (Kingma and Ba 2014)."""

def global_norm(arrays: Sequence[Floating]) -> float:
    """The square root of the sum of all squares; the same bits for any number of threads."""
