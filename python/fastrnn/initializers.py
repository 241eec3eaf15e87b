"""Initial weights, as Keras makes them.

Shapes are Keras's, too: a kernel is [inputs, outputs], for a recurrent layer of G gates [I, G * H]
and [H, G * H], so that the same fans give the same distributions and the learning curves match.
Layers transpose into their own layout.

One's own is a subclass of `Initializer` (which can be saved) or any function of (shape, rng).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, ClassVar, TypeAlias

import numpy as np

from fastrnn import _check
from fastrnn._names import named
from fastrnn._registry import Registry, name_in_files
from fastrnn._typing import Array

__all__ = [
    "Chrono",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
    "to_config",
]

Function: TypeAlias = Callable[[tuple[int, ...], np.random.Generator], Array]


class Initializer:
    """The base of all initializers, and of one's own, which overrides `draw`.

    Its constructor's arguments must be its attributes of the same names.
    """

    classes: ClassVar[Registry[Initializer]] = Registry("initializer")
    arguments: ClassVar[tuple[str, ...]] = ()
    """The constructor's arguments: what `get_config` returns."""
    seed: int | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Initializer.classes.add(cls)

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return an array of this shape; with a ``seed`` of its own the same every time."""
        return self.draw(shape, rng if self.seed is None else np.random.default_rng(self.seed))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return an array of this shape, all randomness from ``rng``."""
        raise NotImplementedError(f"{type(self).__name__}.draw")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {name: getattr(self, name) for name in self.arguments}


class Zeros(Initializer):
    """All 0."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return zeros."""
        return np.zeros(shape)


class Ones(Initializer):
    """All 1."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return ones."""
        return np.ones(shape)


class Constant(Initializer):
    """All ``value``."""

    arguments = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = _check.real("value", value)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the constant."""
        return np.full(shape, self.value)


class Identity(Initializer):
    """``gain`` times the identity matrix (recurrent relu networks: Le et al. 2015)."""

    arguments = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _check.real("gain", gain)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the matrix."""
        if len(shape) != 2:
            raise ValueError(f"Identity: expected two dimensions, got shape {shape}")
        return self.gain * np.eye(*shape)


class RandomNormal(Initializer):
    """Normal with this mean and standard deviation.

    Parameters
    ----------
    mean, stddev : float
    seed : int, optional
        Draw the same numbers at every call, apart from the one source of random numbers.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, or ``stddev`` or ``seed`` is below 0.
    """

    arguments = ("mean", "stddev", "seed")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = _check.real("mean", mean)
        self.stddev = _check.real("stddev", stddev, minimum=0.0)
        self.seed = _seed(seed)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the draw."""
        return rng.normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """`RandomNormal` with what lies beyond two standard deviations drawn again.

    Its parameters are those of `RandomNormal`, ``mean`` and ``stddev`` of what was drawn first.
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the draw."""
        return self.mean + self.stddev * _within_two(shape, rng)


class RandomUniform(Initializer):
    """Uniform in ``minval .. maxval``.

    Parameters
    ----------
    minval, maxval : float
    seed : int, optional
        Draw the same numbers at every call, apart from the one source of random numbers.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number, ``maxval`` is below ``minval``, or ``seed`` below 0.
    """

    arguments = ("minval", "maxval", "seed")

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = _check.real("minval", minval)
        self.maxval = _check.real("maxval", maxval, minimum=self.minval)
        self.seed = _seed(seed)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the draw."""
        return rng.uniform(self.minval, self.maxval, shape)


class Chrono(Initializer):
    """log U(1, steps - 1), the bias of a gate that keeps a state (Tallec and Ollivier 2018).

    A gate of bias b keeps for some exp(b) steps, so the units cover all durations up to ``steps``.
    """

    arguments = ("steps", "seed")

    def __init__(self, steps: int, seed: int | None = None) -> None:
        self.steps = _check.positive_int("steps", steps)
        if self.steps < 3:
            raise ValueError(f"steps: expected 3 or more, got {self.steps}")
        self.seed = _seed(seed)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the biases."""
        return np.log(rng.uniform(1.0, self.steps - 1.0, shape))


class VarianceScaling(Initializer):
    """Zero mean and the variance scale / n, n the number of inputs, outputs, or their mean.

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
        What n is.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int, optional
        Draw the same numbers at every call, apart from the one source of random numbers.
    """

    arguments: ClassVar[tuple[str, ...]] = ("scale", "mode", "distribution", "seed")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale = _check.real("scale", scale, minimum=0.0)
        self.mode = _check.choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.distribution = _check.choice(
            "distribution", distribution, ("truncated_normal", "untruncated_normal", "uniform")
        )
        self.seed = _seed(seed)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the draw."""
        fan_in, fan_out = (shape[0], shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0, math.sqrt(variance), shape)
        # The standard deviation of what is left of a standard normal within two of its own.
        return _within_two(shape, rng) * (math.sqrt(variance) / 0.87962566103423978)


class _Named(VarianceScaling):
    """A `VarianceScaling` that has a name of its own."""

    arguments = ("seed",)
    rule: ClassVar[tuple[float, str, str]]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.rule, seed=seed)


class GlorotUniform(_Named):
    """Uniform within +-sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010)."""

    rule = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """Truncated normal of the variance 2 / (inputs + outputs) (Glorot and Bengio 2010)."""

    rule = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Named):
    """Uniform within +-sqrt(6 / inputs) (He et al. 2015)."""

    rule = (2.0, "fan_in", "uniform")


class HeNormal(_Named):
    """Truncated normal of the variance 2 / inputs (He et al. 2015)."""

    rule = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform within +-sqrt(3 / inputs) (LeCun et al. 1998)."""

    rule = (1.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal of the variance 1 / inputs (LeCun et al. 1998)."""

    rule = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """``gain`` times a matrix whose shorter side is orthonormal (Saxe et al. 2013).

    For the recurrent weights of G gates it is drawn over the whole [H, G * H], as in Keras.
    """

    arguments = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = _check.real("gain", gain)
        self.seed = _seed(seed)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return the draw."""
        if len(shape) != 2:
            raise ValueError(f"Orthogonal: expected two dimensions, got shape {shape}")
        q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
        # QR leaves the columns' signs to the algorithm; tying them to r makes the draw uniform.
        q = q * np.sign(np.diag(r))
        return np.asarray(self.gain * (q if shape[0] >= shape[1] else q.T))


def _seed(seed: int | None) -> int | None:
    return None if seed is None else _check.integer("seed", seed, minimum=0)


def _within_two(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from the standard normal distribution within +-2."""
    values = rng.standard_normal(math.prod(shape))
    while len(outside := np.flatnonzero(np.abs(values) > 2)):
        values[outside] = rng.standard_normal(len(outside))
    return values.reshape(shape)


_NAMES: dict[str, type[Initializer]] = {
    "glorot_normal": GlorotNormal,
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "identity": Identity,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
    "normal": RandomNormal,
    "one": Ones,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "zero": Zeros,
    "zeros": Zeros,
}


def get(name: str, initializer: Any) -> Function:
    """Return the initializer of that name or configuration, or ``initializer`` itself.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    initializer : str, Initializer, function, or dict of `to_config`
    """
    kind = named(initializer, _NAMES)
    if kind is not None:
        return kind()
    if isinstance(initializer, dict) and "class" in initializer:
        return Initializer.classes[initializer["class"]](**initializer.get("config", {}))
    if callable(initializer) and not isinstance(initializer, type):
        function: Function = initializer
        return function
    raise ValueError(
        f"{name}: expected an Initializer, a function of (shape, rng) or one of "
        f"{sorted(_NAMES)}, got {initializer!r}"
    )


def to_config(name: str, initializer: Function) -> dict[str, Any]:
    """Return what `get` makes it from again, as JSON can hold it."""
    if not isinstance(initializer, Initializer):
        raise TypeError(
            f"{name}: a function cannot be saved; make it a subclass of Initializer: "
            f"{initializer!r}"
        )
    return {"class": name_in_files(type(initializer)), "config": initializer.get_config()}


_left: ContextVar[int | None] = ContextVar("_left", default=None)


@contextlib.contextmanager
def at_most(count: int) -> Iterator[None]:
    """Let `draw` refuse more than this many numbers in all: what is said to be so large is not."""
    token = _left.set(count)
    try:
        yield
    finally:
        _left.reset(token)


def draw(
    name: str, initializer: Function, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """Return the initial value of a parameter in Keras's shape, checked."""
    left = _left.get()
    if left is not None:
        left -= math.prod(shape)
        if left < 0:
            raise ValueError(f"{name}: an array of shape {shape} is more than there is")
        _left.set(left)
    value = np.asarray(initializer(shape, rng))
    if value.shape != shape:
        raise ValueError(f"{name}: expected an array of shape {shape}, got {value.shape}")
    return value
