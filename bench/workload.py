"""What is measured: a stack of recurrent layers with its sizes, its flops and its random arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class Workload:
    """One stack of layers of one cell, and the batch that it is given."""

    cell: str  # a key of GATES
    steps: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dtype: str = "float32"
    lengths: tuple[int, ...] | None = None  # [B], in 1..steps

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def label(self) -> str:
        return f"T{self.steps} B{self.batch} I{self.input_size} H{self.hidden_size}"

    @property
    def stack(self) -> str:
        return f"x{self.num_layers}" + (" bi" if self.bidirectional else "")

    @property
    def flops(self) -> float:
        """Floating-point operations of the products of one forward pass over the valid steps.

        The backward pass (dx, dh and dW) needs twice as many.
        """
        tokens = self.steps * self.batch if self.lengths is None else sum(self.lengths)
        total = 0
        for layer in range(self.num_layers):
            columns = self.layer_input_size(layer) + self.hidden_size
            total += 2 * GATES[self.cell] * self.hidden_size * columns * self.directions
        return float(total * tokens)

    @property
    def weight_bytes(self) -> tuple[int, int]:
        """The sizes of all w_ih and of all w_hh."""
        rows = GATES[self.cell] * self.hidden_size * self.directions * np.dtype(self.dtype).itemsize
        inputs = sum(self.layer_input_size(layer) for layer in range(self.num_layers))
        return rows * inputs, rows * self.hidden_size * self.num_layers

    @property
    def valid_share(self) -> float:
        """Valid steps by all steps of the padded batch."""
        return 1.0 if self.lengths is None else sum(self.lengths) / (self.steps * self.batch)

    @property
    def mask(self) -> Array:
        """[T, B, 1], one where a step is valid."""
        lengths = np.full(self.batch, self.steps) if self.lengths is None else self.lengths
        return (np.arange(self.steps)[:, None, None] < np.array(lengths)[:, None]).astype(
            self.dtype
        )

    def layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size * self.directions

    def parameter_names(self, layer: int, direction: int) -> tuple[str, str, str, str]:
        """w_ih, w_hh, b_ih, b_hh of one layer and direction, as PyTorch names them."""
        suffix = f"_l{layer}" + ("_reverse" if direction else "")
        return (
            f"weight_ih{suffix}",
            f"weight_hh{suffix}",
            f"bias_ih{suffix}",
            f"bias_hh{suffix}",
        )


@dataclass(frozen=True)
class Data:
    """The random arrays of a workload; every contender gets these same values."""

    x: Array  # [T, B, I]
    weights: dict[str, Array]  # PyTorch's names, shapes and gate order
    doutput: Array  # [T, B, directions * H]

    @classmethod
    def random(cls, work: Workload, seed: int = 0) -> Data:
        """Weights as PyTorch initialises them, everything else normal; never zeros."""
        rng = np.random.default_rng(seed)
        rows = GATES[work.cell] * work.hidden_size
        bound = work.hidden_size**-0.5
        weights: dict[str, Array] = {}
        for layer in range(work.num_layers):
            columns = work.layer_input_size(layer)
            for direction in range(work.directions):
                names = work.parameter_names(layer, direction)
                shapes = ((rows, columns), (rows, work.hidden_size), (rows,), (rows,))
                for name, shape in zip(names, shapes, strict=True):
                    weights[name] = rng.uniform(-bound, bound, shape).astype(work.dtype)
        x = rng.standard_normal((work.steps, work.batch, work.input_size)).astype(work.dtype)
        outputs = (work.steps, work.batch, work.directions * work.hidden_size)
        return cls(x, weights, rng.standard_normal(outputs).astype(work.dtype))


def ragged_lengths(steps: int, batch: int, shortest: float = 0.1, seed: int = 0) -> tuple[int, ...]:
    """Unsorted lengths, uniform from ``shortest * steps`` to ``steps``; the first is ``steps``."""
    low = max(1, round(shortest * steps))
    drawn = np.random.default_rng(seed).integers(low, steps + 1, batch)
    drawn[0] = steps
    return tuple(int(n) for n in drawn)
