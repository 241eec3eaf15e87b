"""``fastrnn forecast``: how warm will a power transformer's oil be? On ETTh1."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click
import numpy as np

from fastrnn._typing import Array
from fastrnn.callbacks import EarlyStopping
from fastrnn.examples.command import CELLS, cell_option, finish, options, train
from fastrnn.layers import Dense, Dropout
from fastrnn.model import Sequential
from fastrnn.optimizers import Adam

TARGET = "OT"
# Hours of training, validation and test: 12, 4 and 4 months of 30 days, as all who publish results
# on this data split it (Zhou et al., "Informer", AAAI 2021).
SPLIT = (8640, 2880, 2880)


def read(path: Path) -> tuple[list[str], Array]:
    """Return the names of the columns, the target last, and their values [hours, columns].

    Raises
    ------
    OSError, ValueError
        If it cannot be read or is not such a table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8 ({error})") from None
    names = rows[0][1:] if rows else []
    if TARGET not in names or len(rows) <= sum(SPLIT):
        raise ValueError(
            f"{path}: expected ETTh1.csv: a column {TARGET} and {sum(SPLIT):,} hours or more, got "
            f"columns {names} and {max(0, len(rows) - 1):,} rows"
        )
    try:
        values = np.array([row[1:] for row in rows[1:]], dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: expected numbers in rows of one length ({error})") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: expected finite numbers, got NaN or infinity")
    order = [*(i for i, name in enumerate(names) if name != TARGET), names.index(TARGET)]
    return [names[i] for i in order], values[:, order]


def windows(values: Array, begin: int, end: int, past: int, ahead: int) -> tuple[Array, Array]:
    """Return what is seen [N, past, columns] and the target to come [N, ahead] within some hours.

    Both are relative to the last hour that is seen: the level drifts over the months, its changes
    do not. What is seen may lie before ``begin``; what is to come does not.
    """
    starts = np.arange(max(past, begin), end - ahead + 1)
    seen = np.lib.stride_tricks.sliding_window_view(values, past, axis=0).swapaxes(1, 2)
    seen = seen[starts - past]
    to_come = np.lib.stride_tricks.sliding_window_view(values[:, -1], ahead)[starts]
    last = seen[:, -1:]
    return (seen - last).astype(np.float32), (to_come - last[:, :, -1]).astype(np.float32)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="ETTh1.csv.",
)
@cell_option
@click.option(
    "--hidden", type=click.IntRange(min=1), default=64, show_default=True, help="Hidden size."
)
@click.option(
    "--past", type=click.IntRange(min=1), default=96, show_default=True, help="Hours that are seen."
)
@click.option(
    "--ahead",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Hours that are forecast.",
)
@click.option(
    "--all-columns", is_flag=True, help="See the loads too, not the oil's temperature alone."
)
@options(out="fastrnn-forecast", epochs=10)
def command(
    folder: Path,
    data: Path,
    cell: str,
    hidden: int,
    past: int,
    ahead: int,
    all_columns: bool,
    epochs: int,
) -> None:
    """Forecast the oil's temperature for the hours to come, from the hours before.

    Errors are those of values scaled to the training part's mean and deviation, as published
    results have them. The parameters are those of the best epoch on the validation part.
    """
    names, values = read(data)
    if not all_columns:
        names, values = names[-1:], values[:, -1:]
    first, second, third = np.cumsum(SPLIT)
    mean, deviation = values[:first].mean(axis=0), values[:first].std(axis=0)
    scaled = (values - mean) / np.where(deviation > 0, deviation, 1.0)
    parts = {
        part: windows(scaled, begin, end, past, ahead)
        for part, begin, end in (
            ("train", 0, first),
            ("validation", first, second),
            ("test", second, third),
        )
    }

    model = Sequential([CELLS[cell](hidden), Dropout(0.1), Dense(ahead)])
    model.build((None, None, values.shape[1]))
    model.compile(Adam(1e-3), "mse", metrics=["mae"])
    model.metadata = {
        "task": "forecast",
        "columns": json.dumps(names),
        "mean": json.dumps(mean.tolist()),
        "deviation": json.dumps(deviation.tolist()),
    }
    x, y = parts["train"]
    click.echo(
        f"{len(x):,} windows of {past} hours to train on; {model.count_params():,} parameters"
    )
    history = train(
        model,
        x,
        y,
        folder,
        batch_size=32,
        epochs=epochs,
        validation_data=parts["validation"],
        callbacks=[EarlyStopping("val_loss", patience=3, restore_best_weights=True)],
    )
    finish(model, history, folder)
    x, y = parts["test"]
    squared, absolute = model.evaluate(x, y)
    click.echo(
        f"Test: MSE {squared:.4f}, MAE {absolute:.4f}; saying that it stays as it is: MSE "
        f"{np.mean(y**2):.4f}, MAE {np.mean(np.abs(y)):.4f}"
    )
