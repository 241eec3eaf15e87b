"""SGD, RMSprop, Adam and AdamW; their formulas are in ``cpp/kernels/optimizers.h``."""

from __future__ import annotations

from typing import Any

from fastrnn import _check, ops
from fastrnn._typing import Floating
from fastrnn.optimizers.base import LearningRate, Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum: v = momentum * v - lr * g, p += v.

    With ``nesterov`` p += momentum * v - lr * g (Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        See `Optimizer`.
    momentum : float
        In [0, 1]: how much of the last step the next one keeps.
    nesterov : bool
        Whether the gradient counts as if the momentum's step had been taken.
    """

    takes_rows = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.momentum = _check.real("momentum", momentum, minimum=0.0)
        if self.momentum > 1:
            raise ValueError(f"momentum: expected a number in [0, 1], got {momentum!r}")
        self.nesterov = _check.flag("nesterov", nesterov)
        self.slots = ("momentum",) if self.momentum else ()
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name
        )

    def update(
        self,
        params: list[Floating],
        grads: list[ops.Gradient],
        state: dict[str, list[Floating]],
        **options: Any,
    ) -> None:
        """Take one step, in place."""
        velocities = state.get("momentum", [])
        ops.sgd(
            params, grads, velocities, momentum=self.momentum, nesterov=self.nesterov, **options
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class RMSprop(Optimizer):
    """s = rho * s + (1 - rho) * g^2, p -= lr * g / sqrt(s + epsilon) (Hinton 2012).

    Parameters
    ----------
    learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        See `Optimizer`.
    rho : float
        In [0, 1): how slowly the running mean s of the squared gradients moves.
    momentum : float
        Above 0 the steps are summed: v = momentum * v + step, p -= v.
    epsilon : float
        Keeps the divisor away from 0.
    centered : bool
        Subtract the square of the gradients' running mean from s (Graves 2013).
    """

    takes_rows = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.rho = _check.fraction("rho", rho)
        self.momentum = _check.real("momentum", momentum, minimum=0.0)
        self.epsilon = _check.real("epsilon", epsilon, minimum=0.0)
        self.centered = _check.flag("centered", centered)
        self.slots = (
            "velocity",
            *(["average_gradient"] if self.centered else []),
            *(["momentum"] if self.momentum else []),
        )
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name
        )

    def update(
        self,
        params: list[Floating],
        grads: list[ops.Gradient],
        state: dict[str, list[Floating]],
        **options: Any,
    ) -> None:
        """Take one step, in place."""
        ops.rmsprop(
            params,
            grads,
            state["velocity"],
            state.get("average_gradient", []),
            state.get("momentum", []),
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014): steps of the gradient's mean, divided by the root of its square's.

    m = beta_1 * m + (1 - beta_1) * g, v = beta_2 * v + (1 - beta_2) * g^2, and after t steps
    p -= lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        See `Optimizer`.
    beta_1, beta_2 : float
        In [0, 1): how slowly the running means of the gradient, m, and of its square, v, move: over
        about 1 / (1 - beta) steps.
    epsilon : float
        Keeps the divisor away from 0. It stands where Keras has it: beside the root of the
        uncorrected v.
    amsgrad : bool
        Divide by the greatest v so far (Reddi et al. 2018).
    """

    takes_rows = True

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.beta_1 = _check.fraction("beta_1", beta_1)
        self.beta_2 = _check.fraction("beta_2", beta_2)
        self.epsilon = _check.real("epsilon", epsilon, minimum=0.0)
        self.amsgrad = _check.flag("amsgrad", amsgrad)
        self.slots = ("momentum", "velocity", *(["velocity_hat"] if self.amsgrad else []))
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name=name
        )

    def update(
        self,
        params: list[Floating],
        grads: list[ops.Gradient],
        state: dict[str, list[Floating]],
        **options: Any,
    ) -> None:
        """Take one step, in place."""
        ops.adam(
            params,
            grads,
            state["momentum"],
            state["velocity"],
            state.get("velocity_hat", []),
            step=self.iterations,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """`Adam` with a weight decay unless told otherwise (Loshchilov and Hutter 2019).

    Parameters
    ----------
    weight_decay : float
        Before each step p -= learning_rate * weight_decay * p.
    learning_rate, beta_1, beta_2, epsilon, amsgrad, clipnorm, clipvalue, global_clipnorm, name
        See `Adam`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        weight_decay = _check.real("weight_decay", weight_decay, minimum=0.0)
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            name=name,
        )
