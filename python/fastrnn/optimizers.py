"""Optimisers: they change a model's parameters in place, from its gradients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastrnn import _check, ops
from fastrnn._typing import Array, Floating


class Optimizer:
    """What `SGD` and `Adam` share.

    Parameters
    ----------
    learning_rate : float
        May be set again at any time.
    clipnorm : float, optional
        Each gradient is scaled down to this norm where it is longer.
    global_clipnorm : float, optional
        All gradients are scaled down together where their joint norm is greater (Pascanu et al.
        2013).

    Attributes
    ----------
    iterations : int
        How many steps were taken.
    """

    slots: tuple[str, ...] = ()
    """The names of what is remembered for each parameter."""

    def __init__(
        self,
        learning_rate: float,
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        if clipnorm is not None and global_clipnorm is not None:
            raise ValueError("clipnorm, global_clipnorm: expected one of them, got both")
        self.learning_rate = _check.real("learning_rate", learning_rate, minimum=0.0)
        self.clipnorm = None if clipnorm is None else _check.real("clipnorm", clipnorm, 0.0)
        self.global_clipnorm = (
            None
            if global_clipnorm is None
            else _check.real("global_clipnorm", global_clipnorm, 0.0)
        )
        self.iterations = 0
        self._state: dict[str, dict[str, Floating]] = {slot: {} for slot in self.slots}

    def apply(self, parameters: Mapping[str, Floating], gradients: Mapping[str, Array]) -> None:
        """Take one step; both mappings have the same names."""
        self.iterations += 1
        for slot in self._state.values():
            for name, parameter in parameters.items():
                if name not in slot:
                    slot[name] = np.zeros_like(parameter)
        # The core updates arrays of one type in one call.
        groups: dict[np.dtype[np.floating], list[str]] = {}
        for name, parameter in parameters.items():
            groups.setdefault(parameter.dtype, []).append(name)
        if self.clipnorm is not None:
            for name in parameters:
                norm = ops.global_norm([gradients[name]])
                self._update([name], parameters, gradients, _clip(norm, self.clipnorm))
            return
        scale = 1.0
        if self.global_clipnorm is not None:
            norms = [
                ops.global_norm([gradients[name] for name in names]) for names in groups.values()
            ]
            scale = _clip(float(np.hypot.reduce(norms)), self.global_clipnorm)
        for names in groups.values():
            self._update(names, parameters, gradients, scale)

    def _update(
        self,
        names: list[str],
        parameters: Mapping[str, Floating],
        gradients: Mapping[str, Array],
        grad_scale: float,
    ) -> None:
        raise NotImplementedError(f"{type(self).__name__}._update")

    def state_dict(self) -> dict[str, Array]:
        """Return what the next step depends on besides the constructor's arguments."""
        state: dict[str, Array] = {"iterations": np.array(self.iterations, np.int64)}
        for slot, arrays in self._state.items():
            state.update({f"{slot}/{name}": array.copy() for name, array in arrays.items()})
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from where `state_dict` was taken."""
        slots: dict[str, dict[str, Floating]] = {slot: {} for slot in self.slots}
        for key, array in state.items():
            slot, slash, name = key.partition("/")
            if slash and slot in slots:
                slots[slot][name] = np.array(array)
            elif key != "iterations":
                raise ValueError(f"state: {type(self).__name__} has no {key!r}")
        if "iterations" not in state:
            raise ValueError("state: 'iterations' is missing")
        self.iterations, self._state = int(state["iterations"]), slots


class SGD(Optimizer):
    """Gradient descent, with momentum: v = momentum * v - lr * g, p += v.

    With ``nesterov`` p += momentum * v - lr * g (Sutskever et al. 2013).
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        self.momentum = _check.fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        self.slots = ("velocity",) if self.momentum else ()
        super().__init__(learning_rate, clipnorm=clipnorm, global_clipnorm=global_clipnorm)

    def _update(
        self,
        names: list[str],
        parameters: Mapping[str, Floating],
        gradients: Mapping[str, Array],
        grad_scale: float,
    ) -> None:
        ops.sgd(
            [parameters[name] for name in names],
            [gradients[name] for name in names],
            [self._state["velocity"][name] for name in names] if self.slots else [],
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            grad_scale=grad_scale,
        )


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014), with Keras's defaults."""

    slots = ("first", "second")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, clipnorm=clipnorm, global_clipnorm=global_clipnorm)
        self.beta_1 = _check.fraction("beta_1", beta_1)
        self.beta_2 = _check.fraction("beta_2", beta_2)
        self.epsilon = _check.real("epsilon", epsilon, minimum=0.0)

    def _update(
        self,
        names: list[str],
        parameters: Mapping[str, Floating],
        gradients: Mapping[str, Array],
        grad_scale: float,
    ) -> None:
        ops.adam(
            [parameters[name] for name in names],
            [gradients[name] for name in names],
            [self._state["first"][name] for name in names],
            [self._state["second"][name] for name in names],
            step=self.iterations,
            learning_rate=self.learning_rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            grad_scale=grad_scale,
        )


def _clip(norm: float, limit: float) -> float:
    return limit / norm if norm > limit else 1.0


_NAMES: dict[str, type[SGD] | type[Adam]] = {"adam": Adam, "sgd": SGD}


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return a new optimiser of that name, or ``optimizer`` itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in _NAMES:
        return _NAMES[optimizer.lower()]()
    raise ValueError(
        f"optimizer: expected an Optimizer or one of {sorted(_NAMES)}, got {optimizer!r}"
    )
