"""What RNN, LSTM and GRU layers share: Keras's words over the functional operations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastrnn import _check, initializers, ops, random
from fastrnn._typing import Array, Floating, Integers, Shape
from fastrnn.layers.base import Layer, last_size
from fastrnn.layers.states import States, join_states, split_states
from fastrnn.ops import MemoryLimit, MemoryMode

_LOG = logging.getLogger("fastrnn")


@dataclass
class _Pass:
    """What the backward pass needs of a forward pass."""

    cache: Any
    batch: int
    mask: Array | None  # where it is not None, the output was scattered to its places
    steps: int  # that were run
    gathered: bool  # whether x was
    by_row: bool  # whether it was `ops.Rows`


class RecurrentLayer(Layer):
    """What `RNN`, `LSTM` and `GRU` share.

    Parameters
    ----------
    units : int
        The hidden size H.
    use_bias : bool
        Whether there are biases.
    kernel_initializer, recurrent_initializer, bias_initializer : str, Initializer or function
        Of the weights, called with Keras's shapes [I, G*H], [H, G*H] and [G*H] (GRU: [2, G*H]),
        the gates in the order of the class: see `fastrnn.initializers`.
    dropout : float
        Keras's: while training, one mask of the input's features for each sequence, the same at
        every step (Gal and Ghahramani 2016). For a stack it is the first layer's input; each
        direction of a `Bidirectional` layer has masks of its own.
    recurrent_dropout : 0.0
        Not supported.
    return_sequences : bool
        Return every step's output [B, T, H] instead of the last one [B, H].
    return_state : bool
        A call returns ``(output, h)``, for an LSTM ``(output, h, c)``: the state after the last
        step, [B, H], or [num_layers, B, H] for a stack. Only for a layer that is called directly: a
        model passes one array on.
    go_backwards : bool
        Run from the last step to the first; with ``return_sequences`` the output is in the order
        in which it was made, as in Keras, and so is its mask.
    stateful : bool
        Begin each batch with the state that the last one ended with (row by row) until
        `reset_states`. Gradients do not cross from batch to batch: truncated backpropagation.
    zero_output_for_mask : bool
        Whether the output at a masked step is 0, or repeats the one before, which is Keras's
        default.
    seed : int, optional
        Draws dropout's masks apart from the one source of random numbers.
    num_layers : int
        How many such layers are stacked; faster than that many layers apart.
    stack_dropout : float
        Dropout between the layers of the stack, not after the last (PyTorch's ``dropout=``).
    recompute : {"none", "gates", "checkpoint", "auto"}, optional
        What a training pass does not keep and the backward pass computes again, to the same bits:
        nothing (the default), the gates, or nearly everything, for ``return_sequences=False`` and
        stacks of one direction the outputs inside of the layer too. "auto" takes the fastest that
        keeps to ``memory_limit``.
    memory_limit : int or str, optional
        The most bytes that the layer may keep for its backward pass, such as "512MB"; given alone
        it means "auto". By default "auto" takes half of the memory that is available at the call.

    Attributes
    ----------
    recomputed : str or None
        What the last training pass ran with: "none", "gates" or "checkpoint". With "auto" a change
        is logged, too (logger ``fastrnn``, level INFO).
    initial_state_gradients : tuple of arrays or None
        Those that the last `backward` found for the state that its pass began with, in the order
        and the shapes of ``initial_state``.

    Notes
    -----
    Parameters carry PyTorch's names and layout: ``weight_ih_l0`` [G*H, I], ``weight_hh_l0`` [G*H,
    H], ``bias_ih_l0`` [G*H], and for the GRU ``bias_hh_l0``. The others hold one bias, as in Keras.
    `fastrnn.convert` has them in Keras's layout.
    """

    gates: ClassVar[int]
    state_count: ClassVar[int] = 1
    biases: ClassVar[tuple[str, ...]] = ("bias_ih",)
    uses_mask = True
    takes_rows = True
    kept_for_backward = ("_pass",)

    def __init__(
        self,
        units: int,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = True,
        seed: int | None = None,
        num_layers: int = 1,
        stack_dropout: float = 0.0,
        recompute: MemoryMode | None = None,
        memory_limit: MemoryLimit | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ops.check_memory(recompute, memory_limit)
        self.recompute = recompute
        self.memory_limit = memory_limit
        self.recomputed: str | None = None
        self.units = _check.positive_int("units", units)
        self.use_bias = _check.flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get("kernel_initializer", kernel_initializer)
        self.recurrent_initializer = initializers.get(
            "recurrent_initializer", recurrent_initializer
        )
        self.bias_initializer = initializers.get("bias_initializer", bias_initializer)
        self.dropout = _check.fraction("dropout", dropout)
        if recurrent_dropout:
            raise ValueError(
                f"recurrent_dropout: not supported, expected 0, got {recurrent_dropout!r}; "
                "dropout= and stack_dropout= are"
            )
        self.return_sequences = _check.flag("return_sequences", return_sequences)
        self.return_state = _check.flag("return_state", return_state)
        self.go_backwards = _check.flag("go_backwards", go_backwards)
        self.stateful = _check.flag("stateful", stateful)
        self.zero_output_for_mask = _check.flag("zero_output_for_mask", zero_output_for_mask)
        self.seeds = random.SeedStream(seed)
        self.num_layers = _check.positive_int("num_layers", num_layers)
        self.stack_dropout = _check.fraction("stack_dropout", stack_dropout)
        # What has places for masked steps must be told where they are.
        self.position_free = not (
            self.return_sequences and (self.go_backwards or not self.zero_output_for_mask)
        )
        self.directions = 1
        self._states: States | None = None
        self._initial: Any = None
        self.initial_state_gradients: States | None = None
        self._pass: _Pass | None = None

    # ---- what a cell differs in ------------------------------------------------------------------

    def _run(
        self, x: Floating | ops.Rows, states: States | None, **options: Any
    ) -> tuple[Any, States, Any]:
        raise NotImplementedError(f"{type(self).__name__}._run")

    def _run_backward(
        self,
        cache: Any,
        doutput: Floating | None,
        dstates: States | None,
        need_dx: bool,
        need_dweights: bool,
    ) -> tuple[Floating | None, States, dict[str, Floating]]:
        raise NotImplementedError(f"{type(self).__name__}._run_backward")

    def _initial_biases(self, rng: np.random.Generator) -> dict[str, Array]:
        """Return the initial biases of one layer and direction."""
        size = self.gates * self.units
        shape = (size,) if len(self.biases) == 1 else (len(self.biases), size)
        value = initializers.draw("bias_initializer", self.bias_initializer, shape, rng)
        return dict(zip(self.biases, value.reshape(-1, size), strict=True))

    # ---- the layer -------------------------------------------------------------------------------

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        columns, size = self.gates * self.units, last_size(self, input_shape, ndim=3)
        for layer in range(self.num_layers):
            for suffix in (f"l{layer}", f"l{layer}_reverse")[: self.directions]:
                for kind, initializer, rows in (
                    ("ih", "kernel_initializer", size),
                    ("hh", "recurrent_initializer", self.units),
                ):
                    value = initializers.draw(
                        initializer, getattr(self, initializer), (rows, columns), rng
                    )
                    self.add_parameter(f"weight_{kind}_{suffix}", value.T)
                for name, bias in (self._initial_biases(rng) if self.use_bias else {}).items():
                    self.add_parameter(f"{name}_{suffix}", bias)
            size = self.directions * self.units

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        size = self.directions * self.units
        return (*input_shape[:2], size) if self.return_sequences else (input_shape[0], size)

    def __call__(
        self, x: Any, *, mask: Any = None, training: bool = False, initial_state: Any = None
    ) -> Any:
        """Build the layer where that is still to do, and run `forward`.

        Parameters
        ----------
        x, mask, training
            As of every layer.
        initial_state : array or sequence of arrays, optional
            What ``return_state`` returns: h, for an LSTM (h, c), of a `Bidirectional` layer the
            forward direction's, then the other's; each [B, H], of a stack [num_layers, B, H].
            Zeros by default, or for a ``stateful`` layer what the last batch left.
        """
        self._initial = initial_state
        try:
            return super().__call__(x, mask=mask, training=training)
        finally:
            self._initial = None

    def run(self, x: Array, mask: Array | None, training: bool) -> Any:
        """Return the output, with ``return_state`` a tuple of it and the state."""
        output = super().run(x, mask, training)
        if not self.return_state:
            return output
        return (output, *self.final_states())

    def final_states(self) -> tuple[Floating, ...]:
        """Return the last pass's state, kept with ``return_state``: h, c; of each direction."""
        return split_states(self, self.need(self._states))

    def forward(
        self, x: Array | ops.Rows, *, mask: Array | None = None, training: bool = False
    ) -> Floating:
        """Return [B, T, directions * H] or, without ``return_sequences``, [B, directions * H]."""
        if not isinstance(x, ops.Rows) or x.ndim != 3:
            x = self.to_floating("x", np.asarray(x), ndim=3)
        elif x.dtype != self.dtype:
            x = ops.Rows(x.table.astype(self.dtype), x.index)
        states = self._begin(x.shape[0])
        if self.go_backwards:
            x, mask = x[:, ::-1], None if mask is None else mask[:, ::-1]
        x, lengths, gathered = _without_gaps(x, mask)
        steps = x.shape[1]
        drops = self.dropout > 0 or (self.stack_dropout > 0 and self.num_layers > 1)
        output, states, cache = self._run(
            x,
            states,
            num_layers=self.num_layers,
            bidirectional=self.directions == 2,
            lengths=lengths,
            batch_first=True,
            dropout=self.stack_dropout,
            input_dropout=self.dropout,
            seed=self.seeds.next() if training and drops else None,
            training=training,
            return_output=self.return_sequences,
            recompute=self.recompute,
            memory_limit=self.memory_limit,
        )
        if training:
            self._note(cache)
        if self.stateful or self.return_state:
            self._states = states
        # Past the end of sequences that begin at step 0 the core has written zeros.
        in_place = lengths is None or (not gathered and self.zero_output_for_mask)
        scattered = mask if self.return_sequences and not in_place else None
        if training:
            self._pass = _Pass(
                cache,
                x.shape[0],
                mask if gathered else scattered,
                steps,
                gathered,
                isinstance(x, ops.Rows),
            )
        if not self.return_sequences:
            return self._last(states[0])
        output = np.asarray(output)
        if scattered is None:
            return output
        return ops.scatter_steps(output, scattered, repeat=not self.zero_output_for_mask)

    def backward(self, dy: Array, *, need_dx: bool = True, dstate: Any = None) -> Floating | None:
        """Set the gradients of the last training `forward` and return dx [B, T, I].

        Where x was `ops.Rows`, dx is the gradient of their table.
        ``dstate`` is the gradient of the state that ``return_state`` returned, in its form.
        """
        last: _Pass = self.need(self._pass)
        dy = self.to_floating("dy", dy)
        doutput = dstates = None
        if dstate is not None:
            dstates = join_states(self, "dstate", dstate, last.batch)
        if not self.return_sequences:
            dstates = self._last_backward(dy, last.batch, dstates)
        elif last.mask is None:
            doutput = dy
        elif self.zero_output_for_mask:
            doutput = ops.gather_steps(dy, last.mask, last.steps)
        else:
            doutput = ops.repeat_steps_backward(dy, last.mask, last.steps)
        dx, dinitial, self.gradients = self._run_backward(
            last.cache, doutput, dstates, need_dx, self.trainable
        )
        self._pass = None
        self.initial_state_gradients = split_states(self, dinitial)
        if dx is None or last.by_row:
            return dx
        if last.gathered and last.mask is not None:
            dx = ops.scatter_steps(dx, last.mask)
        return dx[:, ::-1] if self.go_backwards else dx

    def _note(self, cache: Any) -> None:
        """Say what "auto" took, once for every change."""
        asked = self.recompute == "auto" or self.memory_limit is not None
        if asked and cache.recompute != self.recomputed:
            _LOG.info(
                "%s: recompute=%r, which keeps %d bytes", self.name, cache.recompute, cache.nbytes
            )
        self.recomputed = cache.recompute

    def compute_mask(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask of the output; None where it is the last step alone."""
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

    def _begin(self, batch: int) -> States | None:
        """Return the state that a batch of this size begins with."""
        if self._initial is not None:
            return join_states(self, "initial_state", self._initial, batch)
        states = self._states if self.stateful else None
        if states is not None and states[0].shape[1] != batch:
            raise ValueError(
                f"layer {self.name!r} carries the state of a batch of {states[0].shape[1]}, got a "
                f"batch of {batch}: choose a batch size that divides the rows, or call "
                "reset_states() first"
            )
        return states

    def _last(self, h: Floating) -> Floating:
        """Return the last layer's final h, both directions side by side: [B, directions * H]."""
        return h[-1] if self.directions == 1 else np.concatenate(h[-2:], axis=-1)

    def _last_backward(self, dy: Floating, batch: int, dstates: States | None) -> States:
        """Add dy of the last output to the gradients of the final states."""
        size = (self.num_layers * self.directions, batch, self.units)
        if dy.shape != (batch, self.directions * self.units):
            raise ValueError(
                f"dy of layer {self.name!r}: expected shape "
                f"({batch}, {self.directions * self.units}), got {dy.shape}"
            )
        if dstates is None:
            dstates = tuple(np.zeros(size, self.dtype) for _ in range(self.state_count))
        for direction in range(self.directions):
            columns = slice(direction * self.units, (direction + 1) * self.units)
            dstates[0][direction - self.directions] += dy[:, columns]
        return dstates

    def reset_states(self, rows: Sequence[int] | None = None) -> None:
        """Begin the next batch with a state of zeros, in all rows or in some.

        Parameters
        ----------
        rows : sequence of int, optional
            The rows of the batch where a new sequence begins; the others go on.
        """
        if rows is None:
            self._states = None
            return
        if np.ndim(rows) != 1:
            raise TypeError(f"rows: expected a list of ints, got {rows!r}")
        chosen = _check.integers("rows", np.asarray(rows, None if len(rows) else np.int64))
        if self._states is not None:
            batch = self._states[0].shape[1]
            if len(chosen) and not 0 <= chosen.min() <= chosen.max() < batch:
                raise ValueError(f"rows: expected 0 .. {batch - 1}, got {rows!r}")
            self._states = tuple(state.copy() for state in self._states)
            for state in self._states:
                state[:, chosen] = 0

    def get_states(self) -> States | None:
        """Return the state that the next batch begins with; None stands for zeros."""
        return self._states

    def set_states(self, states: States | None) -> None:
        """Begin the next batch with ``states``, as `get_states` returns them."""
        self._states = states

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        plain = (
            "units",
            "use_bias",
            "dropout",
            "return_sequences",
            "return_state",
            "go_backwards",
            "stateful",
            "zero_output_for_mask",
            "num_layers",
            "stack_dropout",
            "recompute",
            "memory_limit",
        )
        made = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in plain},
            **{name: initializers.to_config(name, getattr(self, name)) for name in made},
            "recurrent_dropout": 0.0,
            "seed": self.seeds.seed,
        }


def _without_gaps(
    x: Floating | ops.Rows, mask: Array | None
) -> tuple[Floating | ops.Rows, Integers | None, bool]:
    """Return the sequences from step 0 on, their lengths (None: all full), whether they moved."""
    if mask is None:
        return x, None, False
    lengths, kind = ops.count_steps(mask)
    if kind == ops.FULL:
        return x, None, False
    if kind == ops.PREFIX:
        return x, lengths, False
    return ops.gather_steps(np.asarray(x), mask, int(lengths.max(initial=1))), lengths, True
