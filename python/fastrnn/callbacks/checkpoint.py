"""Callbacks that save the model, and that go on where a training was stopped."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastrnn import _check, saving
from fastrnn.callbacks.base import Callback, Logs
from fastrnn.callbacks.monitor import MonitorCallback


class ModelCheckpoint(MonitorCallback):
    """Save the model after each epoch, or after some batches.

    Parameters
    ----------
    filepath : path
        Where to; "{epoch:02d}-{val_loss:.2f}.safetensors" is filled in with the epoch (the first is
        1) and the figures.
    monitor, mode
        See `MonitorCallback`.
    verbose : {0, 1}
        1 says what is saved.
    save_best_only : bool
        Save only when the figure has improved.
    save_weights_only : bool
        Leave the optimiser out: see `Sequential.save`.
    save_freq : "epoch" or int
        A number saves after each so many batches.
    initial_value_threshold : float, optional
        A first "best" value, for ``save_best_only``.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(f"save_freq: expected 'epoch' or 1 or more, got {save_freq!r}")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = (
            None
            if initial_value_threshold is None
            else _check.real("initial_value_threshold", initial_value_threshold)
        )
        self._epoch = self._batches = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See to it that the model can be saved, before the first epoch rather than after it."""
        saving.describe_layers(self.model)
        if not self.save_weights_only:
            saving.describe_training(self.model)
        if self.save_best_only:
            super().on_train_begin(logs)
        if not self.params["other_figures"]:
            self._path({})

    def figures(self) -> list[str]:
        """Return the names of the figures there will be when it saves."""
        figures = super().figures()
        if self.save_freq == "epoch":
            return figures
        return [name for name in figures if not name.startswith("val_")]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch's number."""
        self._epoch = epoch

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save, if it is the batch's turn."""
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, unless batches are counted."""
        if self.save_freq == "epoch":
            self._save(logs)

    def get_state(self) -> dict[str, Any]:
        """Return the best value and the number of batches."""
        return {**super().get_state(), "batches": self._batches}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take the best value and the number of batches."""
        super().set_state(state)
        self._batches = state["batches"]

    def _save(self, logs: Logs | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        path = self._path(logs or {})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path, include_optimizer=not self.save_weights_only)
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: saved {path}", flush=True)

    def _path(self, logs: Logs) -> str:
        # In an epoch without a validation its figures are NaN.
        logs = {**dict.fromkeys(self.figures(), math.nan), **logs}
        try:
            return self.filepath.format(epoch=self._epoch + 1, **logs)
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"filepath: {self.filepath!r} asks for {error}, but there are only epoch and "
                f"{sorted(logs)}"
            ) from None


class BackupAndRestore(Callback):
    """Go on with a training that was stopped, with the same bits as if it had not been.

    After each whole epoch everything the next one depends on is written to one file: parameters,
    optimiser, random state, history, and what the other callbacks remember. Where the file is there
    when `fit` begins, `fit` goes on from it. An epoch that Ctrl-C, an error or the end of the
    process cut short is begun anew; the data must then come in the same order, as that of arrays
    does (not with ``steps_per_epoch``: batches begin anew). `fit` calls this callback after all
    others. Layers, loss, optimiser, ``model.metadata`` and callbacks that remember something must
    be the same ones; a learning rate that is a number goes on as the file has it.

    Parameters
    ----------
    path : path
        The file, which `Sequential.load` can read as well.
    delete_checkpoint : bool
        Remove the file when the training has come to its end.
    """

    def __init__(self, path: str | os.PathLike[str], delete_checkpoint: bool = True) -> None:
        self.path = Path(path)
        self.delete_checkpoint = delete_checkpoint
        self._others: list[Callback] = []

    def set_others(self, callbacks: list[Callback]) -> None:
        """Take the other callbacks, whose state is saved with the model."""
        self._others = callbacks

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See to it that the model can be saved, and go on from the file, if it is there."""
        saving.describe_layers(self.model)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            saving.restore_training(self.model, self._others, self.path)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the file, unless the epoch was cut short."""
        if not self.model.history.partial:
            saving.save_training(self.model, self._others, self.path)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the file, if the training is complete."""
        if self.delete_checkpoint and self.model.history.complete:
            self.path.unlink(missing_ok=True)
