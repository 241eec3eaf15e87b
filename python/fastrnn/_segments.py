"""Sequences longer than memory: forward and backward one segment of time after another.

The forward pass keeps the state that each segment begins with and nothing else. The backward pass
goes from the last segment to the first, computes each one's forward pass again, this time with a
cache, and adds its part to the weights' gradients (Chen et al. 2016, Gruslys et al. 2016). Segments
begin where the core begins a chunk of its sums, so the results are those of one call, bit for bit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from fastrnn import _check, _memory, _stack
from fastrnn._load import core
from fastrnn._rows import Rows
from fastrnn._typing import Array, Floating, Integers

Read = Callable[[int, int], Any]
"""(start, stop) to the steps start .. stop - 1 of an array over all of time, of x also of `Rows`;
the gradient of their table is written as a whole."""
Gradient = Callable[[int, int, Array], Array | None]
"""(start, stop, output of these steps) to the gradient of the loss by them."""
Consume = Callable[[int, Array], object]
"""(start, array): takes some steps of an array, the first of which is ``start``."""

_MOST = 2**63 - 1  # what the core counts in

CHUNKS = 8
"""Chunks of 1,024 tokens in a segment, unless memory is short: packing the weights anew for each
segment then takes a hundredth of its time."""


class Options(NamedTuple):
    """What is the same for all segments."""

    stack: _stack.Stack
    steps: int
    batch: int
    lengths: Integers | None
    dropout: float
    input_dropout: float
    seed: int
    table_rows: int = 0  # of x, where it is `Rows`

    def plan(self, start: int, stop: int, recompute: str = "none", keep: bool = True) -> core.Plan:
        """Return the core's description of the steps start .. stop - 1, for training or not."""
        return _stack.make_plan(
            self.stack, stop - start, self.batch, self.lengths, self.dropout, self.seed, keep,
            recompute, start, self.steps, self.input_dropout,
        )  # fmt: skip

    def forward_plan(self, start: int, stop: int) -> core.Plan:
        """Return that of a training pass whose cache is not needed: one that keeps little."""
        return self.plan(start, stop, "checkpoint", keep=self.dropout > 0 or self.input_dropout > 0)


class Size(NamedTuple):
    """How long a segment is, and what it keeps while its gradients are computed."""

    steps: int
    recompute: str
    # Of the states between all segments, of one segment's cache and output, and of what is summed
    # by row of a table.
    nbytes: int

    @classmethod
    def of(cls, options: Options, steps: int, recompute: str) -> Size:
        """Add up what segments of so many steps hold."""
        stack, item = options.stack, options.stack.dtype.itemsize
        state = math.prod(stack.state_shape(options.batch)) * (2 if stack.has_cell_state else 1)
        segments = -(-options.steps // steps)
        cache = options.plan(0, min(steps, options.steps), recompute).cache_nbytes
        output = min(steps, options.steps) * options.batch * stack.output_size
        sums = options.table_rows * _stack.GATES[stack.cell] * stack.hidden_size
        return cls(steps, recompute, cache + (segments * state + output + sums) * item)

    @classmethod
    def choose(cls, options: Options, limit: int | None) -> Size:
        """Return the longest segments that keep to the limit.

        Raises
        ------
        ValueError
            If none do.
        """
        chunk = options.plan(0, 1).chunk_steps
        # With large batches the states weigh more: both parts are least near the root.
        chunks = max(CHUNKS, math.isqrt(options.steps // 2) // chunk)
        while True:
            size = cls.of(options, chunks * chunk, "none")
            if limit is None or size.nbytes <= limit:
                return size
            if chunks == 1:
                break
            chunks //= 2
        for mode in _memory.MODES[1:]:
            size = cls.of(options, chunk, mode)
            if size.nbytes <= limit:
                return size
        raise ValueError(
            f"memory_limit: expected at least {size.nbytes} bytes, which segments of {size.steps} "
            f"steps need, got {limit}"
        )


class Segments:
    """A stack of recurrent layers over sequences longer than memory, segment by segment.

    What `fastrnn.functional.lstm_segments` and its like return; call `forward`, then `backward`.
    It refers to x, the initial state and the weights, which must not change in between.

    Attributes
    ----------
    bounds : list of (start, stop)
        The segments, in the order of time.
    nbytes : int
        What is held at most beyond the weights, their gradients and what goes in and out: the
        states between segments, and one segment's cache and output.
    """

    def __init__(self, options: Options, x: Read, state: Any, size: Size) -> None:
        self._options, self._size = options, size
        self._x = x
        self._state: tuple[Floating | None, Floating | None] = state
        steps = options.steps
        self.bounds = [(a, min(a + size.steps, steps)) for a in range(0, steps, size.steps)]
        self.nbytes = size.nbytes
        self._packed: core.PackedWeights | None = None
        self._states: list[tuple[Floating | None, Floating | None]] = []
        self._last: tuple[Array | Rows, Array, core.Plan, core.Cache] | None = None

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.bounds)

    def __repr__(self) -> str:
        o = self._options
        return (
            f"<Segments of {o.stack.cell}, T={o.steps}, B={o.batch}, {len(self)} of "
            f"{self._size.steps} steps, recompute={self._size.recompute!r}, {self.nbytes} bytes>"
        )

    # ---- what users call -------------------------------------------------------------------------

    def forward(self, consume: Consume | None = None) -> Any:
        """Run over the sequences and keep the state that each segment begins with.

        Parameters
        ----------
        consume : function (start, output), optional
            Called with each segment's output [t, B, H], in the order of time; ``start`` is its
            first step. The array may be kept; it is read-only, as `backward` reads the last one.

        Returns
        -------
        array or pair of arrays, each [num_layers, B, H]
            The final state: h, for the LSTM (h, c).
        """
        hn, cn = self.run(None, _consumer(consume))
        return hn if cn is None else (hn, cn)

    def backward(
        self,
        doutput: Gradient | Array | None = None,
        dstate: Any = None,
        *,
        consume: Consume | None = None,
    ) -> tuple[Any, dict[str, Array]]:
        """Compute the gradients, from the last segment to the first.

        Parameters
        ----------
        doutput : function (start, stop, output), array [T, B, H], or None
            The loss's gradient by the outputs of the steps start .. stop - 1, [stop - start, B, H]
            or None for zeros; a function gets these outputs, computed again and read-only.
        dstate : array, or pair of arrays or None, optional
            By the final h, for the LSTM (h, c), each [num_layers, B, H].
        consume : function (start, dx), optional
            Called with each segment's gradient of x, [t, B, I], the last segment first, an array
            that is the function's own; without it dx is not computed.

        Returns
        -------
        dstate : array or pair of arrays, each [num_layers, B, H]
            By the initial state.
        dweights : dict of str to array
            Under the weights' names.
        """
        stack, batch = self._options.stack, self._options.batch
        dhn, dcn = _stack.parse_state(dstate, stack, batch, False, prefix="d", suffix="n")
        gradient = _gradient_reader(doutput, self._options)
        dx = None
        if _consumer(consume) is not None:

            def dx(start: int, stop: int) -> Array:
                return np.empty((stop - start, batch, stack.input_size), stack.dtype)

        dweights = stack.empty_gradients()
        dh0, dc0 = self.run_backward(gradient, (dhn, dcn), dweights, dx, consume)
        named = zip(stack.names, dweights, strict=True)
        return dh0 if dc0 is None else (dh0, dc0), {n: d for n, d in named if d is not None}

    # ---- what they do ----------------------------------------------------------------------------

    def run(self, out: Read | None, after: Consume | None = None) -> tuple[Array, Array | None]:
        """Run forward, the output of steps a .. b - 1 written to ``out(a, b)``."""
        stack = self._options.stack
        self._packed = core.pack_weights(self._options.plan(0, 1), stack.arrays)
        self._states, self._last = [], None
        state = self._state
        for start, stop in self.bounds:
            self._states.append(state)
            last = stop == self._options.steps  # its backward pass comes next
            output = self._empty_output(start, stop) if out is None else out(start, stop)
            x = self._read(start, stop)
            plan = (
                self._options.plan(start, stop, self._size.recompute)
                if last
                else self._options.forward_plan(start, stop)
            )
            state, kept = self._step(plan, x, state, output)
            if out is None:
                output.flags.writeable = False
            if last and kept is not None:
                self._last = x, output, plan, kept
            if after is not None:
                after(start, output)
        h, c = state
        assert h is not None
        return h, c

    def run_backward(
        self,
        doutput: Gradient,
        dstate: tuple[Floating | None, Floating | None],
        dweights: list[Array | None],
        dx: Read | None,
        after: Consume | None = None,
    ) -> tuple[Array, Array | None]:
        """Run backward, the gradient of x written to ``dx(a, b)``; return those of the state."""
        if not self._states:
            raise RuntimeError("backward: call forward first")
        o, stack = self._options, self._options.stack
        longest = o.steps if o.lengths is None else int(o.lengths.max(initial=0))
        dhn, dcn = dstate
        row_sums: Array | None = None
        for (start, stop), (h0, c0) in zip(self.bounds[::-1], self._states[::-1], strict=True):
            if self._last is not None and stop == o.steps:
                x, output, plan, kept = self._last
            else:
                x, output = self._read(start, stop), self._empty_output(start, stop)
                plan = o.plan(start, stop, self._size.recompute)
                _, cache = self._step(plan, x, (h0, c0), output)
                output.flags.writeable = False
                assert cache is not None
                kept = cache
            part = None if dx is None else dx(start, stop)
            table, index = _table_and_index(x)
            if index is not None and row_sums is None:
                row_sums = np.empty(kept.row_sums_size(plan, len(table)), stack.dtype)
            dh0 = np.empty(stack.state_shape(o.batch), stack.dtype)
            dc0 = np.empty_like(dh0) if stack.has_cell_state else None
            core.recurrent_backward(
                plan, kept, table, stack.arrays, h0, c0, output, doutput(start, stop, output), dhn,
                dcn, None, part, dh0, dc0, dweights,
                stop < min(longest, o.steps),  # segments with steps came before
                index, row_sums,
            )  # fmt: skip
            dhn, dcn = dh0, dc0
            if after is not None and part is not None:
                after(start, part)
        return dh0, dc0

    def _step(
        self,
        plan: core.Plan,
        x: Array | Rows,
        state: tuple[Floating | None, Floating | None],
        output: Array,
    ) -> tuple[tuple[Array, Array | None], core.Cache | None]:
        stack = self._options.stack
        assert self._packed is not None
        hn = np.empty(stack.state_shape(self._options.batch), stack.dtype)
        cn = np.empty_like(hn) if stack.has_cell_state else None
        table, index = _table_and_index(x)
        kept = core.recurrent_forward(
            plan, table, self._packed, *state, output, hn, cn, None, index
        )
        return (hn, cn), kept

    def _empty_output(self, start: int, stop: int) -> Array:
        stack = self._options.stack
        return np.empty((stop - start, self._options.batch, stack.output_size), stack.dtype)

    def _read(self, start: int, stop: int) -> Array | Rows:
        o, part = self._options, self._x(start, stop)
        if isinstance(part, Rows):  # by `forward`, which has checked them
            return part
        return _part("x", part, o, (start, stop), o.stack.input_size)


def make(
    cell: str,
    x: Any,
    weights: Any,
    state: object,
    shape: tuple[int, int] | None,
    num_layers: SupportsIndex,
    lengths: object,
    dropout: float,
    input_dropout: float,
    seed: SupportsIndex | None,
    segment_steps: SupportsIndex | None,
    memory_limit: object,
) -> Segments:
    """Check the arguments of `fastrnn.functional.lstm_segments` and its like."""
    if isinstance(weights, dict) and any(str(name).endswith("_reverse") for name in weights):
        raise ValueError(
            "weights: expected one direction, got two; the reverse one begins where time ends. "
            'recompute="checkpoint" keeps little of both'
        )
    stack = _stack.parse_weights(cell, weights, num_layers, False)
    read, (steps, batch) = _reader(x, stack, shape)
    options = Options(
        stack,
        steps,
        batch,
        _stack.parse_lengths(lengths, steps, batch, False),
        *_stack.parse_dropout(dropout, input_dropout, seed),
    )
    limit = None if memory_limit is None else _memory.parse_bytes("memory_limit", memory_limit)
    if segment_steps is None:
        size = Size.choose(options, limit)
    elif limit is not None:
        raise ValueError("memory_limit: expected None beside segment_steps, which decides alone")
    else:
        chunk = options.plan(0, 1).chunk_steps
        asked = _check.positive_int("segment_steps", segment_steps)
        size = Size.of(options, -(-asked // chunk) * chunk, "none")
    return Segments(options, read, _stack.parse_state(state, stack, batch, False), size)


def _reader(
    x: Any, stack: _stack.Stack, shape: tuple[int, int] | None
) -> tuple[Read, tuple[int, int]]:
    """Return how to read x and its (T, B)."""
    if isinstance(x, Rows):
        raise TypeError("x: expected an array or a function (start, stop), got Rows")
    if callable(x):
        return _owned(x), _function_shape(shape)
    found = getattr(x, "shape", None)
    if found is None or not hasattr(x, "__getitem__"):
        raise TypeError(
            "x: expected an array, or a function (start, stop), since each segment is asked for "
            f"twice, got {type(x).__name__}"
        )
    if shape is not None:
        raise ValueError(f"shape: expected None where x is an array, got {shape!r}")
    if len(found) != 3 or found[2] != stack.input_size or found[0] < 1:
        raise ValueError(f"x: expected shape (T, B, {stack.input_size}), T >= 1, got {found}")

    def read(start: int, stop: int) -> Any:
        return x[start:stop]

    kept = isinstance(x, np.ndarray)
    return read if kept else _owned(read), (int(found[0]), int(found[1]))


def _table_and_index(x: Array | Rows) -> tuple[Array, Integers | None]:
    return (x.table, x.index) if isinstance(x, Rows) else (x, None)


def _function_shape(shape: Any) -> tuple[int, int]:
    try:
        steps, batch = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"shape: expected (T, B), two ints, where x is a function, got {shape!r}"
        ) from None
    if steps < 1 or batch < 0:
        raise ValueError(f"shape: expected T >= 1 and B >= 0, got {shape!r}")
    if steps * max(1, batch) > _MOST:
        raise ValueError(f"shape: expected at most {_MOST} steps in all, T * B, got {shape!r}")
    return steps, batch


def _owned(read: Read) -> Read:
    """Copy what is read: who makes it may fill one buffer again and again."""

    def copy(start: int, stop: int) -> Any:
        part = read(start, stop)
        if isinstance(part, Rows):  # they have one table for all calls, a function might not
            raise TypeError(f"x: expected an array for the steps {start} .. {stop - 1}, got Rows")
        return part.copy() if isinstance(part, np.ndarray) else part

    return copy


def _consumer(consume: object) -> Any:
    if consume is not None and not callable(consume):
        raise TypeError(f"consume: expected a function (start, array), got {consume!r}")
    return consume


def _gradient_reader(doutput: Any, options: Options) -> Gradient:
    if doutput is None:
        return lambda start, stop, output: None
    size = options.stack.output_size
    if not callable(doutput):
        expected = (options.steps, options.batch, size)
        if getattr(doutput, "shape", None) != expected:
            got = getattr(doutput, "shape", type(doutput).__name__)
            raise ValueError(f"doutput: expected shape {expected}, got {got}")

    def read(start: int, stop: int, output: Array) -> Array | None:
        part = doutput(start, stop, output) if callable(doutput) else doutput[start:stop]
        return None if part is None else _part("doutput", part, options, (start, stop), size)

    return read


def _part(name: str, value: Any, options: Options, bounds: tuple[int, int], width: int) -> Array:
    """Check what stands for some steps of an array."""
    start, stop = bounds
    array = _stack.typed(name, value, options.stack.dtype)
    expected = (stop - start, options.batch, width)
    if array.shape != expected:
        raise ValueError(
            f"{name}: expected shape {expected} for the steps {start} .. {stop - 1}, "
            f"got {array.shape}"
        )
    return _stack.readable(array)
