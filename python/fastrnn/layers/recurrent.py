"""RNN, LSTM and GRU layers with Keras's words, over the functional operations."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fastrnn import _check, initializers, ops, random
from fastrnn._typing import Array, Floating, Shape
from fastrnn.layers.base import Layer, last_size

States = tuple[Floating, ...]
"""(h,) or, for the LSTM, (h, c); each [num_layers * directions, B, units]."""


class RecurrentLayer(Layer):
    """What `RNN`, `LSTM` and `GRU` share.

    Parameters
    ----------
    units : int
        The hidden size H.
    return_sequences : bool
        Return every step's output [B, T, H] instead of the last one [B, H].
    return_state : bool
        A call returns ``(output, h)``, for an LSTM ``(output, h, c)``: the state after the last
        step, [B, H], or [num_layers, B, H] for a stack. Only for a layer that is called directly: a
        model passes one array on.
    stateful : bool
        Begin each batch with the state that the last one ended with (row by row) until
        `reset_states`. Gradients do not cross from batch to batch: truncated backpropagation.
    num_layers : int
        How many such layers are stacked; faster than that many layers apart.
    stack_dropout : float
        Dropout between the layers of the stack, not after the last (PyTorch's ``dropout=``).

    Notes
    -----
    Parameters carry PyTorch's names and layout: ``weight_ih_l0`` [G*H, I], ``weight_hh_l0`` [G*H,
    H], ``bias_ih_l0`` [G*H], and for the GRU ``bias_hh_l0``. The others hold one bias, as in Keras.
    At first: Glorot uniform, orthogonal over [G*H, H], zeros, and ones for the LSTM's forget gate
    unless ``unit_forget_bias=False``.
    """

    gates: ClassVar[int]
    biases: ClassVar[tuple[str, ...]] = ("bias_ih",)

    def __init__(
        self,
        units: int,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        stateful: bool = False,
        num_layers: int = 1,
        stack_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _check.positive_int("units", units)
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.stateful = bool(stateful)
        self.num_layers = _check.positive_int("num_layers", num_layers)
        self.stack_dropout = _check.fraction("stack_dropout", stack_dropout)
        self.directions = 1
        self._states: States | None = None
        self._cache: Any = None
        self._batch = 0

    # ---- what a cell differs in ------------------------------------------------------------------

    def _run(self, x: Floating, states: States | None, **options: Any) -> tuple[Any, States, Any]:
        raise NotImplementedError

    def _run_backward(
        self, doutput: Floating | None, dh: Floating | None, need_dx: bool
    ) -> tuple[Floating | None, dict[str, Floating]]:
        raise NotImplementedError

    def _initial_bias(self, name: str) -> Array:
        return np.zeros(self.gates * self.units)

    # ---- the layer -------------------------------------------------------------------------------

    def build(self, input_shape: Shape, rng: np.random.Generator) -> None:
        """Create the parameters."""
        rows, size = self.gates * self.units, last_size(self, input_shape, ndim=3)
        for layer in range(self.num_layers):
            for suffix in (f"l{layer}", f"l{layer}_reverse")[: self.directions]:
                self.add_parameter(
                    f"weight_ih_{suffix}", initializers.glorot_uniform(rng, rows, size)
                )
                self.add_parameter(
                    f"weight_hh_{suffix}", initializers.orthogonal(rng, rows, self.units)
                )
                for bias in self.biases:
                    self.add_parameter(f"{bias}_{suffix}", self._initial_bias(bias))
            size = self.directions * self.units

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape."""
        size = self.directions * self.units
        return (*input_shape[:2], size) if self.return_sequences else (input_shape[0], size)

    def __call__(self, x: Any, *, training: bool = False) -> Any:
        """Return the output, with ``return_state`` a tuple of it and the state."""
        output = super().__call__(x, training=training)
        if not self.return_state:
            return output
        states = self.need(self._states)
        return (output, *(state[0] if len(state) == 1 else state for state in states))

    def forward(self, x: Array, *, training: bool = False) -> Floating:
        """Return [B, T, directions * H] or, without ``return_sequences``, [B, directions * H]."""
        x = self.to_floating("x", x, ndim=3)
        states = self._states if self.stateful else None
        if states is not None and states[0].shape[1] != x.shape[0]:
            raise ValueError(
                f"layer {self.name!r} carries the state of a batch of {states[0].shape[1]}, got a "
                f"batch of {x.shape[0]}: call reset_states() first"
            )
        drops = training and self.stack_dropout > 0 and self.num_layers > 1
        output, states, cache = self._run(
            x,
            states,
            num_layers=self.num_layers,
            bidirectional=self.directions == 2,
            batch_first=True,
            dropout=self.stack_dropout,
            seed=random.next_seed() if drops else None,
            training=training,
        )
        if training:
            self._cache, self._batch = cache, x.shape[0]
        if self.stateful or self.return_state:
            self._states = states
        return np.asarray(output) if self.return_sequences else self._last(states[0])

    def backward(self, dy: Array, *, need_dx: bool = True) -> Floating | None:
        """Set the gradients of the last training `forward` and return dx [B, T, I]."""
        self.need(self._cache)
        dy = self.to_floating("dy", dy)
        if self.return_sequences:
            dx, gradients = self._run_backward(dy, None, need_dx)
        else:
            dx, gradients = self._run_backward(None, self._last_backward(dy), need_dx)
        self._cache = None
        self.gradients = {name: gradients[name] for name in self.parameters}
        return dx

    def _last(self, h: Floating) -> Floating:
        """Return the last layer's final h, both directions side by side: [B, directions * H]."""
        return h[-1] if self.directions == 1 else np.concatenate(h[-2:], axis=-1)

    def _last_backward(self, dy: Floating) -> Floating:
        size = (self.num_layers * self.directions, self._batch, self.units)
        if dy.shape != (self._batch, self.directions * self.units):
            raise ValueError(
                f"dy of layer {self.name!r}: expected shape "
                f"({self._batch}, {self.directions * self.units}), got {dy.shape}"
            )
        dh = np.zeros(size, self.dtype)
        for direction in range(self.directions):
            columns = slice(direction * self.units, (direction + 1) * self.units)
            dh[direction - self.directions] = dy[:, columns]
        return dh

    def reset_states(self) -> None:
        """Begin the next batch with a state of zeros."""
        self._states = None

    def get_states(self) -> States | None:
        """Return the state that the next batch begins with; None stands for zeros."""
        return self._states

    def set_states(self, states: States | None) -> None:
        """Begin the next batch with ``states``, as `get_states` returns them."""
        self._states = states

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "stateful": self.stateful,
            "num_layers": self.num_layers,
            "stack_dropout": self.stack_dropout,
        }


class RNN(RecurrentLayer):
    """Elman network: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1}), or relu (Elman 1990).

    See `RecurrentLayer` for the parameters; ``activation`` is "tanh" or "relu".
    """

    gates = 1

    def __init__(
        self, units: int, activation: Literal["tanh", "relu"] = "tanh", **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        if activation not in ("tanh", "relu"):
            raise ValueError(f"activation: expected 'tanh' or 'relu', got {activation!r}")
        self.activation: Literal["tanh", "relu"] = activation

    def _run(self, x: Floating, states: States | None, **options: Any) -> tuple[Any, States, Any]:
        h0 = None if states is None else states[0]
        output, h, cache = ops.rnn_forward(
            x, self.parameters, h0, nonlinearity=self.activation, **options
        )
        return output, (h,), cache

    def _run_backward(
        self, doutput: Floating | None, dh: Floating | None, need_dx: bool
    ) -> tuple[Floating | None, dict[str, Floating]]:
        dx, _, gradients = ops.rnn_backward(self._cache, doutput, dh, need_dx=need_dx)
        return dx, gradients

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "activation": self.activation}


class SimpleRNN(RNN):
    """Keras's name for `RNN`."""


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(...), g = tanh(...); c_t = f * c_{t-1} + i * g; h_t = o * tanh(c_t). See
    `RecurrentLayer` for the parameters; ``unit_forget_bias`` starts the forget gate's bias at 1
    (Jozefowicz et al. 2015).
    """

    gates = 4

    def __init__(self, units: int, *, unit_forget_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.unit_forget_bias = bool(unit_forget_bias)

    def _initial_bias(self, name: str) -> Array:
        bias = super()._initial_bias(name)
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias

    def _run(self, x: Floating, states: States | None, **options: Any) -> tuple[Any, States, Any]:
        state = None if states is None else (states[0], states[1])
        output, state, cache = ops.lstm_forward(x, self.parameters, state, **options)
        return output, state, cache

    def _run_backward(
        self, doutput: Floating | None, dh: Floating | None, need_dx: bool
    ) -> tuple[Floating | None, dict[str, Floating]]:
        dstate = None if dh is None else (dh, None)
        dx, _, gradients = ops.lstm_backward(self._cache, doutput, dstate, need_dx=need_dx)
        return dx, gradients

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014), reset after the product as in Keras and PyTorch.

    r, z = sigmoid(...); n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn)); h_t = (1 - z) * n +
    z * h_{t-1}. See `RecurrentLayer` for the parameters.
    """

    gates = 3
    biases = ("bias_ih", "bias_hh")

    def _run(self, x: Floating, states: States | None, **options: Any) -> tuple[Any, States, Any]:
        h0 = None if states is None else states[0]
        output, h, cache = ops.gru_forward(x, self.parameters, h0, **options)
        return output, (h,), cache

    def _run_backward(
        self, doutput: Floating | None, dh: Floating | None, need_dx: bool
    ) -> tuple[Floating | None, dict[str, Floating]]:
        dx, _, gradients = ops.gru_backward(self._cache, doutput, dh, need_dx=need_dx)
        return dx, gradients
