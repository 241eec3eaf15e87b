"""What `fit`, `evaluate` and `predict` show: bars on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from fastrnn.callbacks import Callback, Logs


def for_verbosity(verbose: int | str) -> list[Callback]:
    """Return the callbacks for 0 (nothing), 1 (a bar), 2 (lines) or "auto" (what fits)."""
    verbose = _checked(verbose, elsewhere=2)
    if verbose == 0:
        return []
    return [ProgressBar() if verbose == 1 else ProgressLines()]


def for_pass(verbose: int | str, title: str, batches: int | None) -> list[Callback]:
    """Do the same for one pass over data; "auto" shows nothing where there is no terminal."""
    verbose = _checked(verbose, elsewhere=0)
    return [PassBar(title, batches, line=verbose == 2)] if verbose else []


def _checked(verbose: int | str, elsewhere: int) -> int | str:
    if verbose == "auto":
        return 1 if sys.stderr.isatty() else elsewhere
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 0, 1, 2 or 'auto', got {verbose!r}")
    return verbose


def spell(logs: Logs) -> str:
    """Write figures as "loss 0.1234 accuracy 0.9876"."""
    return " ".join(f"{name} {value:.4f}" for name, value in logs.items())


class ProgressLines(Callback):
    """Print one line after each epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Print the epoch's line."""
        seconds = time.perf_counter() - self._start
        title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        print(f"{title}: {spell(logs or {})} ({seconds:.1f} s)", flush=True)


class ProgressBar(Callback):
    """Show a bar for each epoch on the standard error stream."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Open a bar."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        self._bar = tqdm(
            total=self.params["steps"],
            desc=f"Epoch {epoch + 1}/{self.params['epochs']}",
            unit="batch",
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar on."""
        # update() says whether it redrew: the text is made only then.
        if self._bar.update():
            self._bar.set_postfix_str(spell(logs or {}), refresh=False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Leave the bar with the epoch's figures."""
        self._bar.set_postfix_str(spell(logs or {}))
        self._bar.close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close what an error or a second Ctrl-C left open."""
        if self._bar is not None:
            self._bar.close()


class PassBar(Callback):
    """Show a bar while an evaluation or a prediction runs, or with ``line`` a line after it."""

    def __init__(self, title: str, batches: int | None, line: bool) -> None:
        self._title, self._batches, self._line = title, batches, line
        self._bar: Any = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the bar."""
        from tqdm import tqdm

        self._start = time.perf_counter()
        options = {"unit": "batch", "dynamic_ncols": True, "disable": self._line}
        self._bar = tqdm(total=self._batches, desc=self._title, **options)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar on."""
        self._bar.update()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Leave the bar, or print the line, with the figures."""
        self._bar.set_postfix_str(spell(logs or {}))
        self._bar.close()
        if self._line:
            seconds = time.perf_counter() - self._start
            print(f"{self._title}: {spell(logs or {})} ({seconds:.1f} s)", flush=True)

    on_predict_begin = on_test_begin
    on_predict_batch_end = on_test_batch_end
    on_predict_end = on_test_end
