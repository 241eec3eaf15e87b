"""The training loop, and the passes over data that evaluate and predict."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn import progress
from fastrnn._signals import CtrlC
from fastrnn._typing import Array, Floating
from fastrnn.callbacks import (
    BackupAndRestore,
    Callback,
    History,
    LearningRateScheduler,
    Logs,
    ReduceLROnPlateau,
    tell,
)
from fastrnn.callbacks.base import hook_of
from fastrnn.data import Batch, Batches, as_batch
from fastrnn.losses import LossValue, unmasked_targets

if TYPE_CHECKING:
    from fastrnn.trainer import Trainer

ClassWeight = Mapping[int, float]


@dataclass(frozen=True)
class Plan:
    """What `fit` was asked to do."""

    batches: Batches
    epochs: int
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation: Batches | None = None
    validation_steps: int | None = None
    validation_freq: int | Collection[int] = 1
    class_weight: ClassWeight | None = None
    callbacks: Sequence[Callback] = ()
    verbose: int | str = "auto"

    def validates(self, epoch: int) -> bool:
        """Whether there is a validation after this epoch."""
        if self.validation is None:
            return False
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq


def fit(model: Trainer, plan: Plan) -> History:
    """Train ``model``: see `Trainer.fit`."""
    history = model.history = History()
    every = _in_order(plan, history)
    steps = plan.steps_per_epoch or length(plan.batches)
    tell(every, "set_model", model)
    params = {"epochs": plan.epochs, "steps": steps, "verbose": plan.verbose}
    more = {"figures": _figures(model, plan), "other_figures": _adds_figures(plan.callbacks)}
    tell(every, "set_params", {**params, **more})
    model.stop_training = False
    source = _Source(model, "x", plan.batches, plan.steps_per_epoch)
    begun: list[Callback] = []
    with CtrlC() as ctrl_c:
        try:
            for callback in every:
                callback.on_train_begin({})
                begun.append(callback)
            # A training that is gone on with has its first epochs in the history already.
            first = history.epoch[-1] + 1 if history.epoch else plan.initial_epoch
            for epoch in range(first, plan.epochs):
                if model.stop_training or ctrl_c.pressed:
                    break
                tell(every, "on_epoch_begin", epoch, {})
                logs = _train_epoch(model, source, plan.class_weight, every, ctrl_c)
                if logs is None:
                    break
                if plan.validates(epoch):
                    assert plan.validation is not None
                    figures = evaluate(
                        model, plan.validation, every, plan.validation_steps, "validation_data"
                    )
                    logs.update({f"val_{name}": value for name, value in figures.items()})
                tell(every, "on_epoch_end", epoch, logs)
            history.interrupted = ctrl_c.pressed
            history.complete = not ctrl_c.pressed
        finally:
            # Where one could not begin, those after it did not, and what they hold is an earlier
            # training's.
            tell(begun, "on_train_end", {})
    return history


def _in_order(plan: Plan, history: History) -> list[Callback]:
    """Return all callbacks: those that save what the others did come last."""
    backups = [c for c in plan.callbacks if isinstance(c, BackupAndRestore)]
    others = [*(c for c in plan.callbacks if c not in backups), history]
    for backup in backups:
        backup.set_others(others)
    return [*others, *progress.for_verbosity(plan.verbose), *backups]


def _figures(model: Trainer, plan: Plan) -> list[str]:
    """Return the names of the figures that epochs have."""
    names = ["loss", *(metric.name for metric in model.all_metrics)]
    if plan.validation is not None:
        names += [f"val_{name}" for name in names]
    if any(isinstance(c, LearningRateScheduler | ReduceLROnPlateau) for c in plan.callbacks):
        names.append("learning_rate")
    return names


def _adds_figures(callbacks: Sequence[Callback]) -> bool:
    """Whether one of the callbacks may add figures: one's own may."""
    hooks = (hook_of(c, name) for c in callbacks for name in ("on_epoch_end", "on_test_end"))
    modules = (getattr(hook, "__module__", None) or "" for hook in hooks)
    return not all(module.startswith("fastrnn.callbacks.") for module in modules)


def _train_epoch(
    model: Trainer,
    source: _Source,
    class_weight: ClassWeight | None,
    callbacks: Sequence[Callback],
    ctrl_c: CtrlC,
) -> Logs | None:
    """Train on one epoch's batches; return its figures, None if Ctrl-C came before any."""
    averages, number = Averages(model), -1
    looked_at = _looked_at(callbacks, "on_train_batch_end", "on_batch_end")
    stopped, model.in_epoch = False, True
    try:
        for number, batch in enumerate(source.epoch()):
            tell(callbacks, "on_train_batch_begin", number, {})
            step = train_step(model, batch, class_weight)
            averages.update(step)
            logs = averages.result() if looked_at else {}
            tell(callbacks, "on_train_batch_end", number, logs)
            stopped = model.stop_training or ctrl_c.pressed
            if stopped:
                break
    except KeyboardInterrupt:
        if ctrl_c.pressed:
            raise
        stopped = ctrl_c.pressed = True
    finally:
        model.in_epoch = False
    model.history.partial = stopped and number + 1 != source.steps
    return averages.result() if number >= 0 else None


def evaluate(
    model: Trainer,
    batches: Batches,
    callbacks: Sequence[Callback] = (),
    steps: int | None = None,
    name: str = "x",
) -> Logs:
    """Return the figures over ``batches``; a state carried by training is left as it was.

    ``name`` is what the batches are called in an error's message.
    """
    with apart_from_the_epoch(model):
        return _evaluate(model, batches, callbacks, steps, name)


def _evaluate(
    model: Trainer, batches: Batches, callbacks: Sequence[Callback], steps: int | None, name: str
) -> Logs:
    tell(callbacks, "on_test_begin", {})
    averages, looked_at = Averages(model), _looked_at(callbacks, "on_test_batch_end")
    states = model.get_states()
    try:
        for number, batch in enumerate(_Source(model, name, batches, steps).once()):
            tell(callbacks, "on_test_batch_begin", number, {})
            step = test_step(model, batch)
            averages.update(step)
            logs = averages.result() if looked_at else {}
            tell(callbacks, "on_test_batch_end", number, logs)
    finally:
        model.set_states(states)
    logs = averages.result()
    tell(callbacks, "on_test_end", logs)
    return logs


def _looked_at(callbacks: Sequence[Callback], *hooks: str) -> bool:
    """Whether a callback has one of these hooks, so that it is worth computing the figures."""
    return any(hook_of(c, hook) is not getattr(Callback, hook) for c in callbacks for hook in hooks)


@dataclass(frozen=True)
class Step:
    """What became of one batch."""

    loss: LossValue
    batch: Batch
    output: Floating | None
    """The model's output, if there are metrics."""
    mask: Array | None
    """Which of its steps exist."""


def train_step(model: Trainer, given: Any, class_weight: ClassWeight | None = None) -> Step:
    """Take one step on one batch."""
    optimizer = model.need_optimizer()
    optimizer.bind(model)
    step = _run(model, given, class_weight, training=True)
    assert step.loss.gradient is not None
    model.backward(step.loss.gradient)
    parameters, gradients = {}, {}
    for layer_name, layer in model.named_layers().items():
        if layer.trainable:
            for name, gradient in layer.gradients_for_step().items():
                parameters[f"{layer_name}.{name}"] = layer.parameters[name]
                gradients[f"{layer_name}.{name}"] = gradient
    optimizer.apply(parameters, gradients)
    return step


def test_step(model: Trainer, given: Any) -> Step:
    """Run one batch and compare it with its targets."""
    return _run(model, given, None, training=False)


def _run(model: Trainer, given: Any, class_weight: ClassWeight | None, training: bool) -> Step:
    loss, batch = model.need_loss(), as_batch(given)
    if batch.y is None:
        raise ValueError("y: expected targets, got none")
    if batch.reset is not None:
        model.reset_states(batch.reset.tolist())
    fused = not loss.from_logits and model.ends_in(loss.activation)
    forward = model.logits if fused else model
    output = forward(batch.x, mask=batch.mask, training=training)
    mask = model.output_mask
    if class_weight is not None:
        batch = weighted_by_class(batch, class_weight, output, mask)
    value = loss.value_and_gradient(
        batch.y, output, batch.sample_weight, mask, need_gradient=training, of_logits=fused
    )
    if not model.all_metrics:
        return Step(value, batch, None, mask)
    return Step(value, batch, model.activate(output) if fused else output, mask)


def weighted_by_class(
    batch: Batch, class_weight: ClassWeight, output: Floating, mask: Array | None
) -> Batch:
    """Return the batch with sample weights that are multiplied by those of the targets' classes.

    A class that is not named counts 1. Targets with several columns, as the model's output has, are
    of the class of the greatest, as in Keras.
    """
    labels = np.asarray(unmasked_targets(batch.y, output.shape[:-1], mask))
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.ndim == output.ndim:
        labels = labels.argmax(axis=-1)
    classes, places = np.unique(np.round(labels), return_inverse=True)
    weights = np.array([class_weight.get(int(label), 1.0) for label in classes], np.float64)
    weights = weights[places.reshape(labels.shape)]
    if batch.sample_weight is not None:
        given = batch.sample_weight
        if given.ndim > weights.ndim and given.shape[-1] == 1:
            given = given[..., 0]
        weights = weights * given.reshape(given.shape + (1,) * (weights.ndim - given.ndim))
    return replace(batch, sample_weight=weights)


class Averages:
    """The loss of all rows, and the metrics of one pass."""

    def __init__(self, model: Trainer) -> None:
        self._model = model
        self._adds = model.need_loss().reduction == "sum"
        self._total = self._count = 0.0
        for metric in model.all_metrics:
            metric.reset_state()

    def update(self, step: Step) -> None:
        """Take a batch in."""
        self._total += step.loss.value * (1.0 if self._adds else step.loss.weight)
        self._count += step.loss.weight
        if step.output is not None:
            batch = step.batch
            for metric in self._model.metrics:
                metric.update_state(batch.y, step.output, mask=step.mask)
            for metric in self._model.weighted_metrics:
                metric.update_state(batch.y, step.output, batch.sample_weight, step.mask)

    def result(self) -> Logs:
        """Return the figures."""
        figures = {metric.name: metric.result() for metric in self._model.all_metrics}
        divisor = 1.0 if self._adds else self._count
        return {"loss": self._total / divisor if divisor else 0.0, **figures}


@contextlib.contextmanager
def apart_from_the_epoch(model: Trainer) -> Iterator[None]:
    """Let the metrics collect other figures, where a callback asks for them within an epoch."""
    held = [vars(metric).copy() for metric in model.all_metrics] if model.in_epoch else []
    metrics = model.all_metrics[: len(held)]
    for metric, state in zip(metrics, held, strict=True):
        vars(metric).update(copy.deepcopy(state))
    try:
        yield
    finally:
        for metric, state in zip(metrics, held, strict=True):
            vars(metric).clear()
            vars(metric).update(state)


class _Source:
    """Gives out batches, as many for an epoch as are asked for or as there are.

    The model's stateful layers begin each pass over the data with zeros: what was carried from its
    end does not belong to its beginning.
    """

    def __init__(self, model: Trainer, name: str, batches: Batches, steps: int | None) -> None:
        self._model, self._name, self._batches, self._asked = model, name, batches, steps
        self._left: Iterator[Any] | None = None
        self._epochs = 0
        self.steps = steps or length(batches)

    def epoch(self) -> Iterator[Any]:
        """Yield one epoch's batches."""
        self._epochs += 1
        count = 0
        for batch in self._endless() if self._asked else self._pass():
            yield batch
            count += 1
            if count == self._asked:
                return
        if count == 0 or self._asked:
            raise self._too_few(count)

    def once(self) -> Iterator[Any]:
        """Yield the batches of one pass, no more than are asked for."""
        count = 0
        for batch in islice(self._pass(), self._asked):
            yield batch
            count += 1
        if count == 0:
            raise self._too_few(count)
        if self._asked and count < self._asked:
            warnings.warn(
                f"{self._name}: expected {self._asked} batches, got {count} before the data ended",
                stacklevel=5,  # what called the model's evaluate
            )

    def _too_few(self, count: int) -> ValueError:
        found = f"only {count} of {self._asked} batches" if count else "no batches"
        when = f" in epoch {self._epochs}" if self._epochs > 1 else ""
        return ValueError(
            f"{self._name}: {found}{when}; a generator serves one pass only, "
            "give a list or an object that can be iterated again"
        )

    def _pass(self) -> Iterator[Any]:
        self._model.reset_states()
        return iter(self._batches)

    def _endless(self) -> Iterator[Any]:
        """Go on where the last epoch ended, from the beginning after the end."""
        while True:
            fresh = self._left is None
            if self._left is None:
                self._left = self._pass()
            count = 0
            for batch in self._left:
                yield batch
                count += 1
            exhausted = iter(self._batches) is self._left or (fresh and count == 0)
            self._left = None
            if exhausted:
                return


def length(batches: Batches) -> int | None:
    """Return how many batches there are, None where it is not known."""
    return len(batches) if isinstance(batches, Sized) else None
