"""What the examples' commands share: options, the folder of results, and going on after a stop."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fastrnn import random, runtime
from fastrnn.callbacks import BackupAndRestore, CSVLogger, History
from fastrnn.layers import GRU, LSTM, RNN
from fastrnn.layers.recurrent import RecurrentLayer
from fastrnn.model import Sequential

F = TypeVar("F", bound=Callable[..., Any])

CELLS: dict[str, Callable[..., RecurrentLayer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}

cell_option = click.option(
    "--cell",
    type=click.Choice(list(CELLS)),
    default="lstm",
    show_default=True,
    help="The kind of recurrent layer.",
)


def options(out: str, epochs: int) -> Callable[[F], F]:
    """Add the options that every example has; the command gets ``epochs`` and ``folder``.

    Threads and seed are set then, and the folder is there.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def command(
            seed: int,
            threads: int | None,
            out: Path,
            resume: bool,
            overwrite: bool,
            **arguments: Any,
        ) -> None:
            with clear_errors():
                if threads is not None:
                    runtime.set_num_threads(threads)
                random.set_seed(seed)
                out.mkdir(parents=True, exist_ok=True)
                if overwrite and not resume:
                    checkpoint(out).unlink(missing_ok=True)
                elif not resume:
                    _refuse_to_overwrite(checkpoint(out))
                elif not checkpoint(out).exists():
                    click.echo(f"There is no training to go on with in {out}: a new one begins.")
                function(folder=out, **arguments)

        decorated: Any = command
        for option in reversed(_options(out, epochs)):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return add


def _options(out: str, epochs: int) -> list[Callable[[Any], Any]]:
    return [
        click.option("--epochs", type=click.IntRange(min=1), default=epochs, show_default=True,
                     help="How often the data is gone through."),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                     help="Of initial weights, shuffling and dropout; one seed, one result."),
        click.option("--threads", type=click.IntRange(min=1, max=1024),
                     help="Number of threads; default: what the process may use."),
        click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=out,
                     show_default=True,
                     help="Folder for the model and the curve. Where it holds a training already, "
                     "--resume or --overwrite must say what to do."),
        click.option("--resume", is_flag=True,
                     help="Go on with the training in the folder --out that was stopped, or that "
                     "is to have more --epochs."),
        click.option("--overwrite", is_flag=True,
                     help="Begin anew in a folder that holds a training."),
    ]  # fmt: skip


def _refuse_to_overwrite(path: Path) -> None:
    if path.exists():
        raise FileExistsError(
            f"--out: {path.parent} holds a training already: --resume goes on with it, "
            "--overwrite begins anew"
        )


class clear_errors:  # noqa: N801 (a context manager)
    """Show an error that the user can mend as one line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        mendable = ImportError | IndexError | MemoryError | OSError | TypeError | ValueError
        if isinstance(error, mendable):
            raise click.ClickException(str(error) or "out of memory") from error


def checkpoint(folder: Path) -> Path:
    """Return where a training leaves its state after each epoch."""
    return folder / "checkpoint.safetensors"


def train(model: Sequential, x: Any, y: Any, folder: Path, **options: Any) -> History:
    """Fit the model, from where a training in the folder was stopped, if it was.

    Writes the curve as it goes. ``options`` are those of `Sequential.fit`.
    """
    callbacks = [
        *options.pop("callbacks", []),
        CSVLogger(folder / "history.csv", append=checkpoint(folder).exists()),
        BackupAndRestore(checkpoint(folder), delete_checkpoint=False),
    ]
    return model.fit(x, y, callbacks=callbacks, **options)


def finish(model: Sequential, history: History, folder: Path) -> None:
    """Save the model, and the curve where matplotlib is there; say where they are."""
    if not history.epoch:
        raise ValueError("the training was stopped before its first batch")
    model.save(folder / "model.safetensors")
    # Anew: a process that was killed between two files may have left an epoch twice.
    with open(folder / "history.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history.history])
        writer.writerows(zip(history.epoch, *history.history.values(), strict=True))
    files = ["model.safetensors", "history.csv"]
    try:
        history.plot().savefig(folder / "history.png", dpi=120)
        files.append("history.png")
    except ImportError as error:
        click.echo(f"No picture of the curve: {error}")
    click.echo(f"Written to {folder}: {', '.join(files)}")
    if history.interrupted:
        click.echo("The training was stopped; --resume goes on with it.")
