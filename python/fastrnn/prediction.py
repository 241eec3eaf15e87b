"""The pass over data that predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn._typing import Array, Floating
from fastrnn.callbacks import Callback, tell
from fastrnn.data import (
    ArrayBatches,
    Batch,
    RaggedBatches,
    as_batch,
    as_ragged,
)

if TYPE_CHECKING:
    from fastrnn.trainer import Trainer


def predict(
    model: Trainer,
    x: Any,
    batch_size: int,
    callbacks: Sequence[Callback] = (),
    steps: int | None = None,
) -> Any:
    """Return the outputs for all rows of ``x``: see `Trainer.predict`."""
    tell(callbacks, "set_model", model)
    tell(callbacks, "on_predict_begin", {})
    if isinstance(x, np.ndarray | list | tuple):
        sequences = as_ragged("x", x)
        if sequences is not None:
            outputs = _for_sequences(model, sequences, batch_size, callbacks)
        else:
            rows = ArrayBatches(x, np.zeros(len(x)), batch_size)
            outputs = np.concatenate(_for_batches(model, ((x,) for x, _ in rows), callbacks))
    else:
        given = islice(x, steps)
        answers = _for_batches(model, map(_as_inputs, given), callbacks)
        if not answers:
            raise ValueError("x: expected at least one batch, got none")
        outputs = _joined(answers)
    tell(callbacks, "on_predict_end", {})
    return outputs


def predict_on_batch(model: Trainer, given: Any) -> Floating:
    """Return the output for one batch, a `Batch` or a tuple."""
    batch = as_batch(given)
    if batch.reset is not None:
        model.reset_states(batch.reset.tolist())
    return model(batch.x, mask=batch.mask)


def _for_batches(
    model: Trainer, batches: Iterator[Any], callbacks: Sequence[Callback]
) -> list[Floating]:
    answers = []
    for number, batch in enumerate(batches):
        tell(callbacks, "on_predict_batch_begin", number, {})
        answers.append(predict_on_batch(model, batch))
        tell(callbacks, "on_predict_batch_end", number, {})
    return answers


def _joined(answers: list[Floating]) -> Floating:
    """Return the outputs of all batches as one array."""
    shapes = list(dict.fromkeys(answer.shape[1:] for answer in answers))
    if len(shapes) > 1:
        raise ValueError(
            f"x: expected batches whose rows have outputs of one shape, got {shapes[0]} and "
            f"{shapes[1]}; give the sequences as one list, or each batch to predict_on_batch()"
        )
    return np.concatenate(answers)


def _for_sequences(
    model: Trainer, sequences: list[Array], batch_size: int, callbacks: Sequence[Callback]
) -> Any:
    """Return an array [N, ...], or a list of arrays [T_i, ...] where each step has an output."""
    data = RaggedBatches(sequences, np.zeros(len(sequences)), batch_size, "by length")
    batches = (Batch(batch.x, mask=batch.mask) for batch in data)
    outputs: list[Any] = [None] * len(sequences)
    of_steps = False
    for rows, answer in zip(data.rows(), _for_batches(model, batches, callbacks), strict=True):
        longest = int(data.lengths[rows].max())
        of_steps = answer.ndim > 2 and answer.shape[1] == longest
        for row, output in zip(rows, answer, strict=True):
            outputs[row] = output[: data.lengths[row]] if of_steps else output
    return outputs if of_steps else np.stack(outputs)


def _as_inputs(given: Any) -> Any:
    """Return what `as_batch` takes: an array alone is x."""
    return given if isinstance(given, Batch | tuple | list) else (given,)
