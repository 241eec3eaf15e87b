"""Callbacks that change the learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastrnn import _check
from fastrnn.callbacks.base import Callback, Logs
from fastrnn.callbacks.monitor import MonitorCallback


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to ``schedule(epoch, learning_rate)``.

    Parameters
    ----------
    schedule : callable
        Takes the epoch (the first is 0) and, unless it takes one argument only, the rate so far;
        returns the rate.
    verbose : {0, 1}
        1 says what is set.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule: expected a function of the epoch, got {schedule!r}")
        self.schedule = schedule
        self._takes_rate = _takes(schedule, 0, 0.0)
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer = self.model.need_optimizer()
        given = (epoch, optimizer.learning_rate) if self._takes_rate else (epoch,)
        rate = self.schedule(*given)
        optimizer.learning_rate = _check.real("the rate that schedule returned", rate, minimum=0.0)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {rate:g}", flush=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the rate among the figures."""
        if logs is not None:
            logs["learning_rate"] = self.model.need_optimizer().learning_rate


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by ``factor`` when a figure has not improved for some epochs.

    Parameters
    ----------
    monitor, mode, min_delta
        See `MonitorCallback`.
    factor : float
        Less than 1.
    patience : int
        How many epochs without improvement are waited for.
    verbose : {0, 1}
        1 says when the rate changes.
    cooldown : int
        How many epochs after a change are not looked at.
    min_lr : float
        The rate does not fall below this.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = _check.fraction("factor", factor)
        self.patience = _check.integer("patience", patience, minimum=0)
        self.verbose = verbose
        self.cooldown = _check.integer("cooldown", cooldown, minimum=0)
        self.min_lr = _check.real("min_lr", min_lr, minimum=0.0)
        self.cooldown_counter = self.wait = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training, and see to it that the rate can be set.

        Raises
        ------
        ValueError
            If the figure will not be there.
        TypeError
            If the optimizer follows a schedule.
        """
        super().on_train_begin(logs)
        optimizer = self.model.need_optimizer()
        # Raises the error that setting it on a plateau would.
        optimizer.learning_rate = optimizer.learning_rate
        self.best, self.cooldown_counter, self.wait = None, 0, 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the figure."""
        optimizer, value = self.model.need_optimizer(), self.value(logs)
        rate = optimizer.learning_rate
        if logs is not None:
            logs["learning_rate"] = rate
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(
                        f"Epoch {epoch + 1}: the learning rate goes from {rate:g} to "
                        f"{optimizer.learning_rate:g}",
                        flush=True,
                    )

    def get_state(self) -> dict[str, Any]:
        """Return what was seen so far."""
        return {
            **super().get_state(),
            "cooldown_counter": self.cooldown_counter,
            "wait": self.wait,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen so far."""
        super().set_state(state)
        self.cooldown_counter, self.wait = state["cooldown_counter"], state["wait"]


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these arguments, as far as is known."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # of some functions that are not written in Python
        return True
    return True
