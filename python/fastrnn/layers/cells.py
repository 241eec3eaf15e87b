"""RNN, LSTM and GRU: what each cell's layer has of its own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastrnn import _check, initializers, ops
from fastrnn._typing import Array, Floating
from fastrnn.layers.recurrent import RecurrentLayer
from fastrnn.layers.states import States

# Of an LSTM and a GRU, as Keras names them; they have no others.
_ACTIVATIONS = {"activation": "tanh", "recurrent_activation": "sigmoid"}


class RNN(RecurrentLayer):
    """Elman network: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1}), or relu (Elman 1990).

    See `RecurrentLayer` for the parameters; ``activation`` is "tanh" or "relu".
    """

    gates = 1

    def __init__(
        self, units: int, activation: Literal["tanh", "relu"] = "tanh", **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        _expect("activation", activation, "tanh", "relu")
        self.activation: Literal["tanh", "relu"] = activation

    def _run(
        self, x: Floating | ops.Rows, states: States | None, **options: Any
    ) -> tuple[Any, States, Any]:
        h0 = None if states is None else states[0]
        output, h, cache = ops.rnn_forward(
            x, self.parameters, h0, nonlinearity=self.activation, **options
        )
        return output, (h,), cache

    def _run_backward(
        self,
        cache: Any,
        doutput: Floating | None,
        dstates: States | None,
        need_dx: bool,
        need_dweights: bool,
    ) -> tuple[Floating | None, States, dict[str, Floating]]:
        dh = None if dstates is None else dstates[0]
        dx, dh0, gradients = ops.rnn_backward(
            cache, doutput, dh, need_dx=need_dx, need_dweights=need_dweights
        )
        return dx, (dh0,), gradients

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "activation": self.activation}


class SimpleRNN(RNN):
    """Keras's name for `RNN`."""


class LSTM(RecurrentLayer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(...), g = tanh(...); c_t = f * c_{t-1} + i * g; h_t = o * tanh(c_t). See
    `RecurrentLayer` for the parameters; ``unit_forget_bias`` starts the forget gate's bias at 1
    (Jozefowicz et al. 2015). ``chrono_steps``, the longest dependency that is expected, starts it
    at log U(1, chrono_steps - 1) instead, and the input gate's at minus that (Tallec and Ollivier
    2018). Gates are in the order i, f, g, o, which is Keras's i, f, c, o.
    """

    gates = 4
    state_count = 2

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        *,
        unit_forget_bias: bool = True,
        chrono_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.chrono_steps = _chrono_steps(self, chrono_steps)
        _expect("activation", activation, _ACTIVATIONS["activation"])
        _expect("recurrent_activation", recurrent_activation, _ACTIVATIONS["recurrent_activation"])
        self.unit_forget_bias = _check.flag("unit_forget_bias", unit_forget_bias)

    def _initial_biases(self, rng: np.random.Generator) -> dict[str, Array]:
        if self.chrono_steps is not None:
            bias = super()._initial_biases(rng)["bias_ih"].reshape(self.gates, self.units)
            bias[1] = initializers.Chrono(self.chrono_steps)((self.units,), rng)
            bias[0] = -bias[1]
            return {"bias_ih": bias.reshape(-1)}
        if not self.unit_forget_bias:
            return super()._initial_biases(rng)
        # As Keras does: the initializer fills the gates around the forget gate's ones.
        around = [
            initializers.draw("bias_initializer", self.bias_initializer, (size,), rng)
            for size in (self.units, 2 * self.units)
        ]
        return {"bias_ih": np.concatenate([around[0], np.ones(self.units), around[1]])}

    def _run(
        self, x: Floating | ops.Rows, states: States | None, **options: Any
    ) -> tuple[Any, States, Any]:
        state = None if states is None else (states[0], states[1])
        output, state, cache = ops.lstm_forward(x, self.parameters, state, **options)
        return output, state, cache

    def _run_backward(
        self,
        cache: Any,
        doutput: Floating | None,
        dstates: States | None,
        need_dx: bool,
        need_dweights: bool,
    ) -> tuple[Floating | None, States, dict[str, Floating]]:
        dstate = None if dstates is None else (dstates[0], dstates[1])
        return ops.lstm_backward(
            cache, doutput, dstate, need_dx=need_dx, need_dweights=need_dweights
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"unit_forget_bias": self.unit_forget_bias, "chrono_steps": self.chrono_steps}
        return {**super().get_config(), **_ACTIVATIONS, **own}


class GRU(RecurrentLayer):
    """Gated recurrent unit (Cho et al. 2014), reset after the product as in Keras and PyTorch.

    r, z = sigmoid(...); n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn)); h_t = (1 - z) * n +
    z * h_{t-1}. See `RecurrentLayer` for the parameters; ``chrono_steps``, the longest dependency
    that is expected, starts the bias of z at log U(1, chrono_steps - 1) (Tallec and Ollivier 2018).
    Gates are in the order r, z, n; Keras has z, r, n.
    """

    gates = 3
    biases = ("bias_ih", "bias_hh")

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        *,
        reset_after: bool = True,
        chrono_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **kwargs)
        self.chrono_steps = _chrono_steps(self, chrono_steps)
        _expect("activation", activation, _ACTIVATIONS["activation"])
        _expect("recurrent_activation", recurrent_activation, _ACTIVATIONS["recurrent_activation"])
        if not reset_after:
            raise ValueError(
                "reset_after: not supported, expected True (Keras's and PyTorch's GRU), got "
                f"{reset_after!r}"
            )

    def _initial_biases(self, rng: np.random.Generator) -> dict[str, Array]:
        biases = super()._initial_biases(rng)
        if self.chrono_steps is not None:
            z = slice(self.units, 2 * self.units)
            biases["bias_ih"][z] = initializers.Chrono(self.chrono_steps)((self.units,), rng)
            biases["bias_hh"][z] = 0
        return biases

    def _run(
        self, x: Floating | ops.Rows, states: States | None, **options: Any
    ) -> tuple[Any, States, Any]:
        h0 = None if states is None else states[0]
        output, h, cache = ops.gru_forward(x, self.parameters, h0, **options)
        return output, (h,), cache

    def _run_backward(
        self,
        cache: Any,
        doutput: Floating | None,
        dstates: States | None,
        need_dx: bool,
        need_dweights: bool,
    ) -> tuple[Floating | None, States, dict[str, Floating]]:
        dh = None if dstates is None else dstates[0]
        dx, dh0, gradients = ops.gru_backward(
            cache, doutput, dh, need_dx=need_dx, need_dweights=need_dweights
        )
        return dx, (dh0,), gradients

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"reset_after": True, "chrono_steps": self.chrono_steps}
        return {**super().get_config(), **_ACTIVATIONS, **own}


def _chrono_steps(layer: RecurrentLayer, steps: int | None) -> int | None:
    if steps is None:
        return None
    if not layer.use_bias:
        raise ValueError("chrono_steps: needs use_bias=True")
    if (number := _check.positive_int("chrono_steps", steps)) < 3:
        raise ValueError(f"chrono_steps: expected 3 or more, got {number}")
    return number


def _expect(name: str, value: Any, *names: str) -> None:
    """Refuse an activation that the fused cell does not have."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(
            f"{name}: this cell has {' or '.join(map(repr, names))} alone, got {value!r}"
        )
