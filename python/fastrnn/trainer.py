"""What models are trained with: compile, fit, evaluate, predict, in Keras's words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastrnn import _check, losses, metrics, optimizers, prediction, progress, training
from fastrnn._ranges import check_ranges
from fastrnn._trainable import Trainable
from fastrnn._typing import Floating
from fastrnn.callbacks import Callback, History, tell
from fastrnn.data import Batches, as_batches, as_iterable, as_rows


class Trainer(Trainable):
    """The base of models: all that has to do with training.

    Attributes
    ----------
    loss, optimizer : Loss and Optimizer, or None before `compile`
    metrics, weighted_metrics : list of Metric
        The second ones take sample weights into account.
    history : History
        What the last `fit` returned, or was about to when an error ended it.
    stop_training : bool
        A callback sets it to end `fit` after the batch.
    in_epoch : bool
        Whether `fit` is within an epoch, whose figures the metrics are collecting.
    """

    def __init__(self) -> None:
        self.loss: losses.Loss | None = None
        self.optimizer: optimizers.Optimizer | None = None
        self.metrics: list[metrics.Metric] = []
        self.weighted_metrics: list[metrics.Metric] = []
        self.history = History()
        self.stop_training = self.in_epoch = False

    # ---- compile ---------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: str | losses.Loss | Callable[..., Any] | None = None,
        metrics: Sequence[str | metrics.Metric | Callable[..., Any]] | None = None,
        weighted_metrics: Sequence[str | metrics.Metric | Callable[..., Any]] | None = None,
    ) -> None:
        """Say what is minimised, how, and what is shown besides.

        Parameters
        ----------
        optimizer : Optimizer or {"adam", "adamw", "rmsprop", "sgd"}
            A name stands for the defaults.
        loss : Loss, str or function
            A name, such as "binary_crossentropy" or "mse", stands for the defaults, which take
            probabilities: those of a model that ends in sigmoid or softmax. A function: see
            `fastrnn.losses.FunctionLoss`.
        metrics : sequence of Metric, str or function
            What is computed besides the loss, e.g. "accuracy"; masks count, sample weights do not.
        weighted_metrics : sequence of Metric, str or function
            The same, and sample weights count.

        Raises
        ------
        TypeError
            If ``metrics`` or ``weighted_metrics`` is no list.
        ValueError
            If one of them, the loss or the optimiser is unknown, or the optimiser took steps on
            another model. The model is as it was then.
        """
        if loss is None:
            raise ValueError("loss: expected a Loss, a name or a function, got None")
        # All of it is made before anything is replaced.
        chosen, new_loss, taken = optimizers.get(optimizer), losses.get(loss), {"loss"}
        plain = _metrics(metrics or [], new_loss, taken)
        weighted = _metrics(weighted_metrics or [], new_loss, taken)
        chosen.bind(self)
        self.optimizer, self.loss = chosen, new_loss
        self.metrics, self.weighted_metrics = plain, weighted

    @property
    def all_metrics(self) -> list[metrics.Metric]:
        """The metrics and the weighted ones."""
        return [*self.metrics, *self.weighted_metrics]

    def need_optimizer(self) -> optimizers.Optimizer:
        """Return the optimiser, or say that there is none."""
        if self.optimizer is None:
            raise RuntimeError("the model has no optimizer yet: call compile() first")
        return self.optimizer

    def need_loss(self) -> losses.Loss:
        """Return the loss, or say that there is none."""
        if self.loss is None:
            raise RuntimeError("the model has no loss yet: call compile() first")
        return self.loss

    # ---- all of the data -------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Collection[int] = 1,
    ) -> History:
        """Train on all of the data, ``epochs`` times.

        Ctrl-C ends the epoch after the batch at work and then the training; a second one raises
        KeyboardInterrupt.

        Parameters
        ----------
        x : array [N, ...], list of N sequences, or an iterable of batches when ``y`` is None
            Sequences of different lengths ([T_i] or [T_i, F]) share batches by length, are padded
            and masked: see `fastrnn.data.RaggedBatches`. Batches are tuples (x, y) or (x, y,
            sample_weight) or `fastrnn.data.Batch`; they are gone through once an epoch, in their
            own order. Stateful layers begin each pass over the data with zeros.
        y : array [N, ...], or list of N sequences, optional
            The targets.
        batch_size : int, optional
            How many rows a step takes; 32 by default.
        epochs, initial_epoch : int
            Epochs ``initial_epoch .. epochs - 1`` are run; there may be none.
        verbose : {"auto", 0, 1, 2}
            0 shows nothing, 1 a bar, 2 a line for each epoch; "auto" a bar on a terminal and lines
            elsewhere.
        callbacks : Callback or sequence of them, optional
            Called at the loop's turning points.
        validation_split : float
            This fraction of the rows, from the end, is left out of training and evaluated after
            each epoch.
        validation_data : (x, y), (x, y, sample_weight) or an iterable of batches, optional
            Arrays may stand in a list, too.
            Evaluated after each epoch.
        shuffle : bool
            Take the rows in a new random order in each epoch.
        class_weight : dict of int to float, optional
            What samples of a class count in the loss; 1 for those that are not named. Multiplied
            with the sample weights.
        sample_weight : array [N] or [N, T], or list of N sequences, optional
            What each sample, or each step of it, counts in the loss.
        steps_per_epoch : int, optional
            How many batches an epoch has: the next one goes on where it ended. By default all.
        validation_steps : int, optional
            How many batches an evaluation has, which begins anew each time. By default all; where
            there are fewer, a warning says so.
        validation_batch_size : int, optional
            How many rows it takes together; ``batch_size`` by default.
        validation_freq : int or collection of int
            Evaluate after each so many epochs, or after these, of which the first is 1.

        Returns
        -------
        History
            ``history.history`` has each epoch's figures.

        Raises
        ------
        RuntimeError
            If the model is not compiled.
        TypeError
            If an argument is of another kind than said above, or data consists of no numbers.
        ValueError
            If numbers of rows or shapes do not match, ``x`` has NaN or infinity at steps that are
            not masked, ids or targets lie outside of what model and loss have, an argument is out
            of range, a callback watches a figure that will not be there, or there are fewer batches
            than were asked for. All that arrays and arguments tell is found before the first step.
        IndexError
            If a batch of an iterable has an id outside of an `Embedding`.
        """
        self.need_optimizer().bind(self)
        size = 32 if batch_size is None else batch_size
        validation_size = _optional("validation_batch_size", validation_batch_size) or size
        split = _check.fraction("validation_split", validation_split)
        shuffle = _check.flag("shuffle", shuffle)
        batches = as_batches(x, y, size, sample_weight=sample_weight, shuffle=shuffle)
        weights = None if class_weight is None else _class_weight(class_weight)
        uncounted = [label for label, weight in (weights or {}).items() if weight == 0]
        check_ranges(self, batches, uncounted=uncounted)
        validation = None
        if validation_data is not None:
            validation = _validation(validation_data, validation_size)
            check_ranges(self, validation, ("validation_data x", "validation_data y"))
        elif split:
            if y is None or not hasattr(batches, "split"):
                raise ValueError("validation_split: needs arrays x and y, got batches")
            batches, validation = batches.split(split, validation_size)
        return training.fit(
            self,
            training.Plan(
                batches,
                epochs=_check.integer("epochs", epochs, minimum=0),
                initial_epoch=_check.integer("initial_epoch", initial_epoch, minimum=0),
                steps_per_epoch=_optional("steps_per_epoch", steps_per_epoch),
                validation=validation,
                validation_steps=_optional("validation_steps", validation_steps),
                validation_freq=_frequency(validation_freq),
                class_weight=weights,
                callbacks=_callbacks(callbacks),
                verbose=verbose,
            ),
        )

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss over all of the data; with metrics a list of it and them, or all by name.

        The loss is that of all rows (samples, or their steps) that are not masked, however they are
        batched: by default the mean. Stateful layers begin with zeros and are left as they were.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.
        batch_size : int, optional
            How many rows are run together; 32 by default.
        verbose : {"auto", 0, 1, 2}
            1 shows a bar, 2 a line at the end; "auto" a bar on a terminal.
        steps : int, optional
            How many batches are taken, of one pass. By default all; where there are fewer, a
            warning says so.
        callbacks : Callback or sequence of them, optional
            Called at the turning points of the pass.
        return_dict : bool
            Return a dict of all figures by name.

        Returns
        -------
        float, list of float or dict of str to float
            The loss; with metrics a list of it and them.

        Raises
        ------
        RuntimeError
            If the model is not compiled.
        TypeError, ValueError, IndexError
            As `fit` does.
        """
        size = 32 if batch_size is None else batch_size
        batches = as_batches(x, y, size, sample_weight=sample_weight)
        steps = _optional("steps", steps)
        count = steps or training.length(batches)
        every = [*_callbacks(callbacks), *progress.for_pass(verbose, "Evaluation", count)]
        tell(every, "set_model", self)
        figures = training.evaluate(self, batches, every, steps)
        return _figures(figures, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> Any:
        """Return the outputs for all rows of ``x``; stateful layers go on from call to call.

        Parameters
        ----------
        x : array [N, ...], list of N sequences, or an iterable of batches
            As in `fit`.
        batch_size : int, optional
            How many rows are run together; 32 by default. It does not change the outputs' bits.
        verbose : {"auto", 0, 1, 2}
            1 shows a bar, 2 a line at the end; "auto" a bar on a terminal.
        steps : int, optional
            How many batches of an iterable are taken; by default all.

        Returns
        -------
        array [N, ...] or list of N arrays [T_i, ...]
            A list where ``x`` has sequences of different lengths and each step an output.

        Raises
        ------
        TypeError
            If ``x`` is neither rows nor batches, or consists of no numbers.
        ValueError
            If it is empty, or has NaN or infinity at steps that are not masked, or its shape is not
            what the model was built for.
        IndexError
            If an id is outside of an `Embedding`.
        """
        size = 32 if batch_size is None else _check.positive_int("batch_size", batch_size)
        steps = _optional("steps", steps)
        rows = as_rows(x)
        if rows is None:
            x, count = as_iterable("x", x), steps or training.length(x)
        else:
            x, count = rows, -(-len(rows) // size)
        every = [*_callbacks(callbacks), *progress.for_pass(verbose, "Prediction", count)]
        return prediction.predict(self, x, size, every, steps)

    # ---- one batch -------------------------------------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        *,
        return_dict: bool = False,
    ) -> Any:
        """Take one step on one batch.

        Parameters
        ----------
        x : array [B, ...], list of B sequences, or `fastrnn.data.Batch`
            Sequences are padded and masked. A `Batch` has targets and weights of its own.
        y : array [B, ...], or list of B sequences
            The targets.
        sample_weight : array [B] or [B, T], or list of B sequences, optional
            What each sample, or each step of it, counts in the loss.
        class_weight : dict of int to float, optional
            What samples of a class count, as in `fit`.
        return_dict : bool
            Return a dict of all figures by name.

        Returns
        -------
        float, list of float or dict of str to float
            The batch's loss before the step; with metrics a list of it and them.

        Raises
        ------
        RuntimeError
            If the model is not compiled.
        TypeError, ValueError, IndexError
            As `fit` does, before a parameter is changed.
        """
        weights = None if class_weight is None else _class_weight(class_weight)
        with training.apart_from_the_epoch(self):
            averages = training.Averages(self)
            averages.update(training.train_step(self, _one_batch(x, y, sample_weight), weights))
            return _figures(averages.result(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Any:
        """Return one batch's loss and metrics, as `train_on_batch` does, without a step.

        Parameters
        ----------
        x, y, sample_weight, return_dict
            As in `train_on_batch`.

        Returns
        -------
        float, list of float or dict of str to float
            The batch's loss; with metrics a list of it and them.

        Raises
        ------
        RuntimeError, TypeError, ValueError, IndexError
            As `train_on_batch` does.
        """
        with training.apart_from_the_epoch(self):
            averages = training.Averages(self)
            averages.update(training.test_step(self, _one_batch(x, y, sample_weight)))
            return _figures(averages.result(), return_dict)

    def predict_on_batch(self, x: Any) -> Floating:
        """Return the output for one batch; that of sequences is padded with zeros."""
        return prediction.predict_on_batch(self, _one_batch(x, None, None))


_metrics = metrics.get_all


def _one_batch(x: Any, y: Any, sample_weight: Any) -> Any:
    return x if y is None and hasattr(x, "reset") else (x, y, sample_weight)


def _validation(data: Any, batch_size: int) -> Batches:
    # A list of batches has no arrays, but tuples or lists of them.
    arrays = isinstance(data, list | tuple) and any(hasattr(part, "__array__") for part in data)
    if (arrays or isinstance(data, tuple)) and len(data) in (2, 3):
        weight = data[2] if len(data) == 3 else None
        return as_batches(data[0], data[1], batch_size, sample_weight=weight)
    if arrays or isinstance(data, np.ndarray):
        count = "one array" if not arrays or len(data) == 1 else f"{len(data)} arrays"
        raise TypeError(f"validation_data: expected (x, y) or batches, got {count}")
    return as_iterable("validation_data", data)


def _callbacks(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    given = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if given is not None and not isinstance(given, Iterable):
        raise TypeError(f"callbacks: expected a list of Callback objects, got {callbacks!r}")
    every = list(given or ())
    for callback in every:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: expected Callback objects, got {callback!r}")
    return every


def _class_weight(class_weight: Mapping[int, float]) -> dict[int, float]:
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight: expected a dict, got {class_weight!r}")
    for label in class_weight:
        if not isinstance(label, int | np.integer):
            raise TypeError(f"class_weight: expected classes as ints, got {label!r}")
    return {
        int(label): _check.real(f"class_weight[{label!r}]", weight)
        for label, weight in class_weight.items()
    }


def _frequency(validation_freq: int | Collection[int]) -> int | Collection[int]:
    if not isinstance(validation_freq, Collection) or isinstance(validation_freq, str):
        return _check.positive_int("validation_freq", validation_freq)
    return [_check.positive_int("validation_freq", epoch) for epoch in validation_freq]


def _optional(name: str, value: int | None) -> int | None:
    return None if value is None else _check.positive_int(name, value)


def _figures(figures: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return figures
    values = list(figures.values())
    return values[0] if len(values) == 1 else values
