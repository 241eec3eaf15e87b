"""Prepared inference: the weights packed once, the state carried from call to call."""

from collections.abc import Mapping

import numpy as np

from fastrnn import _check, _stack
from fastrnn._load import core
from fastrnn._typing import Array, Floating
from fastrnn.functional import Lengths, Rows, State

__all__ = ["Recurrent"]


class Recurrent:
    """A stack of recurrent layers with a frozen, packed snapshot of its weights.

    Calling it gives the same bits as ``functional``'s forward pass with ``training=False``;
    stepping through a sequence gives the same bits as one call over all of it.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn_tanh", "rnn_relu"}
        The kind of layer.
    weights : dict of str to array
        PyTorch's parameters, as in `fastrnn.functional`. They are copied.
    num_layers : int
        Layers on top of each other.
    bidirectional : bool
        A second direction in every layer; `step` then cannot work.
    batch_first : bool
        Whether sequences are [B, T, I] instead of [T, B, I].

    Attributes
    ----------
    state : array, pair of arrays or None
        A copy of what `step` carries: h [num_layers, B, H], for the LSTM (h, c). None before the
        first step.

    Raises
    ------
    ValueError, TypeError
        An argument has a wrong type, dtype, rank, shape or value; the message names it.

    Examples
    --------
    >>> import numpy as np, fastrnn
    >>> rng = np.random.default_rng(0)
    >>> shapes = {"weight_ih_l0": (12, 2), "weight_hh_l0": (12, 3)}
    >>> weights = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    >>> stream = fastrnn.Recurrent("lstm", weights)
    >>> stream.step(np.zeros((1, 2), np.float32)).shape
    (1, 3)
    """

    def __init__(
        self,
        cell: str,
        weights: Mapping[str, Floating],
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = False,
    ) -> None:
        if not isinstance(cell, str) or cell not in _stack.GATES:
            names = ", ".join(f'"{name}"' for name in _stack.GATES)
            raise ValueError(f"cell: expected one of {names}, got {cell!r}")
        self._cell = cell
        self._num_layers = num_layers
        self._bidirectional = bidirectional
        self._batch_first = _check.flag("batch_first", batch_first)
        self.update(weights)

    def update(self, weights: Mapping[str, Floating]) -> None:
        """Take a new snapshot of the weights; the carried state is kept unless sizes change."""
        state = self.state if hasattr(self, "_packed") else None
        stack = _stack.parse_weights(self._cell, weights, self._num_layers, self._bidirectional)
        plan = _stack.make_plan(stack, 1, 1)
        self._packed = core.pack_weights(plan, stack.arrays)
        self._stack = stack._replace(arrays=[])
        self._stepper = core.Stepper(self._packed) if stack.num_directions == 1 else None
        # Found once: to look them up takes as long as a small step's product.
        self._run = core.Inference(self._packed, self._batch_first).run
        self._step = self._stepper.step if self._stepper else None
        if state is not None:
            h = state[0] if isinstance(state, tuple) else state
            if h.dtype == stack.dtype and h.shape == stack.state_shape(h.shape[1]):
                self.reset(state)

    @property
    def state(self) -> Array | State | None:
        """A copy of what `step` carries: h [num_layers, B, H], for the LSTM (h, c).

        None before the first step.
        """
        return None if self._stepper is None else self._stepper.state

    @property
    def nbytes(self) -> int:
        """The bytes of the packed weights."""
        return self._packed.nbytes

    def reset(self, state: Array | State | None = None) -> None:
        """Set what `step` carries: h [num_layers, B, H], for the LSTM (h, c); None for zeros."""
        stepper, h, c = self._one_direction("reset"), None, None
        if state is not None:
            first = state[0] if isinstance(state, tuple | list) and state else state
            batch = first.shape[1] if isinstance(first, np.ndarray) and first.ndim == 3 else 0
            h, c = _stack.parse_state(state, self._stack, batch, unbatched=False)
        stepper.reset(h, c)

    def __call__(
        self, x: Floating | Rows, state: Array | State | None = None, lengths: Lengths | None = None
    ) -> tuple[Array, Array | State]:
        """Run over whole sequences; the carried state is neither used nor changed.

        Parameters
        ----------
        x : array, [T, B, I] ([B, T, I] if ``batch_first``) or [T, I]; or `functional.Rows`
        state : array or pair of arrays, optional
            Initial h, for the LSTM (h, c), each [num_layers * D, B, H].
        lengths : array of integers, [B], optional
            As in `fastrnn.functional.lstm_forward`.

        Returns
        -------
        output : array, [T, B, D * H]
        state : array or pair of arrays
            Final h, for the LSTM (h, c).
        """
        if lengths is None:
            try:
                return self._run(x, state)
            except (TypeError, ValueError):
                pass  # what the core does not read as it is, or says too little of
        stack = self._stack
        sequence, index, unbatched = _stack.parse_input(x, stack, self._batch_first)
        steps, batch = sequence.shape[:2] if index is None else index.shape
        valid = _stack.parse_lengths(lengths, steps, batch, unbatched)
        h0, c0 = _stack.parse_state(state, stack, batch, unbatched)
        row_first = self._batch_first and not unbatched
        output = _stack.empty_sequence(steps, batch, stack.output_size, stack.dtype, row_first)
        hn = np.empty(stack.state_shape(batch), stack.dtype)
        cn = np.empty_like(hn) if stack.has_cell_state else None
        plan = _stack.make_plan(stack, steps, batch, valid)
        core.recurrent_forward(plan, sequence, self._packed, h0, c0, output, hn, cn, None, index)
        if unbatched:
            hn = hn[:, 0]
            cn = None if cn is None else cn[:, 0]
        output = _stack.as_given(output, unbatched, row_first)
        return output, hn if cn is None else (hn, cn)

    def step(self, x: Floating) -> Array:
        """Run one time step from the carried state, and carry the new one.

        Parameters
        ----------
        x : array, [B, I]

        Returns
        -------
        array, [B, H]
            h_t of the last layer.
        """
        step = self._step or self._one_direction("step").step
        h: Array
        try:
            h = step(x)
        except (TypeError, ValueError):
            # The core reads x in place; another layout of the last axis is copied first. Of what is
            # no array it does not say what came.
            array = _stack.typed("x", x, self._stack.dtype)
            readable = _stack.readable(array)
            if readable is array:
                raise
            h = step(readable)
        return h

    def _one_direction(self, method: str) -> core.Stepper:
        if self._stepper is None:
            raise ValueError(
                f"{method}: expected one direction; the reverse one needs whole sequences"
            )
        return self._stepper
