"""The recurrent calls behind `fastrnn.functional`, once for all cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np

from fastrnn import _check, _memory, _segments, _stack
from fastrnn._load import core
from fastrnn._rows import Rows, sum_by_row
from fastrnn._typing import Array, Floating, Integers


@dataclass(frozen=True, repr=False, eq=False)
class Cache:
    """What a forward pass keeps for its backward pass; it can be used more than once.

    It refers to x, the initial state, the weights and the output, which must not change in between;
    the output is therefore returned read-only. Its memory is freed, for the next call, with the
    object.
    """

    _kept: tuple[core.Plan, core.Cache] | _segments.Segments
    _stack: _stack.Stack
    _x: Array  # [T, B, I], or the table [N, I] whose rows the core looks up
    _rows: tuple[Integers, int] | None  # where x was `Rows`, the index [T, B] and N
    _sizes: tuple[int, int]  # T, B
    _h0: Floating | None
    _c0: Floating | None
    _output: Array | None  # None where segments compute it again
    _output_returned: bool
    _unbatched: bool
    _batch_first: bool
    _mode: str

    @property
    def nbytes(self) -> int:
        """The bytes that it holds beyond what goes in and the output that was returned."""
        if isinstance(self._kept, _segments.Segments):
            return self._kept.nbytes
        inner = 0 if self._output_returned or self._output is None else self._output.nbytes
        return self._kept[1].nbytes + inner

    @property
    def recompute(self) -> str:
        """What the backward pass computes again: "none", "gates" or "checkpoint"."""
        return self._mode

    def __repr__(self) -> str:
        steps, batch = self._sizes
        return (
            f"<Cache of {self._stack.cell}, T={steps}, B={batch}, recompute={self._mode!r}, "
            f"{self.nbytes} bytes>"
        )


def forward(
    cell: str,
    x: Floating | Rows,
    weights: Mapping[str, Floating],
    state: object,
    *,
    num_layers: SupportsIndex,
    bidirectional: bool,
    lengths: object,
    batch_first: bool,
    dropout: float,
    input_dropout: float,
    seed: SupportsIndex | None,
    training: bool,
    return_output: bool,
    return_cells: bool = False,
    recompute: object,
    memory_limit: object,
) -> tuple[Any, Array, Array | None, Cache | None, Array | None]:
    """Run forward; return output, final h and c, cache and cells, None for what there is not."""
    stack = _stack.parse_weights(cell, weights, num_layers, bidirectional)
    batch_first = _check.flag("batch_first", batch_first)
    training = _check.flag("training", training)
    return_output = _check.flag("return_output", return_output)
    return_cells = _check.flag("return_cells", return_cells)
    request = _memory.parse(recompute, memory_limit)
    sequence, index, unbatched = _stack.parse_input(x, stack, batch_first)
    steps, batch = sequence.shape[:2] if index is None else index.shape
    options = _segments.Options(
        stack,
        steps,
        batch,
        _stack.parse_lengths(lengths, steps, batch, unbatched),
        *_stack.parse_dropout(dropout, input_dropout, seed),
    )
    h0, c0 = _stack.parse_state(state, stack, batch, unbatched)
    rows = None if index is None else (index, len(sequence))
    if index is not None and training and options.input_dropout:
        sequence, index = sequence[index], None  # a mask for each sequence
    if index is not None:
        options = options._replace(table_rows=len(sequence))
    row_first = batch_first and not unbatched

    # Where not all layers' outputs are wanted, checkpoints of the state do without them.
    by_segments = (
        stack.num_directions == 1
        and not return_cells
        and (stack.num_layers > 1 or not return_output)
    )
    hidden = 0 if return_output else steps * batch * stack.output_size * stack.dtype.itemsize

    def prepare(mode: str) -> tuple[core.Plan | _segments.Size, int]:
        if mode == "checkpoint" and by_segments:
            size = _segments.Size.choose(options, request.limit)
            return size, size.nbytes
        plan = options.plan(0, steps, mode)
        return plan, plan.cache_nbytes + hidden

    output = cells = None
    kept: tuple[core.Plan, core.Cache] | _segments.Segments | None = None
    prepared: core.Plan | _segments.Size
    if training:
        mode, prepared = request.choose(prepare)
    else:
        mode, prepared = "none", options.plan(0, steps, keep=False)
    if return_output or not isinstance(prepared, _segments.Size):
        output = _stack.empty_sequence(steps, batch, stack.output_size, stack.dtype, row_first)
    if isinstance(prepared, _segments.Size):
        source = sequence if index is None else Rows(sequence, index)
        kept = _segments.Segments(options, lambda a, b: source[a:b], (h0, c0), prepared)
        written = output
        hn, cn = kept.run(None if written is None else lambda a, b: written[a:b])
    else:
        assert output is not None
        cells = np.empty_like(output) if return_cells else None
        hn = np.empty(stack.state_shape(batch), stack.dtype)
        cn = np.empty_like(hn) if stack.has_cell_state else None
        core_cache = core.recurrent_forward(
            prepared, sequence, stack.arrays, h0, c0, output, hn, cn, cells, index
        )
        kept = None if core_cache is None else (prepared, core_cache)
    cache = None
    if kept is not None:
        if output is not None:
            output.flags.writeable = False
        cache = Cache(
            kept, stack, sequence, rows, (steps, batch), h0, c0, output, return_output, unbatched,
            row_first, mode,
        )  # fmt: skip
    if unbatched:
        hn = hn[:, 0]
        cn = None if cn is None else cn[:, 0]
    if cells is not None:
        cells = _stack.as_given(cells, unbatched, row_first)
    if not return_output or output is None:
        return None, hn, cn, cache, cells
    return _stack.as_given(output, unbatched, row_first), hn, cn, cache, cells


def backward(
    cells: tuple[str, ...],
    cache: Cache,
    doutput: Floating | None,
    dstate: object,
    dcells: Floating | None,
    need_dx: bool,
    need_dweights: bool,
) -> tuple[Array | None, Array, Array | None, dict[str, Array]]:
    """Run backward; return the gradients of x, initial h and c, and the weights wanted."""
    if not isinstance(cache, Cache):
        raise TypeError(
            f"cache: expected what {cells[0].partition('_')[0]}_forward returned with "
            f"training=True, got {type(cache).__name__}"
        )
    stack = cache._stack
    if stack.cell not in cells:
        raise ValueError(f"cache: expected one of {cells[0].partition('_')[0]}, got {stack.cell}")
    if doutput is not None and not cache._output_returned:
        raise ValueError("doutput: expected None after a forward pass with return_output=False")
    steps, batch = cache._sizes
    index, row_count = cache._rows or (None, 0)
    by_row = cache._x.ndim == 2

    def sequence(name: str, gradient: Floating | None) -> Array | None:
        if gradient is None:
            return None
        shape = (steps, batch, stack.output_size)
        given = _stack.given_shape(shape, cache._unbatched, cache._batch_first)
        array = _stack.shaped(name, gradient, stack.dtype, given)
        return _stack.as_internal(array, cache._unbatched, cache._batch_first)

    incoming = sequence("doutput", doutput)
    dcells = sequence("dcells", dcells)
    dhn, dcn = _stack.parse_state(dstate, stack, batch, cache._unbatched, prefix="d", suffix="n")
    dx: Array | None = None
    if _check.flag("need_dx", need_dx):
        size = stack.input_size
        dx = (
            np.empty(cache._x.shape, stack.dtype)
            if by_row
            else _stack.empty_sequence(steps, batch, size, stack.dtype, cache._batch_first)
        )
    dweights = stack.empty_gradients(_check.flag("need_dweights", need_dweights))
    if isinstance(cache._kept, _segments.Segments):
        if dcells is not None:
            raise ValueError("dcells: expected None after a forward pass without return_cells")
        filled = dx
        dh0, dc0 = cache._kept.run_backward(
            lambda a, b, _: None if incoming is None else incoming[a:b],
            (dhn, dcn),
            dweights,
            None if filled is None else lambda a, b: filled if by_row else filled[a:b],
        )
    else:
        assert cache._output is not None
        plan, kept = cache._kept
        dh0 = np.empty(stack.state_shape(batch), stack.dtype)
        dc0 = np.empty_like(dh0) if stack.has_cell_state else None
        core.recurrent_backward(
            plan, kept, cache._x, stack.arrays, cache._h0, cache._c0, cache._output, incoming, dhn,
            dcn, dcells, dx, dh0, dc0, dweights, x_rows=index if by_row else None,
        )  # fmt: skip
    if cache._unbatched:
        dh0 = dh0[:, 0]
        dc0 = None if dc0 is None else dc0[:, 0]
    if dx is not None and index is not None:
        dx = dx if by_row else sum_by_row(index, dx, row_count)
    elif dx is not None:
        dx = _stack.as_given(dx, cache._unbatched, cache._batch_first)
    named = zip(stack.names, dweights, strict=True)
    return dx, dh0, dc0, {name: d for name, d in named if d is not None}
