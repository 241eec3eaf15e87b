"""The base of all optimisers: learning rate, clipping, weight decay, state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from fastrnn import _check, ops
from fastrnn._registry import Registry
from fastrnn._typing import Array, Floating
from fastrnn.optimizers.schedules import LearningRateSchedule

LearningRate: TypeAlias = float | LearningRateSchedule | Callable[[], float]


class Optimizer:
    """What all optimisers share: they change a model's parameters in place, from its gradients.

    One's own overrides `update`, and `slots` if it remembers something of each parameter.

    Parameters
    ----------
    learning_rate : float, LearningRateSchedule or function
        A number may be set again at any time. A function without arguments is asked at each step;
        it cannot be saved.
    weight_decay : float, optional
        Before each step p -= learning_rate * weight_decay * p (Loshchilov and Hutter 2019).
    clipnorm : float, optional
        Each gradient is scaled down to this norm where it is longer.
    clipvalue : float, optional
        Each number of a gradient is kept within +-clipvalue.
    global_clipnorm : float, optional
        All gradients are scaled down together where their joint norm is greater (Pascanu et al.
        2013). At most one of the three can be given.
    name : str, optional
        For one's own use; the class's in lower case where it is missing.

    Attributes
    ----------
    iterations : int
        How many steps were taken.
    """

    classes: ClassVar[Registry[Optimizer]] = Registry("optimizer")
    """Every optimiser class by its name: what a saved model's optimiser is made from."""

    slots: tuple[str, ...] = ()
    """The names of what is remembered for each parameter; zeros at first."""

    takes_rows: ClassVar[bool] = False
    """Whether `update` takes an `ops.RowGradient`; a class that overrides it gets arrays unless it
    says so."""

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        limits = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [name for name, limit in limits.items() if limit is not None]
        if len(given) > 1:
            raise ValueError(f"{', '.join(given)}: expected at most one of them")
        self._learning_rate = self._checked_rate(learning_rate)
        self.weight_decay = _optional("weight_decay", weight_decay)
        self.clipnorm = _optional("clipnorm", clipnorm)
        self.clipvalue = _optional("clipvalue", clipvalue)
        self.global_clipnorm = _optional("global_clipnorm", global_clipnorm)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name: expected a string, got {name!r}")
        self.name = type(self).__name__.lower() if name is None else name
        self.iterations = 0
        self._undecayed: tuple[re.Pattern[str], ...] = ()
        self._state: dict[str, dict[str, Floating]] = {slot: {} for slot in self.slots}
        self._model: object | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Optimizer.classes.add(cls)
        if "update" in cls.__dict__ and "takes_rows" not in cls.__dict__:
            cls.takes_rows = False

    # ---- to override -----------------------------------------------------------------------------

    def update(
        self,
        params: list[Floating],
        grads: list[Any],
        state: dict[str, list[Floating]],
        *,
        learning_rate: float,
        weight_decay: float,
        grad_scale: float,
        clip: ops.Clip,
    ) -> None:
        """Take one step on arrays of one type, in place.

        Parameters
        ----------
        params, grads : list of array
            The parameters and their gradients, which are to be multiplied by ``grad_scale`` and
            then clipped.
        state : dict of str to list of array
            For each of the `slots` an array for each parameter.
        """
        raise NotImplementedError(f"{type(self).__name__}.update")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments and what weight decay spares, as JSON can hold it."""
        rate = self._learning_rate
        patterns = [pattern.pattern for pattern in self._undecayed]
        spared = {"exclude_from_weight_decay": patterns} if patterns else {}
        if callable(rate) and not isinstance(rate, LearningRateSchedule):
            raise ValueError(
                "learning_rate: a function cannot be saved; make it a LearningRateSchedule class"
            )
        return {
            "learning_rate": rate.describe() if isinstance(rate, LearningRateSchedule) else rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "name": self.name,
            **spared,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """Make the optimiser that `get_config` describes."""
        arguments = dict(config)
        undecayed = arguments.pop("exclude_from_weight_decay", ())
        rate = arguments.get("learning_rate")
        if isinstance(rate, Mapping):
            arguments["learning_rate"] = LearningRateSchedule.from_description(rate)
        optimizer = cls(**arguments)
        optimizer.exclude_from_weight_decay(undecayed)
        return optimizer

    # ---- given -----------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            return float(rate(self.iterations))
        if callable(rate):
            return _check.real("the rate that learning_rate returned", rate(), minimum=0.0)
        return rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        value = self._checked_rate(value)
        if callable(self._learning_rate) and isinstance(value, float):
            raise TypeError(
                "learning_rate: the optimizer follows a schedule, its rate cannot be set to a "
                "number; give another schedule"
            )
        self._learning_rate = value

    @staticmethod
    def _checked_rate(value: LearningRate) -> LearningRate:
        if isinstance(value, type):
            raise TypeError(f"learning_rate: expected a number or a schedule, got {value!r}")
        if callable(value):
            return value
        return _check.real("learning_rate", value, minimum=0.0)

    def exclude_from_weight_decay(self, var_names: Iterable[str]) -> None:
        """Spare the parameters in whose names one of ``var_names`` is found, e.g. ["bias"].

        Parameters
        ----------
        var_names : iterable of str
            Regular expressions.

        Raises
        ------
        TypeError
            If it is one string, or consists of something else.
        ValueError
            If one is no regular expression.
        """
        if isinstance(var_names, str) or not isinstance(var_names, Iterable):
            raise TypeError(f"var_names: expected a list of strings, got {var_names!r}")
        self._undecayed = tuple(_pattern(name) for name in var_names)

    def bind(self, model: object) -> None:
        """Take the model whose parameters are changed; what is remembered belongs to its.

        Raises
        ------
        ValueError
            If steps were taken on another model.
        """
        if model is self._model:
            return
        if self._model is not None and self.iterations:
            raise ValueError(
                f"optimizer: expected a new one, got one that took {self.iterations} steps on "
                "another model, whose parameters' state it keeps"
            )
        self._model = model

    def apply(
        self, parameters: Mapping[str, Floating], gradients: Mapping[str, ops.Gradient]
    ) -> None:
        """Take one step; both mappings have the same names."""
        if not self.takes_rows:
            gradients = {name: np.asarray(gradient) for name, gradient in gradients.items()}
        learning_rate = self.learning_rate
        self.iterations += 1
        for slot in self._state.values():
            for name, parameter in parameters.items():
                if name not in slot:
                    slot[name] = np.zeros_like(parameter)
        groups = self._groups(parameters)
        clip, grad_scale = self._clip(), 1.0
        if clip[0] == "global_norm" and len(groups) > 1:
            norms = [ops.global_norm([gradients[name] for name in names]) for names in groups]
            grad_scale = _down_to(float(np.hypot.reduce(norms)), clip[1])
            clip = ("none", 0.0)
        for names, weight_decay in groups.items():
            self.update(
                [parameters[name] for name in names],
                [gradients[name] for name in names],
                {slot: [of[name] for name in names] for slot, of in self._state.items()},
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                grad_scale=grad_scale,
                clip=clip,
            )

    def _groups(self, parameters: Mapping[str, Floating]) -> dict[tuple[str, ...], float]:
        """Return what can be updated in one call (one type, one weight decay), and its decay."""
        groups: dict[tuple[np.dtype[np.floating[Any]], float], list[str]] = {}
        for name, parameter in parameters.items():
            spared = self._undecayed and any(word.search(name) for word in self._undecayed)
            decay = 0.0 if spared or self.weight_decay is None else self.weight_decay
            groups.setdefault((parameter.dtype, decay), []).append(name)
        return {tuple(names): decay for (_, decay), names in groups.items()}

    def _clip(self) -> ops.Clip:
        if self.clipnorm:
            return "norm", self.clipnorm
        if self.clipvalue:
            return "value", self.clipvalue
        if self.global_clipnorm:
            return "global_norm", self.global_clipnorm
        return "none", 0.0

    def state_dict(self) -> dict[str, Array]:
        """Return what the next step depends on besides the constructor's arguments."""
        state: dict[str, Array] = {"iterations": np.array(self.iterations, np.int64)}
        if not callable(self._learning_rate):
            state["learning_rate"] = np.array(self._learning_rate)
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
            elif key not in ("iterations", "learning_rate"):
                raise ValueError(f"state: {type(self).__name__} has no {key!r}")
        if "iterations" not in state:
            raise ValueError("state: 'iterations' is missing")
        self.iterations, self._state = int(state["iterations"]), slots
        if "learning_rate" in state:
            self.learning_rate = float(state["learning_rate"])


def _optional(name: str, value: float | None) -> float | None:
    return None if value is None else _check.real(name, value, minimum=0.0)


def _pattern(name: str) -> re.Pattern[str]:
    if not isinstance(name, str):
        raise TypeError(f"var_names: expected strings, got {name!r}")
    try:
        return re.compile(name)
    except re.error as error:
        raise ValueError(
            f"var_names: expected regular expressions, got {name!r} ({error})"
        ) from None


def _down_to(norm: float, limit: float) -> float:
    """Return the factor that brings ``norm`` down to ``limit``; a norm that is not finite: NaN."""
    return 1.0 if norm <= limit else limit / norm + (norm - norm)
