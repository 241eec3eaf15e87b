"""What a model's data must lie within, checked as a whole before training changes anything."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn import _check
from fastrnn._path import walk
from fastrnn._typing import Array
from fastrnn.data import ArrayBatches, RaggedBatches
from fastrnn.layers.activation import Activation
from fastrnn.layers.base import Layer
from fastrnn.layers.dense import Dense
from fastrnn.layers.dropout import Dropout
from fastrnn.layers.embedding import Embedding
from fastrnn.layers.time_distributed import TimeDistributed
from fastrnn.losses import SparseCategoricalCrossentropy
from fastrnn.losses.regression import RowLoss

if TYPE_CHECKING:
    from fastrnn.trainer import Trainer


def check_ranges(
    model: Trainer,
    data: Any,
    names: tuple[str, str] = ("x", "y"),
    uncounted: Collection[int] = (),
) -> None:
    """Raise ValueError where ids or targets lie outside of what the model has.

    What cannot be known yet is left to the batches: data that comes in batches, targets of steps
    that may be masked.

    Parameters
    ----------
    names : (str, str)
        What ``x`` and ``y`` are called in the message.
    uncounted : collection of int
        Labels that do not count, whatever they are.
    """
    if not isinstance(data, ArrayBatches | RaggedBatches) or not model.layers:
        return
    if isinstance(model.layers[0], Embedding):
        _check_ids(names[0], _joined(data.x), model.layers[0])
    loss, of_steps = model.loss, isinstance(data.y, list) or data.y[0].size > 1
    if of_steps and any(layer.finds_mask for layer in walk(model.layers)):
        return
    if isinstance(loss, SparseCategoricalCrossentropy):
        classes = _width(model.layers)
        labels = _counting(_joined(data.y), data.sample_weight)
        if classes is not None and labels is not None:
            ignored = [*uncounted, *([] if loss.ignore_class is None else [loss.ignore_class])]
            _check_labels(names[1], labels[~np.isin(labels, ignored)], classes)
    elif isinstance(loss, RowLoss) and data.sample_weight is None and not uncounted:
        loss.check_targets(_joined(data.y), None)


def _check_ids(name: str, ids: Array, layer: Embedding) -> None:
    ids = _check.whole_numbers(name, ids) if ids.dtype.kind != "b" else ids
    wrong = ids[(ids < 0) | (ids >= layer.input_dim)]
    if wrong.size:
        raise ValueError(
            f"{name}: expected ids in 0 .. {layer.input_dim - 1} (input_dim={layer.input_dim} of "
            f"layer {layer.name!r}), got {wrong[0]}"
        )


def _check_labels(name: str, labels: Array, classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ValueError(f"{name}: expected labels in 0 .. {classes - 1}, got {wrong[0]:g}")


def _joined(rows: list[Array] | Array) -> Array:
    return np.concatenate(rows) if isinstance(rows, list) else rows


def _counting(labels: Array, weights: list[Array] | Array | None) -> Array | None:
    """Return the labels that do not weigh 0, None where that is not known."""
    if weights is None:
        return labels
    weights = _joined(weights)
    if weights.size != labels.size:
        if weights.shape[:1] != labels.shape[:1] or weights.size != len(weights):
            return None
        weights = weights.reshape(-1, *(1,) * (labels.ndim - 1))
        counting = np.broadcast_to(weights, labels.shape) != 0
    else:
        counting = weights.reshape(labels.shape) != 0
    counted: Array = labels[counting]
    return counted


def _width(layers: list[Layer]) -> int | None:
    """Return how many classes a model that ends in a `Dense` layer has."""
    for layer in reversed(layers):
        if isinstance(layer, TimeDistributed):
            layer = layer.layer
        if not isinstance(layer, Activation | Dropout):
            return layer.units if isinstance(layer, Dense) else None
    return None
