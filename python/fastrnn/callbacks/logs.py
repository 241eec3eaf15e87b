"""Callbacks that write the figures down."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import IO, Any

from fastrnn import _extras
from fastrnn.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Write each epoch's figures as a line of a CSV file, at once.

    Parameters
    ----------
    filename : path
        Where to.
    separator : str
        What stands between the values.
    append : bool
        Go on with a file that is there instead of replacing it.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self._file: IO[str] | None = None
        self._writer: csv.DictWriter[str] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self.on_train_end()
        mode = "a" if self.append else "w"
        self._file = open(self.filename, mode, newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a line; before the first one, unless the file has one, the names."""
        assert self._file is not None
        logs = logs or {}
        if self._writer is None:
            later = [name for name in self.params["figures"] if name not in logs]
            names = ["epoch", *logs, *(name for name in later if name.startswith("val_"))]
            self._writer = csv.DictWriter(
                self._file, names, restval="NA", extrasaction="ignore", delimiter=self.separator
            )
            if self._file.tell() == 0:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **logs})
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class TensorBoard(Callback):
    """Write the figures for TensorBoard, training and validation side by side (tensorboardX).

    Parameters
    ----------
    log_dir : path
        The folder; "train" and "validation" come to lie in it.
    update_freq : "epoch" or int
        A number writes the figures of the epoch so far as well, each so many batches.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] = "logs", update_freq: str | int = "epoch"
    ) -> None:
        if update_freq != "epoch" and (not isinstance(update_freq, int) or update_freq < 1):
            raise ValueError(f"update_freq: expected 'epoch' or 1 or more, got {update_freq!r}")
        self.log_dir = Path(log_dir)
        self.update_freq = update_freq
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the files."""
        package = _extras.require("tensorboardX", "tensorboard")
        for name in ("train", "validation"):
            self._writers[name] = package.SummaryWriter(str(self.log_dir / name))

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Write the figures so far, if it is the batch's turn."""
        step = self.model.need_optimizer().iterations
        if isinstance(self.update_freq, int) and step % self.update_freq == 0:
            for name, value in (logs or {}).items():
                self._writers["train"].add_scalar(f"batch_{name}", value, step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's figures."""
        for name, value in (logs or {}).items():
            kind = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            self._writers[kind].add_scalar(tag, value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
