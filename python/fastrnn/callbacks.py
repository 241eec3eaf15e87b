"""Callbacks: called by the training loop at its turning points, with Keras's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastrnn.model import Sequential

Logs = dict[str, float]


class Callback:
    """The base of all callbacks, and of one's own: override what you need.

    Attributes
    ----------
    model : Sequential
        Setting ``model.stop_training = True`` ends the training after the batch.
    params : dict
        "epochs", "steps" (batches an epoch, or None) and "verbose".
    """

    model: Sequential
    params: dict[str, Any]

    def set_model(self, model: Sequential) -> None:
        """Take the model that is trained; called before all else."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take what `params` holds."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also when Ctrl-C ended it."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; the first is 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch; ``logs`` has its figures, the validation's as ``val_...``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch; the first of an epoch is 0."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch; ``logs`` has its loss."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation."""


def tell(callbacks: Iterable[Callback], hook: str, *arguments: Any) -> None:
    """Call one hook of every callback."""
    for callback in callbacks:
        getattr(callback, hook)(*arguments)


class History(Callback):
    """What `fit` returns: every epoch's loss and metrics.

    Attributes
    ----------
    epoch : list of int
        The epochs' numbers.
    history : dict of str to list of float
        For each name of a figure, its value after each epoch.
    interrupted : bool
        Whether Ctrl-C ended the training.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self.interrupted = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch's figures."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
