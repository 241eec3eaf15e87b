"""Argument checks; the messages name the argument, what came and what was expected."""

import math
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from fastrnn._typing import Array, Floating, Integers

FLOATING = (np.dtype(np.float32), np.dtype(np.float64))


def floating(
    name: str, value: Any, shape: Sequence[int | None] | None = None, like: Array | None = None
) -> Floating:
    """Check that ``value`` is a float32 or float64 array and return it C-contiguous.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    shape : sequence of int or None, optional
        The expected shape; None stands for any size.
    like : array, optional
        The array whose type ``value`` must share.
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    if value.dtype not in FLOATING:
        raise TypeError(f"{name}: expected float32 or float64, got {value.dtype}")
    if like is not None and value.dtype != like.dtype:
        raise TypeError(f"{name}: expected {like.dtype}, got {value.dtype}")
    if shape is not None and not matches(value.shape, shape):
        raise ValueError(f"{name}: expected shape {spell(shape)}, got {value.shape}")
    flags = value.flags
    if flags.c_contiguous and flags.aligned:  # the usual case; np.require takes 1 us to see it
        return value
    return np.require(value, requirements=["C", "A"])


def integers(name: str, value: Any, shape: Sequence[int | None] | None = None) -> Integers:
    """Check that ``value`` is an array of integers and return it as int64, C-contiguous."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(value).__name__}")
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {value.dtype}")
    if shape is not None and not matches(value.shape, shape):
        raise ValueError(f"{name}: expected shape {spell(shape)}, got {value.shape}")
    return np.ascontiguousarray(value, dtype=np.int64)


def whole_numbers(name: str, value: Array) -> Integers:
    """Return integers, or floats without a fraction (text files have them), as int64."""
    if value.dtype.kind != "f":
        return integers(name, value)
    with np.errstate(invalid="ignore"):
        numbers = value.astype(np.int64)
    if not np.array_equal(numbers, value):
        raise ValueError(f"{name}: expected whole numbers, got {value.dtype} with fractions")
    return numbers


def matches(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether ``shape`` has the expected sizes, None standing for any."""
    return shape == expected or (
        len(shape) == len(expected)
        and all(want is None or have == want for have, want in zip(shape, expected, strict=True))
    )


def spell(shape: Sequence[int | None]) -> str:
    """Write a shape as Python does, with ``any`` for a free size."""
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def positive_int(name: str, value: SupportsIndex) -> int:
    """Check that ``value`` is a whole number of at least 1 and return it as int."""
    return integer(name, value, minimum=1)


def integer(name: str, value: SupportsIndex, minimum: int | None = None) -> int:
    """Check that ``value`` is a whole number, of at least ``minimum``, and return it as int."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {value!r}") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{name}: expected {minimum} or more, got {number}")
    return number


def flag(name: str, value: object) -> bool:
    """Check that ``value`` is a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected a bool, got {value!r}")
    return bool(value)


def fraction(name: str, value: float) -> float:
    """Check that ``value`` is a number in 0 <= value < 1 and return it as float."""
    number = real(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
    return number


def real(name: str, value: float, minimum: float | None = None) -> float:
    """Check that ``value`` is a finite number, of at least ``minimum``, and return it as float."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if not math.isfinite(number) or (minimum is not None and number < minimum):
        bound = "" if minimum is None else f" of at least {minimum:g}"
        raise ValueError(f"{name}: expected a finite number{bound}, got {value!r}")
    return number


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Check that ``value`` is one of these strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {list(choices)}, got {value!r}")
    return value
