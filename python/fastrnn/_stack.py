"""One recurrent call from Python's arguments to the core's: what functional and Recurrent share."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from fastrnn import _check
from fastrnn._load import core
from fastrnn._rows import Rows
from fastrnn._typing import Array, Floating, Integers

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Stack(NamedTuple):
    """What the weights alone say: the sizes of a stack of layers, and its parameters in order."""

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int
    num_directions: int
    dtype: np.dtype[Any]
    names: list[str]  # four per layer and direction
    arrays: list[Floating | None]  # in the same order, None for a bias that is missing

    @property
    def has_cell_state(self) -> bool:
        return self.cell == "lstm"

    @property
    def output_size(self) -> int:
        return self.num_directions * self.hidden_size

    def empty_gradients(self, wanted: bool = True) -> list[Array | None]:
        """Return new arrays for the gradients of the weights, None for what is not wanted."""
        return [
            np.empty(w.shape, self.dtype) if wanted and w is not None else None for w in self.arrays
        ]

    def state_shape(self, batch: int) -> tuple[int, int, int]:
        return (self.num_layers * self.num_directions, batch, self.hidden_size)


def probability(name: str, value: float) -> float:
    """Check that ``value`` is a number in 0 <= value <= 1."""
    number = _check.real(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return number


def mask_seed(seed: SupportsIndex | None) -> int:
    """Check a seed, or draw a fresh one for None."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little")
    if isinstance(seed, bool | np.bool_) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed: expected an int or None, got {seed!r}")
    number = seed.__index__()
    if not 0 <= number < 2**64:
        raise ValueError(f"seed: expected 0 <= seed < 2**64, got {number}")
    return number


def parse_dropout(
    dropout: float, input_dropout: float, seed: SupportsIndex | None
) -> tuple[float, float, int]:
    """Check what the masks are drawn by; without dropout the seed is 0 where none is given."""
    between = probability("dropout", dropout)
    of_input = probability("input_dropout", input_dropout)
    needed = between or of_input or seed is not None
    return between, of_input, mask_seed(seed) if needed else 0


def readable(array: Array) -> Array:
    """Return the array itself if the core reads it in place, else a contiguous copy.

    The core reads any strides of the outer axes; the last axis must be contiguous.
    """
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    size = array.itemsize
    strides = array.strides
    if (
        flags.aligned
        and (array.shape[-1] <= 1 or strides[-1] == size)
        and all(stride % size == 0 for stride in strides)
    ):
        return array
    return np.array(array, order="C")  # ascontiguousarray would keep a misaligned one


def typed(name: str, value: object, dtype: np.dtype[Any] | None = None) -> Array:
    """Check that ``value`` is a float32 or float64 array (of ``dtype``), in native byte order."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    if value.dtype is dtype:  # the usual case at a tenth of the time
        return value
    if value.dtype not in _check.FLOATING or not value.dtype.isnative:
        raise TypeError(
            f"{name}: expected float32 or float64 in native byte order, got {value.dtype.str!r}"
        )
    if dtype is not None and value.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype}, got {value.dtype}")
    return value


def shaped(name: str, value: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Check type and shape; strides as the core reads them."""
    array = typed(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return readable(array)


def parse_weights(
    cell: str,
    weights: Mapping[str, Floating],
    num_layers: SupportsIndex,
    bidirectional: bool,
) -> Stack:
    """Check the parameters of a whole stack and put them in order."""
    layers = _check.positive_int("num_layers", num_layers)
    directions = 2 if _check.flag("bidirectional", bidirectional) else 1
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights: expected a dict of arrays, got {type(weights).__name__}")
    first = [typed_weight(weights, f"{kind}_l0", 2) for kind in KINDS[:2]]
    dtype = first[0].dtype
    hidden, inputs = first[1].shape[1], first[0].shape[1]
    if hidden < 1 or inputs < 1:
        raise ValueError(
            "weights: expected sizes of 1 or more, got input_size "
            f"{inputs} and hidden_size {hidden}"
        )
    rows = GATES[cell] * hidden
    names: list[str] = []
    arrays: list[Floating | None] = []
    for layer in range(layers):
        columns = inputs if layer == 0 else directions * hidden
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:directions]:
            shapes = ((rows, columns), (rows, hidden), (rows,), (rows,))
            for kind, shape in zip(KINDS, shapes, strict=True):
                name = kind + suffix
                names.append(name)
                if kind.startswith("bias") and name not in weights:
                    arrays.append(None)
                    continue
                value = typed_weight(weights, name, len(shape))
                array = shaped(f'weights["{name}"]', value, dtype, shape)
                arrays.append(np.ascontiguousarray(array) if array.ndim == 1 else array)
            if arrays[-2] is None and arrays[-1] is not None:
                raise ValueError(f'weights["bias_hh{suffix}"]: given without "bias_ih{suffix}"')
    if len(weights) != sum(array is not None for array in arrays):
        surplus = sorted(str(name) for name in weights if name not in set(names))
        raise ValueError(
            f"weights: unexpected {', '.join(surplus)} for num_layers={layers}, "
            f"bidirectional={directions == 2}"
        )
    return Stack(cell, inputs, hidden, layers, directions, dtype, names, arrays)


def typed_weight(weights: Mapping[str, Floating], name: str, ndim: int) -> Array:
    """Return the named parameter, checked in type and rank."""
    if name not in weights:
        raise ValueError(f'weights: "{name}" is missing')
    array = typed(f'weights["{name}"]', weights[name])
    if array.ndim != ndim:
        raise ValueError(f'weights["{name}"]: expected rank {ndim}, got shape {array.shape}')
    return array


def parse_input(x: object, stack: Stack, batch_first: bool) -> tuple[Array, Integers | None, bool]:
    """Return x as [T, B, I], None and whether it had no batch axis.

    Of `Rows` the first two are the table [N, I] and the index [T, B].
    """
    rows = x if isinstance(x, Rows) else None
    array = typed("x", x if rows is None else rows.table, stack.dtype)
    shape = array.shape if rows is None else rows.shape
    if len(shape) not in (2, 3):
        axes = "[B, T, I]" if batch_first else "[T, B, I]"
        raise ValueError(f"x: expected {axes} or [T, I], got shape {shape}")
    if shape[-1] != stack.input_size:
        expected = ("any",) * (len(shape) - 1) + (str(stack.input_size),)
        raise ValueError(f"x: expected shape ({', '.join(expected)}), got {shape}")
    sequence = array if rows is None else rows.index[..., np.newaxis]
    unbatched = len(shape) == 2
    if unbatched:
        sequence = sequence[:, np.newaxis]
    elif batch_first:
        sequence = sequence.transpose(1, 0, 2)
    if sequence.shape[0] == 0:
        raise ValueError(f"x: expected at least one time step, got {sequence.shape[0]}")
    if rows is None:
        return readable(sequence), None, unbatched
    return array, np.ascontiguousarray(sequence[..., 0]), unbatched


def parse_lengths(lengths: object, steps: int, batch: int, unbatched: bool) -> Integers | None:
    """Return the lengths as int64 [B]."""
    if lengths is None:
        return None
    if unbatched:
        raise ValueError("lengths: expected None for x without a batch axis")
    if not isinstance(lengths, np.ndarray):
        if not isinstance(lengths, Sequence) or isinstance(lengths, str | bytes):
            raise TypeError(f"lengths: expected integers [B], got {type(lengths).__name__}")
        try:
            lengths = np.asarray(lengths, dtype=None if len(lengths) else np.int64)
        except ValueError:
            raise ValueError("lengths: expected a flat sequence of integers") from None
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {lengths.shape}")
    if batch and (lengths.min() < 0 or lengths.max() > steps):
        worst = int(lengths.min() if lengths.min() < 0 else lengths.max())
        raise ValueError(f"lengths: expected 0 <= length <= {steps}, got {worst}")
    return np.ascontiguousarray(lengths, dtype=np.int64)


def parse_state(
    state: object, stack: Stack, batch: int, unbatched: bool, prefix: str = "", suffix: str = "0"
) -> tuple[Floating | None, Floating | None]:
    """Return (h, c) as contiguous [L * D, B, H] or None.

    With ``prefix`` "d" the argument is a gradient, where either part of a pair may be None.
    """
    whole = f"{prefix}state"
    parts: tuple[object, ...]
    if state is None:
        return None, None
    if stack.has_cell_state:
        if not isinstance(state, tuple | list) or len(state) != 2:
            got = f"{len(state)} items" if isinstance(state, tuple | list) else type(state).__name__
            raise TypeError(f"{whole}: expected a pair ({prefix}h, {prefix}c), got {got}")
        parts = tuple(state)
    else:
        parts = (state,)
    shape = stack.state_shape(batch)
    checked: list[Floating | None] = []
    for letter, part in zip("hc", parts, strict=False):
        if part is None and prefix:
            checked.append(None)
            continue
        name = f"{prefix}{letter}{suffix}"
        if unbatched:
            array = shaped(name, part, stack.dtype, (shape[0], shape[2]))[:, np.newaxis]
        else:
            array = shaped(name, part, stack.dtype, shape)
        checked.append(np.ascontiguousarray(array))
    return checked[0], checked[1] if len(checked) == 2 else None


def empty_sequence(
    steps: int, batch: int, width: int, dtype: np.dtype[Any], batch_first: bool
) -> Array:
    """Return a new [T, B, width] array, laid out as [B, T, width] if ``batch_first``."""
    output: Array
    if batch_first:
        output = np.empty((batch, steps, width), dtype).transpose(1, 0, 2)
    else:
        output = np.empty((steps, batch, width), dtype)
    return output


def as_given(array: Array, unbatched: bool, batch_first: bool) -> Array:
    """Return a [T, B, F] array in the caller's layout."""
    if unbatched:
        sequence: Array = array[:, 0]
        return sequence
    return array.transpose(1, 0, 2) if batch_first else array


def given_shape(shape: tuple[int, int, int], unbatched: bool, batch_first: bool) -> tuple[int, ...]:
    """Return what `as_given` makes of a shape."""
    steps, batch, width = shape
    if unbatched:
        return (steps, width)
    return (batch, steps, width) if batch_first else shape


def as_internal(array: Array, unbatched: bool, batch_first: bool) -> Array:
    """Undo `as_given`."""
    if unbatched:
        return array[:, np.newaxis]
    return array.transpose(1, 0, 2) if batch_first else array


def make_plan(
    stack: Stack,
    steps: int,
    batch: int,
    lengths: Integers | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    training: bool = False,
    recompute: str = "none",
    first_step: int = 0,
    total_steps: int = -1,
    input_dropout: float = 0.0,
) -> core.Plan:
    """Return the core's description of the call; of a segment, with the place that it has."""
    return core.Plan(
        stack.cell,
        stack.dtype == np.float64,
        steps,
        batch,
        stack.input_size,
        stack.hidden_size,
        stack.num_layers,
        stack.num_directions,
        lengths,
        dropout,
        seed,
        training,
        recompute,
        first_step,
        total_steps,
        input_dropout,
    )
