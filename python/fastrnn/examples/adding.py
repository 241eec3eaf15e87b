"""``fastrnn adding``: the sum of two numbers that were marked long ago.

Hochreiter and Schmidhuber's test of long dependencies (1997), as it is run since: a sequence of
numbers in [0, 1), two of them marked, one in either half; at its end their sum is asked for.
Whoever always answers 1 has a mean squared error of 1/6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from fastrnn import random
from fastrnn._typing import Floating
from fastrnn.callbacks import Callback, Logs
from fastrnn.examples.command import CELLS, cell_option, finish, options, train
from fastrnn.layers import Dense
from fastrnn.model import Sequential
from fastrnn.optimizers import Adam

GUESSING = 1 / 6
SOLVED = 0.01
BATCHES = 100  # in an epoch
TESTED = 512  # sequences


def draw(count: int, steps: int, rng: np.random.Generator) -> tuple[Floating, Floating]:
    """Draw sequences [count, steps, 2] of (number, marked or not), and their sums [count, 1]."""
    x = np.zeros((count, steps, 2), np.float32)
    x[..., 0] = rng.random((count, steps), np.float32)
    half, rows = steps // 2, np.arange(count)
    first, second = rng.integers(half, size=count), rng.integers(half, steps, size=count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, (x[rows, first, 0] + x[rows, second, 0])[:, None]


@dataclass(frozen=True)
class FreshBatches:
    """An epoch of batches, every one drawn anew."""

    batch_size: int
    steps: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return BATCHES

    def __iter__(self) -> Iterator[tuple[Floating, Floating]]:
        for _ in range(BATCHES):
            yield draw(self.batch_size, self.steps, random.generator())


class StopWhenSolved(Callback):
    """Ends the training when the error on new sequences is under `SOLVED`."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the error."""
        if logs is not None and logs["val_loss"] < SOLVED:
            self.model.stop_training = True


def recurrent_layer(cell: str, hidden: int, chrono_steps: int | None, **options: Any) -> Any:
    """Return the layer; a plain RNN has no gates to initialise."""
    if cell != "rnn":
        options["chrono_steps"] = chrono_steps
    return CELLS[cell](hidden, **options)


@click.command()
@cell_option
@click.option(
    "--steps", type=click.IntRange(min=4), default=1000, show_default=True, help="Length T."
)
@click.option(
    "--hidden", type=click.IntRange(min=1), default=64, show_default=True, help="Hidden size."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Sequences in a batch.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0.0, min_open=True),
    default=2e-3,
    show_default=True,
    help="Of Adam.",
)
@click.option(
    "--chrono/--no-chrono",
    default=True,
    show_default=True,
    help="Begin with gates that keep for 1 to T steps (Tallec and Ollivier 2018).",
)
@click.option("--memory-limit", help="Most that the layer may keep for a step, such as 64MB.")
@options(out="fastrnn-adding", epochs=30)
def command(
    folder: Path,
    cell: str,
    steps: int,
    hidden: int,
    batch_size: int,
    learning_rate: float,
    chrono: bool,
    memory_limit: str | None,
    epochs: int,
) -> None:
    """Learn to add two numbers that were marked up to T steps ago.

    An epoch is 100 batches of new sequences; the error shown is that on 512 others. The training
    ends when that is under 0.01, or after --epochs.
    """
    layer = recurrent_layer(cell, hidden, steps if chrono else None, memory_limit=memory_limit)
    model = Sequential([layer, Dense(1)])
    model.build((None, None, 2))
    model.compile(Adam(learning_rate, global_clipnorm=1.0), "mse")
    model.metadata = {"task": "adding"}
    click.echo(
        f"Sequences of {steps:,} steps; {model.count_params():,} parameters; always saying 1: "
        f"MSE {GUESSING:.4f}"
    )
    tested = draw(TESTED, steps, np.random.default_rng(1))
    history = train(
        model,
        FreshBatches(batch_size, steps),
        None,
        folder,
        epochs=epochs,
        validation_data=tested,
        callbacks=[StopWhenSolved()],
    )
    finish(model, history, folder)
    error = history.history["val_loss"][-1]
    done = (history.epoch[-1] + 1) * BATCHES
    said = "solved" if error < SOLVED else "not solved"
    click.echo(f"{said} after {done:,} batches of {batch_size}: MSE {error:.4f}")
