"""The base of all callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastrnn.trainer import Trainer

Logs = dict[str, float]


class Callback:
    """The base of all callbacks, and of one's own: override what you need.

    Attributes
    ----------
    model : Sequential
        Setting ``model.stop_training = True`` ends the training after the batch.
    params : dict
        "epochs", "steps" (batches an epoch, or None), "verbose", "figures", the names of what
        ``logs`` has at an epoch's end (those of a validation where there is one), and
        "other_figures", whether callbacks may add to it.
    """

    model: Trainer
    params: dict[str, Any]

    def set_model(self, model: Trainer) -> None:
        """Take the model that is trained; called before all else."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Take what `params` holds."""
        self.params = params

    # ---- training --------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch, also when Ctrl-C or an error ended it."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch; the first is 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch; ``logs`` has its figures, the validation's as ``val_...``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch; the first of an epoch is 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch; ``logs`` has the figures of the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Do what `on_train_batch_begin` does, under its old name."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do what `on_train_batch_end` does, under its old name."""

    # ---- evaluation and prediction ---------------------------------------------------------------

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before an evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After an evaluation; ``logs`` has its figures."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of an evaluation; ``logs`` has the figures so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a prediction."""

    # ---- going on after a stop -------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what changes during training, for `BackupAndRestore`.

        Values are what JSON can hold, arrays, or lists of arrays.
        """
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where `get_state` was called; after `on_train_begin`."""


def tell(callbacks: Iterable[Callback], hook: str, *arguments: Any) -> None:
    """Call one hook of every callback."""
    for callback in callbacks:
        getattr(callback, hook)(*arguments)


def hook_of(callback: Callback, name: str) -> Any:
    """Return the function that one hook is, of the object or its class."""
    return vars(callback).get(name, getattr(type(callback), name))


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class LambdaCallback(Callback):
    """A callback from functions, e.g. ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``.

    Parameters
    ----------
    **hooks : callable
        Under the names of the hooks, each called with its arguments.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"{name}: expected one of the hooks {', '.join(HOOKS)}")
            if function is not None and not callable(function):
                raise TypeError(f"{name}: expected a function, got {function!r}")
            if function is not None:
                setattr(self, name, function)
