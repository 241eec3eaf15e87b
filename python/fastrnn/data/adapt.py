"""What `fit`, `evaluate` and `predict` are given, as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from fastrnn._check import whole_numbers
from fastrnn.data.arrays import ArrayBatches
from fastrnn.data.batch import Batch, as_array, check_rows, finite
from fastrnn.data.ragged import Order, RaggedBatches
from fastrnn.data.sequences import as_ragged, as_steps, pad

Batches: TypeAlias = Iterable[Any]
"""Of tuples (x, y) or (x, y, sample_weight), or of `Batch` objects."""


def as_batches(
    x: Any, y: Any, batch_size: int, *, sample_weight: Any = None, shuffle: bool = False
) -> Batches:
    """Return batches of arrays or sequences x and y, or ``x`` itself where it is batches.

    Sequences of different lengths share batches by length: see `RaggedBatches`.
    """
    if y is None:
        if sample_weight is not None:
            raise ValueError("sample_weight: goes with arrays x and y; batches have their own")
        if hasattr(x, "__array__"):
            raise TypeError("y: expected the targets that go with the array x, got None")
        return as_iterable("x", x)
    sequences = as_ragged("x", x)
    if sequences is None:
        return ArrayBatches(x, y, batch_size, shuffle, sample_weight)
    order: Order = "shuffled" if shuffle else "by length"
    return RaggedBatches(sequences, y, batch_size, order, sample_weight)


def as_rows(x: Any) -> Any:
    """Return ``x`` if it is rows: a list, or an array, which a tensor or table is made; else None.

    What is left is batches.
    """
    if isinstance(x, list | tuple):
        return x
    if not hasattr(x, "__array__"):
        return None
    rows = np.asarray(x)
    if rows.ndim == 0:
        raise ValueError(f"x: expected an array of rows, got {x!r}")
    return rows


def as_iterable(name: str, batches: Any) -> Batches:
    """Return batches as something that can be gone through.

    What has ``__len__`` and ``__getitem__`` only, as Keras's Sequence, gives the batches of
    ``range(len(batches))``. ``on_epoch_end`` is called, where it is there, after each pass.
    """
    iterable, sized = hasattr(batches, "__iter__"), hasattr(batches, "__len__")
    if not iterable and not (sized and hasattr(batches, "__getitem__")):
        raise TypeError(f"{name}: expected an array or batches, got {batches!r}")
    if iterable and not hasattr(batches, "on_epoch_end"):
        found: Batches = batches
        return found
    return _SizedPasses(batches) if sized else _Passes(batches)


def as_batch(given: Any) -> Batch:
    """Make a batch of a `Batch`, of (x, y), (x, y, sample_weight) or (x,).

    Each of them may be a list of sequences of different lengths, which are padded and masked.

    Raises
    ------
    TypeError, ValueError
        If it is something else, consists of no numbers, or has NaN or infinity in ``x`` where no
        mask is.
    """
    if not isinstance(given, Batch):
        if not isinstance(given, tuple | list) or not 1 <= len(given) <= 3:
            many = isinstance(given, tuple | list)
            raise TypeError(
                "batch: expected (x, y), (x, y, sample_weight) or a Batch, got "
                + (f"{len(given)} values" if many else type(given).__name__)
            )
        given = _padded(*given)
    x = as_array("x", given.x)
    rest = {name: getattr(given, name) for name in ("y", "sample_weight", "mask")}
    arrays = {name: None if v is None else as_array(name, v) for name, v in rest.items()}
    check_rows(x, **arrays)
    finite("x", x, arrays["mask"])
    reset = given.reset
    if reset is not None:
        reset = whole_numbers("reset", as_array("reset", reset))
    return Batch(x, reset=reset, **arrays)


class _Passes:
    """Batches that may have to be asked for by their numbers, and are told when a pass ends."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        given = self._batches
        if hasattr(given, "__iter__"):
            yield from given
        else:
            yield from (given[number] for number in range(len(given)))
        if hasattr(given, "on_epoch_end"):
            given.on_epoch_end()


class _SizedPasses(_Passes):
    def __len__(self) -> int:
        return len(self._batches)


def _padded(x: Any, y: Any = None, sample_weight: Any = None) -> Batch:
    sequences = as_ragged("x", x)
    if sequences is None:
        return Batch(x, y, sample_weight)
    padded, mask = pad(sequences)
    y, sample_weight = (
        value if steps is None else pad(steps)[0]
        for value, steps in (
            (y, as_steps("y", y, sequences)),
            (sample_weight, as_steps("sample_weight", sample_weight, sequences)),
        )
    )
    return Batch(padded, y, sample_weight, mask)
