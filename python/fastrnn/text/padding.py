"""Sequences of different lengths as one array."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastrnn import _check
from fastrnn._typing import Array


def pad_sequences(
    sequences: Iterable[Any],
    maxlen: int | None = None,
    dtype: npt.DTypeLike = "int32",
    padding: Literal["pre", "post"] = "pre",
    truncating: Literal["pre", "post"] = "pre",
    value: Any = 0.0,
) -> Array:
    """Return the sequences as an array [N, maxlen, ...], padded and cut; Keras's function.

    Parameters
    ----------
    sequences : iterable of sequences [T_i] or [T_i, ...]
        They may be empty.
    maxlen : int, optional
        How many steps each gets; by default as many as the longest has.
    dtype : dtype
        Of the array. ``object`` is needed for strings.
    padding : {"pre", "post"}
        Whether ``value`` is put before or after a short sequence.
    truncating : {"pre", "post"}
        Whether a long one loses its beginning or its end.
    value : number
        What is put in.

    Raises
    ------
    TypeError, ValueError
        If the sequences are no sequences, their steps are of different shapes, ``dtype`` is of
        integers and does not hold a number, or an option is unknown.
    """
    for name, option in (("padding", padding), ("truncating", truncating)):
        _check.choice(name, option, ("pre", "post"))
    if isinstance(value, str) and np.dtype(dtype) != object:
        raise ValueError(f"dtype: expected object for a value that is a string, got {dtype}")
    rows = list(sequences)
    for i, row in enumerate(rows):
        if not hasattr(row, "__len__") or isinstance(row, str):
            raise TypeError(f"sequences[{i}]: expected a sequence, got {row!r}")
    steps = max(map(len, rows), default=0)
    steps = steps if maxlen is None else _check.positive_int("maxlen", maxlen)
    shape = next((np.shape(row[:1])[1:] for row in rows if len(row)), ())
    try:
        padded = np.full((len(rows), steps, *shape), _converted(value, dtype), dtype)
    except OverflowError:
        raise ValueError(f"value: expected what {np.dtype(dtype)} holds, got {value!r}") from None
    for i, row in enumerate(rows):
        if not len(row):
            continue
        try:
            kept = _converted(row[-steps:] if truncating == "pre" else row[:steps], dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(
                f"sequences[{i}]: expected steps of one shape, of what {np.dtype(dtype)} holds "
                f"({error})"
            ) from None
        if kept.shape[1:] != shape:
            raise ValueError(
                f"sequences[{i}]: expected steps of shape {shape}, as the first ones have, got "
                f"{kept.shape[1:]}"
            )
        if padding == "pre":
            padded[i, steps - len(kept) :] = kept
        else:
            padded[i, : len(kept)] = kept
    return padded


def _converted(steps: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array; NumPy would let an integer overflow, before 2.0 one of a list too."""
    if np.dtype(dtype).kind not in "iu":
        return np.asarray(steps, dtype)
    array, limits = np.asarray(steps), np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise OverflowError(f"got {array.min()} .. {array.max()}")
    return array.astype(dtype, copy=False)
