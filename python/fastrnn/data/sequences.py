"""Lists of sequences of different lengths, and how they become an array with a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastrnn._typing import Array


def as_sequences(name: str, value: Any) -> list[Array] | None:
    """Return the sequences [T_i, ...] of a list, None if it is no list of sequences.

    Raises
    ------
    TypeError, ValueError
        If one is empty or consists of no numbers, or their steps are of different shapes.
    """
    is_object = isinstance(value, np.ndarray) and value.dtype == object
    if not is_object and not isinstance(value, list | tuple):
        return None
    if not all(isinstance(row, list | tuple) or np.ndim(row) > 0 for row in value):
        return None
    rows = [_as_sequence(f"{name}[{i}]", row) for i, row in enumerate(value)]
    shapes = {row.shape[1:] for row in rows}
    if len(shapes) > 1:
        raise ValueError(f"{name}: expected steps of one shape, got {sorted(shapes)}")
    return rows


def as_ragged(name: str, value: Any) -> list[Array] | None:
    """Return the sequences of a list, None if it is no such list or all are of one length."""
    rows = as_sequences(name, value)
    return None if rows is None or len({len(row) for row in rows}) < 2 else rows


def as_steps(name: str, value: Any, x: Sequence[Array]) -> list[Array] | None:
    """Return what goes with each step of the sequences ``x``, None if it goes with each sequence.

    Raises
    ------
    ValueError
        If the lengths are different ones.
    """
    rows = as_sequences(name, value)
    if rows is None or len(rows) != len(x):
        return None
    for i, (row, sequence) in enumerate(zip(rows, x, strict=True)):
        if len(row) != len(sequence):
            if len({len(row) for row in rows}) == 1:
                return None  # as many numbers for each sequence, e.g. one-hot
            raise ValueError(
                f"{name}[{i}]: expected {len(sequence)} steps, as x[{i}] has, got {len(row)}"
            )
    return rows


def pad(sequences: Sequence[Array]) -> tuple[Array, Array | None]:
    """Return the sequences as one array, zeros at their ends, and its mask (None: no zeros)."""
    lengths = np.array([len(sequence) for sequence in sequences])
    steps = int(lengths.max())
    dtype = np.result_type(*{sequence.dtype for sequence in sequences})
    padded = np.zeros((len(sequences), steps, *sequences[0].shape[1:]), dtype)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    if (lengths == steps).all():
        return padded, None
    return padded, np.arange(steps) < lengths[:, None]


def _as_sequence(name: str, row: Any) -> Array:
    try:
        sequence = np.asarray(row)
    except ValueError:
        raise ValueError(f"{name}: expected steps of one shape, got ragged ones") from None
    if sequence.ndim == 0 or len(sequence) == 0:
        raise ValueError(f"{name}: expected at least one step, got an empty sequence")
    if sequence.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected numbers, got {sequence.dtype}")
    return sequence
