"""What callbacks share that watch one figure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastrnn import _check
from fastrnn.callbacks.base import Callback, Logs


class MonitorCallback(Callback):
    """Watches one figure of the logs and knows the best value so far.

    Parameters
    ----------
    monitor : str
        The figure's name, e.g. "val_loss".
    mode : {"auto", "min", "max"}
        Whether less or more is better; "auto" knows it of the losses and fastrnn's metrics.
    min_delta : float
        A smaller change is no improvement.
    """

    def __init__(self, monitor: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a figure's name, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode: expected 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(_check.real("min_delta", min_delta))
        self.best: float | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """See to it that the figure can be watched, before the first epoch rather than after it."""
        figures = self.figures()
        if self.monitor not in figures and not self.params["other_figures"]:
            raise self._missing(figures)
        self._greater_is_better()

    def figures(self) -> list[str]:
        """Return the names of the figures there will be, other than those that callbacks add."""
        figures: list[str] = self.params["figures"]
        return figures

    def _missing(self, figures: Collection[str]) -> ValueError:
        return ValueError(
            f"monitor: {type(self).__name__} watches {self.monitor!r}, but there are only "
            f"{list(figures)}"
        )

    def value(self, logs: Logs | None) -> float | None:
        """Return the figure, None in an epoch without the validation that has it.

        Raises
        ------
        ValueError
            If the logs have none of that name.
        """
        logs = logs or {}
        if self.monitor not in logs:
            if self.monitor in self.figures():
                return None
            raise self._missing(logs)
        return logs[self.monitor]

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether ``value`` is better than ``reference``; None stands for the worst of all."""
        if reference is None:
            return True
        if self._greater_is_better():
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def _greater_is_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name in ("loss", "learning_rate"):
            return False
        for metric in self.model.all_metrics:
            if metric.name == name and metric.greater_is_better is not None:
                return metric.greater_is_better
        raise ValueError(
            f"mode: whether more of {self.monitor!r} is better is not known: give 'min' or 'max'"
        )

    def get_state(self) -> dict[str, Any]:
        """Return the best value."""
        return {"best": self.best}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take the best value."""
        self.best = state["best"]
