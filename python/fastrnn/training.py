"""The training loop, and the passes over data that evaluate and predict."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Sequence, Sized
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn import _check, progress
from fastrnn._typing import Floating
from fastrnn.callbacks import Callback, History, Logs, tell
from fastrnn.data import ArrayBatches

if TYPE_CHECKING:
    from fastrnn.model import Sequential

Batches = Iterable[tuple[Any, Any]]


def fit(
    model: Sequential,
    batches: Batches,
    *,
    epochs: int,
    initial_epoch: int,
    validation: Batches | None,
    callbacks: Sequence[Callback],
    verbose: int | str,
) -> History:
    """Train ``model``: see `Sequential.fit`."""
    history = History()
    every: list[Callback] = [history, *callbacks, *progress.for_verbosity(verbose)]
    for callback in every:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: expected Callback objects, got {callback!r}")
    tell(every, "set_model", model)
    tell(every, "set_params", {"epochs": epochs, "steps": _length(batches), "verbose": verbose})
    model.stop_training = False
    with _CtrlC() as ctrl_c:
        tell(every, "on_train_begin")
        try:
            for epoch in range(initial_epoch, epochs):
                tell(every, "on_epoch_begin", epoch)
                logs = _train_epoch(model, batches, every, ctrl_c)
                if logs is None:
                    if not ctrl_c.pressed:
                        raise ValueError(
                            f"x: no batches in epoch {epoch + 1}; a generator serves one only, "
                            "give a list or an object that can be iterated again"
                        )
                    break
                if validation is not None:
                    figures = evaluate(model, validation, every)
                    logs.update({f"val_{name}": value for name, value in figures.items()})
                tell(every, "on_epoch_end", epoch, logs)
                if model.stop_training or ctrl_c.pressed:
                    break
        finally:
            tell(every, "on_train_end")
    history.interrupted = ctrl_c.pressed
    return history


def _train_epoch(
    model: Sequential, batches: Batches, callbacks: Sequence[Callback], ctrl_c: _CtrlC
) -> Logs | None:
    """Train on each batch once; return the epoch's figures, None if there was no batch."""
    averages = _Averages(model)
    # A state carried over from the end of the data does not belong to its beginning.
    model.reset_states()
    try:
        for number, (x, y) in enumerate(batches):
            tell(callbacks, "on_train_batch_begin", number)
            loss, y_pred = train_step(model, x, y)
            averages.update(loss, y, y_pred)
            tell(callbacks, "on_train_batch_end", number, {"loss": loss})
            if model.stop_training or ctrl_c.pressed:
                break
    except KeyboardInterrupt:
        if ctrl_c.pressed:
            raise
        ctrl_c.pressed = True
    return averages.result()


def evaluate(model: Sequential, batches: Batches, callbacks: Sequence[Callback] = ()) -> Logs:
    """Return the figures over ``batches``; a state carried by training is left as it was."""
    tell(callbacks, "on_test_begin")
    averages = _Averages(model)
    states = model.get_states()
    model.reset_states()
    try:
        for x, y in batches:
            loss, y_pred = test_step(model, x, y)
            averages.update(loss, y, y_pred)
    finally:
        model.set_states(states)
    logs = averages.result()
    if logs is None:
        raise ValueError("x: expected at least one batch, got none")
    tell(callbacks, "on_test_end", logs)
    return logs


def predict(model: Sequential, x: Any, batch_size: int) -> Floating:
    """Return the outputs for all rows of ``x``."""
    rows = np.asarray(x)
    batches = ArrayBatches(rows, rows, _check.positive_int("batch_size", batch_size))
    return np.concatenate([model(batch) for batch, _ in batches])


def train_step(model: Sequential, x: Any, y: Any) -> tuple[float, Floating | None]:
    """Take one step on one batch; return its loss and, where there are metrics, the output."""
    if model.optimizer is None:
        raise RuntimeError("the model has no optimizer yet: call compile() first")
    loss, y_pred, dy = _loss(model, x, y, training=True)
    assert dy is not None
    model.backward(dy)
    parameters, gradients = {}, {}
    for layer in model.layers:
        if layer.trainable:
            for name, parameter in layer.parameters.items():
                parameters[f"{layer.name}.{name}"] = parameter
                gradients[f"{layer.name}.{name}"] = layer.gradients[name]
    model.optimizer.apply(parameters, gradients)
    return loss, y_pred


def test_step(model: Sequential, x: Any, y: Any) -> tuple[float, Floating | None]:
    """Return one batch's loss and, where there are metrics, the output."""
    loss, y_pred, _ = _loss(model, x, y, training=False)
    return loss, y_pred


def _loss(
    model: Sequential, x: Any, y: Any, *, training: bool
) -> tuple[float, Floating | None, Floating | None]:
    """Return (loss, output if there are metrics, gradient if training)."""
    if model.loss is None:
        raise RuntimeError("the model has no loss yet: call compile() first")
    if not _is_fused(model):
        output = model(x, training=training)
        loss, gradient = model.loss.value_and_gradient(y, output, need_gradient=training)
        return loss, output if model.metrics else None, gradient
    logits = model.logits(x, training=training)
    loss, gradient = model.loss.on_logits(y, logits, need_gradient=training)
    return loss, model.activate(logits) if model.metrics else None, gradient


def _is_fused(model: Sequential) -> bool:
    """Whether the loss works on the logits of the model's last layer."""
    loss = model.loss
    return loss is not None and not loss.from_logits and model.ends_in(loss.activation)


class _Averages:
    """The loss, averaged over all elements, and the metrics of one pass."""

    def __init__(self, model: Sequential) -> None:
        self._metrics = model.metrics
        self._total, self._count = 0.0, 0
        for metric in self._metrics:
            metric.reset_state()

    def update(self, loss: float, y: Any, y_pred: Floating | None) -> None:
        # A batch counts by its elements: the last one may be smaller.
        count = int(np.size(y))
        self._total += loss * count
        self._count += count
        if y_pred is not None:
            for metric in self._metrics:
                metric.update_state(y, y_pred)

    def result(self) -> Logs | None:
        if self._count == 0:
            return None
        figures = {metric.name: metric.result() for metric in self._metrics}
        return {"loss": self._total / self._count, **figures}


class _CtrlC:
    """The first Ctrl-C lets the batch end, so that no update is cut in half; a second one raises.

    Only where Python's own handler is in place and in the main thread, the only one that can set
    another.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._installed = False

    def __enter__(self) -> _CtrlC:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


def _length(batches: Batches) -> int | None:
    return len(batches) if isinstance(batches, Sized) else None
