"""Learning rates that change from step to step, as Keras defines them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastrnn import _check
from fastrnn._registry import Registry, name_in_files


class LearningRateSchedule:
    """The base of all schedules, and of one's own: a function of the number of steps taken.

    One's own overrides `__call__`, and `get_config` to be saved with a model.
    """

    classes: ClassVar[Registry[LearningRateSchedule]] = Registry("schedule")
    """Every schedule class by its name: what a saved optimiser's is made from."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        LearningRateSchedule.classes.add(cls)

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps; 0 for the first."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them: by default the attributes."""
        return dict(vars(self))

    def describe(self) -> dict[str, Any]:
        """Return class and configuration, for `from_description`."""
        return {"class": name_in_files(type(self)), "config": self.get_config()}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> LearningRateSchedule:
        """Make the schedule that `describe` described."""
        return LearningRateSchedule.classes[description["class"]](**description["config"])


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate^(step / decay_steps); ``staircase``: in whole powers."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.decay_rate = _rate("decay_rate", decay_rate)
        self.staircase = _check.flag("staircase", staircase)

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        done = step / self.decay_steps
        exponent = math.floor(done) if self.staircase else done
        return self.initial_learning_rate * self.decay_rate**exponent


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); ``staircase``: floored."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.decay_rate = _rate("decay_rate", decay_rate)
        self.staircase = _check.flag("staircase", staircase)

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        done = step / self.decay_steps
        done = math.floor(done) if self.staircase else done
        return self.initial_learning_rate / (1.0 + self.decay_rate * done)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] up to and with step boundaries[i], values[-1] beyond the last boundary."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                f"values: expected {len(boundaries) + 1}, one more than boundaries, "
                f"got {len(values)}"
            )
        self.boundaries = [_check.real("boundaries", b, minimum=0.0) for b in boundaries]
        if sorted(self.boundaries) != self.boundaries:
            raise ValueError(f"boundaries: expected them in order, got {list(boundaries)}")
        self.values = [_rate("values", value) for value in values]

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        return self.values[bisect_left(self.boundaries, step)]


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) * (1 - step / decay_steps)^power + end; ``end`` after ``decay_steps``.

    With ``cycle`` the whole is stretched to the next multiple of ``decay_steps`` instead.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.end_learning_rate = _rate("end_learning_rate", end_learning_rate)
        self.power = _check.real("power", power, minimum=0.0)
        self.cycle = _check.flag("cycle", cycle)

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        cycles = max(1, math.ceil(step / self.decay_steps)) if self.cycle else 1
        length = self.decay_steps * cycles
        left = 1.0 - min(step, length) / length
        end = self.end_learning_rate
        return (self.initial_learning_rate - end) * math.pow(left, self.power) + end


class CosineDecay(LearningRateSchedule):
    """Half a cosine down to alpha times the highest rate, after a linear warm-up if wanted.

    Loshchilov and Hutter 2017, without restarts.

    Parameters
    ----------
    initial_learning_rate : float
        The rate at first.
    decay_steps : int
        How long the decay takes.
    alpha : float
        The last rate, as a fraction.
    warmup_target : float, optional
        The rate to rise to in the first ``warmup_steps`` steps, and to decay from.
    warmup_steps : int
        How long the warm-up takes.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _steps("decay_steps", decay_steps)
        self.alpha = _check.real("alpha", alpha, minimum=0.0)
        self.warmup_target = (
            None if warmup_target is None else _rate("warmup_target", warmup_target)
        )
        self.warmup_steps = _check.real("warmup_steps", warmup_steps, minimum=0.0)

    def __call__(self, step: int) -> float:
        """Return the learning rate after ``step`` steps."""
        top, done = self.initial_learning_rate, float(step)
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            top, done = self.warmup_target, step - self.warmup_steps
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(done / self.decay_steps, 1.0)))
        return top * ((1.0 - self.alpha) * cosine + self.alpha)


def _rate(name: str, value: float) -> float:
    return _check.real(name, value, minimum=0.0)


def _steps(name: str, value: float) -> float:
    steps = _check.real(name, value)
    if steps <= 0:
        raise ValueError(f"{name}: expected more than 0, got {value!r}")
    return steps
