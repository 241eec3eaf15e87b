"""History: what `fit` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastrnn import _extras
from fastrnn.callbacks.base import Callback, Logs


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
    partial : bool
        Whether the last epoch ended before its data did.
    complete : bool
        Whether the training came to its own end: by the number of epochs or a callback, not by
        Ctrl-C or an error.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._epochs_of: dict[str, list[int]] = {}
        self.interrupted = self.partial = self.complete = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch's figures."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
            self._epochs_of.setdefault(name, []).append(epoch)

    def get_state(self) -> dict[str, Any]:
        """Return the epochs so far."""
        return {"epoch": self.epoch, "history": self.history, "epochs_of": self._epochs_of}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on after the epochs so far."""
        self.epoch, self.history = list(state["epoch"]), dict(state["history"])
        self._epochs_of = dict(state["epochs_of"])

    def plot(self) -> Any:
        """Return a matplotlib figure of all curves, training and validation in one plot.

        ``history.plot().savefig("curve.png")`` writes it; in a notebook it shows itself.

        Raises
        ------
        ImportError
            Without matplotlib; the message names the ``pip install`` line.
        ValueError
            If there is no epoch yet.
        """
        if not self.epoch:
            raise ValueError("history: expected at least one epoch, got none")
        names = list(dict.fromkeys(name.removeprefix("val_") for name in self.history))
        figures = _extras.require("matplotlib.figure", "plot")
        figure = figures.Figure(figsize=(4.5 * len(names), 3.5), layout="constrained")
        for position, name in enumerate(names, 1):
            axes = figure.add_subplot(1, len(names), position, xlabel="epoch", title=name)
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                values = self.history.get(key, [])
                if values:
                    epochs = [epoch + 1 for epoch in self._epochs_of[key]]
                    axes.plot(epochs, values, marker=".", label=label)
            axes.legend()
        return figure
