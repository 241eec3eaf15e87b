"""The examples' commands with PyTorch in place of fastrnn's training loop.

``python bench/train_in_torch.py language-model --data ...`` takes what ``fastrnn language-model``
takes and runs it: the same data, in the same batches and the same order, the same model from the
same initial weights, the same optimiser, callbacks and figures; but every step, and every figure
of the validation, is PyTorch's. The figures are left in the folder --out, as the command does.

``--in-turn 300`` trains no model: it takes 300 steps of each library in turn, on the same batches,
and tells how long they took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import fastrnn
from fastrnn import random, runtime
from fastrnn.callbacks import Callback, CSVLogger, History, tell
from fastrnn.data import as_batch, as_batches
from fastrnn.examples import digits, forecast, language_model, sentiment
from fastrnn.layers import Dropout
from fastrnn.training import train_step
from torch_twin import Twin

EXAMPLES: dict[str, Any] = {
    "digits": digits,
    "forecast": forecast,
    "language-model": language_model,
    "sentiment": sentiment,
}
Train = Callable[..., History]


def train(
    model: fastrnn.Sequential,
    x: Any,
    y: Any,
    folder: Path,
    *,
    epochs: int,
    batch_size: int = 32,
    validation_data: Any,
    callbacks: Sequence[Callback] = (),
) -> History:
    """Do what `fastrnn.examples.command.train` does, in PyTorch."""
    torch.set_num_threads(runtime.get_num_threads())
    twin, history = Twin(model), History()
    model.stop_training = False
    every = [*callbacks, CSVLogger(folder / "history.csv"), history]
    tell(every, "set_model", model)
    params = {"epochs": epochs, "steps": None, "verbose": 2}
    names = ["loss", *(f"val_{name}" for name in twin.figures)]
    tell(every, "set_params", {**params, "figures": names, "other_figures": True})
    tell(every, "on_train_begin", {})
    batches = as_batches(x, y, batch_size, shuffle=True)
    validation = _batches(validation_data, batch_size)
    for epoch in range(epochs):
        if model.stop_training:
            break
        began, total, targets = time.perf_counter(), 0.0, 0
        twin.reset_states()
        for batch in map(as_batch, batches):
            count = np.asarray(batch.y).size
            total += float(twin.train_step(batch)) * count
            targets += count
            _draw_as_fastrnn_does(model)
        seconds = time.perf_counter() - began
        figures = twin.evaluate(map(as_batch, validation))
        logs = {f"val_{name}": value for name, value in figures.items()}
        logs = {"loss": total / targets, **logs}
        twin.hand_back()
        tell(every, "on_epoch_end", epoch, logs)
        shown = " ".join(f"{name} {value:.4f}" for name, value in logs.items())
        click.echo(f"Epoch {epoch + 1}/{epochs}: {shown} ({seconds:.1f} s of training)")
    tell(every, "on_train_end", {})
    return history


def in_turn(steps: int) -> Train:
    """Return what takes ``steps`` steps of each library in turn, and tells how long they took."""

    def measure(model: fastrnn.Sequential, x: Any, y: Any, folder: Path, **options: Any) -> History:
        torch.set_num_threads(runtime.get_num_threads())
        batches = as_batches(x, y, options.get("batch_size", 32), shuffle=True)
        twin, times = Twin(model), np.empty((steps, 2))
        for step, batch in enumerate(islice(cycle(map(as_batch, batches)), steps)):
            began = time.perf_counter()
            train_step(model, batch)
            between = time.perf_counter()
            twin.train_step(batch)
            times[step] = between - began, time.perf_counter() - between
        ours, theirs = np.median(times, axis=0) * 1e3
        low, high = np.quantile(times[:, 1] / times[:, 0], [0.25, 0.75])
        ratio = np.median(times[:, 1] / times[:, 0])
        click.echo(
            f"{steps} steps of each in turn: fastrnn {ours:.1f} ms, PyTorch {theirs:.1f} ms, "
            f"ratio {ratio:.2f} (quartiles {low:.2f} - {high:.2f})"
        )
        raise SystemExit(0)

    return measure


def _batches(data: Any, batch_size: int) -> Any:
    """Return validation data, arrays or batches, as batches."""
    if not isinstance(data, tuple):
        return data
    x, y = data
    return as_batches(x, y, batch_size)


def _draw_as_fastrnn_does(model: fastrnn.Sequential) -> None:
    """Draw as many seeds as fastrnn's layers do, so that the next epoch has the same order."""
    for layer in model.layers:
        inner: Any = layer.inner_layers[0] if layer.inner_layers else layer
        recurrent = getattr(inner, "stack_dropout", 0) and inner.num_layers > 1
        if isinstance(layer, Dropout) or recurrent:
            random.next_seed()


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--in-turn", "steps", type=click.IntRange(min=1), help="Measure so many steps.")
@click.argument("example", type=click.Choice(list(EXAMPLES)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(steps: int | None, example: str, arguments: tuple[str, ...]) -> None:
    """Run an example with PyTorch in the place of fastrnn's training loop."""
    module = EXAMPLES[example]
    module.train = train if steps is None else in_turn(steps)
    module.command.main(list(arguments), prog_name=f"train_in_torch.py {example}")


if __name__ == "__main__":
    main()
