"""Batches that continue each other: truncated backpropagation through long sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastrnn import _check
from fastrnn._typing import Array
from fastrnn.data.batch import Batch, as_array
from fastrnn.data.sequences import as_sequences


class ContinuousBatches:
    """One long sequence in batches that continue each other: see `continuous_batches`."""

    def __init__(self, ids: Any, batch_size: int, steps: int) -> None:
        ids = as_array("ids", ids)
        if ids.ndim != 1:
            raise ValueError(f"ids: expected one dimension, got shape {ids.shape}")
        self.batch_size = _check.positive_int("batch_size", batch_size)
        self.steps = _check.positive_int("steps", steps)
        self.length = length = (len(ids) - 1) // self.batch_size
        if length < 1:
            raise ValueError(
                f"ids: expected at least {self.batch_size + 1} for {self.batch_size} rows, "
                f"got {len(ids)}"
            )
        self.x = ids[: length * self.batch_size].reshape(self.batch_size, length)
        self.y = ids[1 : length * self.batch_size + 1].reshape(self.batch_size, length)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.length // self.steps)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, self.length, self.steps):
            columns = slice(start, start + self.steps)
            yield self.x[:, columns], self.y[:, columns]


class ContinuousSequences:
    """Many sequences in batches that continue each other: see `continuous_batches`."""

    def __init__(self, sequences: Sequence[Any], batch_size: int, steps: int) -> None:
        rows = as_sequences("ids", sequences)
        if not rows:
            raise ValueError("ids: expected at least one sequence, got none")
        for i, row in enumerate(rows):
            if row.ndim != 1 or len(row) < 2:
                raise ValueError(
                    f"ids[{i}]: expected one dimension and at least 2 ids, got shape {row.shape}"
                )
        kinds = {row.dtype.kind for row in rows}
        if len(kinds) > 1:
            types = sorted({row.dtype.name for row in rows})
            raise TypeError(f"ids: expected sequences of one type, got {' and '.join(types)}")
        self.sequences = rows
        self._dtype = np.result_type(*{row.dtype for row in rows})
        self.batch_size = _check.positive_int("batch_size", batch_size)
        self.steps = _check.positive_int("steps", steps)

    def __iter__(self) -> Iterator[Batch]:
        waiting = iter(self.sequences)
        left: list[Array] = [np.empty(0, self._dtype)] * self.batch_size
        while True:
            # What is read ends one before the last id, which is only predicted.
            reset = [b for b, ids in enumerate(left) if len(ids) < 2]
            for b in reset:
                left[b] = next(waiting, left[b][:0])
            lengths = np.array([min(self.steps, max(len(ids) - 1, 0)) for ids in left])
            steps = int(lengths.max())
            if steps == 0:
                return
            x, y = (np.zeros((self.batch_size, steps), self._dtype) for _ in range(2))
            for b, (ids, length) in enumerate(zip(left, lengths, strict=True)):
                x[b, :length], y[b, :length] = ids[:length], ids[1 : length + 1]
                left[b] = ids[length:]
            yield Batch(x, y, mask=np.arange(steps) < lengths[:, None], reset=np.array(reset, int))


def continuous_batches(
    ids: Any, batch_size: int, steps: int
) -> ContinuousBatches | ContinuousSequences:
    """Cut one sequence into ``batch_size`` rows side by side and go along them ``steps`` at a time.

    Row b of a batch continues row b of the batch before, so that a ``stateful`` layer sees each row
    as one sequence (truncated backpropagation through time).

    Parameters
    ----------
    ids : [N], or sequence of arrays [N_i]
        The sequence, of at least ``batch_size + 1`` elements; fewer than ``batch_size`` at its end
        are left out. Of several sequences each row reads one after another to its end: the steps
        that are left in a batch are masked, and the next sequence begins with the next batch, its
        row's state reset. All are integers, or all floats.
    batch_size : int
        How many rows, B.
    steps : int
        How many steps T a batch has; the last one has what is left.

    Returns
    -------
    ContinuousBatches or ContinuousSequences
        Iterate as often as you like over (x [B, T], y [B, T]), y being what follows each x; of
        several sequences over `Batch` objects.
    """
    several = isinstance(ids, list | tuple) and len(ids) > 0 and np.ndim(ids[0]) > 0
    kind = ContinuousSequences if several else ContinuousBatches
    return kind(ids, batch_size, steps)
