"""Batches of sequences of different lengths, which are padded as little as can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np

from fastrnn import _check, random
from fastrnn._typing import Array, Integers
from fastrnn.data.batch import Batch, RowBatches, as_array, check_rows, finite
from fastrnn.data.sequences import as_sequences, as_steps, pad

Order = Literal["shuffled", "by length", "as given"]

# Sequences of so many batches are sorted by length together: enough that those of a batch differ
# little, few enough that each epoch has other batches.
_BATCHES_SORTED_TOGETHER = 50


class RaggedBatches(RowBatches):
    """Batches of sequences, each with those of about one length, padded on the right and masked.

    Parameters
    ----------
    x : sequence of N arrays [T_i] or [T_i, F]
        The sequences; none is empty.
    y : array [N, ...] or sequence of N arrays [T_i, ...]
        A target for each sequence, or one for each step.
    batch_size : int
        How many sequences a batch has.
    order : {"shuffled", "by length", "as given"}
        "shuffled": a new order in each iteration; sequences of about one length share a batch, and
        the batches come in any order. "by length" pads least.
    sample_weight : array [N] or sequence of N arrays [T_i], optional
        What each sequence, or each step of it, counts.

    Raises
    ------
    TypeError, ValueError
        If the numbers or the lengths of sequences do not match, a sequence is empty or of no
        numbers, ``batch_size`` is no whole number of at least 1, or ``order`` another one.
    """

    def __init__(
        self,
        x: Sequence[Any],
        y: Any,
        batch_size: int = 32,
        order: Order = "shuffled",
        sample_weight: Any = None,
    ) -> None:
        sequences = as_sequences("x", x)
        if sequences is None:
            raise TypeError("x: expected a list of sequences")
        self.x = [finite(f"x[{i}]", sequence) for i, sequence in enumerate(sequences)]
        self.y = self._for_each("y", y)
        self.sample_weight: list[Array] | Array | None = None
        if sample_weight is not None:
            self.sample_weight = self._for_each("sample_weight", sample_weight)
        check_rows(self.x, y=self.y, sample_weight=self.sample_weight)
        self.lengths = np.array([len(sequence) for sequence in self.x])
        self.batch_size = _check.positive_int("batch_size", batch_size)
        _check.choice("order", order, get_args(Order))
        self.order = order

    def _for_each(self, name: str, value: Any) -> list[Array] | Array:
        steps = as_steps(name, value, self.x)
        return as_array(name, value) if steps is None else steps

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.rows():
            x, mask = pad([self.x[row] for row in rows])
            yield Batch(x, _chosen(self.y, rows), _chosen(self.sample_weight, rows), mask)

    def rows(self) -> list[Integers]:
        """Return the rows of each batch, in a new order if they are shuffled."""
        count, size = len(self.x), self.batch_size
        if self.order == "as given":
            return _cut(np.arange(count), size)
        if self.order == "by length":
            return _cut(np.argsort(self.lengths, kind="stable"), size)
        rng = random.generator()
        batches: list[Integers] = []
        for pool in _cut(rng.permutation(count), size * _BATCHES_SORTED_TOGETHER):
            batches += _cut(pool[np.argsort(self.lengths[pool], kind="stable")], size)
        return [batches[i] for i in rng.permutation(len(batches))]

    def split(
        self, fraction: float, batch_size: int | None = None
    ) -> tuple[RaggedBatches, RaggedBatches]:
        """Return batches of the first sequences, and of a ``fraction`` of them from the end.

        ``batch_size`` is that of the second ones, by default the same.

        Raises
        ------
        ValueError
            If either would have no sequences.
        """
        first, second = self.parts(fraction, batch_size)
        return RaggedBatches(**first, order=self.order), RaggedBatches(**second, order="by length")


def _cut(rows: Integers, size: int) -> list[Integers]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _chosen(values: list[Array] | Array | None, rows: Integers) -> Array | None:
    """Return some rows of an array, or some sequences, padded."""
    if isinstance(values, list):
        return pad([values[row] for row in rows])[0]
    return None if values is None else np.asarray(values[rows])
