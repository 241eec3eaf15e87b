"""Callbacks that end the training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastrnn import _check
from fastrnn._typing import Floating
from fastrnn.callbacks.base import Callback, Logs
from fastrnn.callbacks.monitor import MonitorCallback


class EarlyStopping(MonitorCallback):
    """Stop when a figure has not improved for some epochs.

    Parameters
    ----------
    monitor, min_delta, mode
        See `MonitorCallback`.
    patience : int
        How many epochs without improvement are waited for.
    verbose : {0, 1}
        1 says when it stops.
    baseline : float, optional
        An improvement must also be better than this to count.
    restore_best_weights : bool
        At the end, also after Ctrl-C, put back the parameters of the best epoch.
    start_from_epoch : int
        Earlier epochs are not looked at.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = _check.integer("patience", patience, minimum=0)
        self.verbose = verbose
        self.baseline = None if baseline is None else _check.real("baseline", baseline)
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = _check.integer("start_from_epoch", start_from_epoch, minimum=0)
        self._forget()

    def _forget(self) -> None:
        self.best = None
        self.best_epoch = 0
        self.best_weights: list[Floating] | None = None
        self.stopped_epoch = 0
        self.wait = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        super().on_train_begin(logs)
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the figure."""
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)
        self.wait += 1
        if self.improves(value, self.best):
            self.best = value
            self._remember(epoch)
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put back the best parameters."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping", flush=True)
        if self.best_weights is not None:
            if self.verbose:
                print(f"The parameters are those of epoch {self.best_epoch + 1}", flush=True)
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        """Return what was seen so far."""
        return {
            **super().get_state(),
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "stopped_epoch": self.stopped_epoch,
            "wait": self.wait,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen so far."""
        super().set_state(state)
        self.best_epoch, self.stopped_epoch = state["best_epoch"], state["stopped_epoch"]
        self.best_weights, self.wait = state["best_weights"], state["wait"]


class TerminateOnNaN(Callback):
    """Stop when a batch's loss, and with it that of the epoch so far, is NaN or infinite."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            print(f"Batch {batch}: the loss is {loss}, training ends", flush=True)
            self.model.stop_training = True
