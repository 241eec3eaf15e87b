"""The learning curves of the examples in one picture, with its figures as JSON beside it.

``python bench/plot_curves.py docs/img/results.png language-model:fastrnn=ours
language-model:PyTorch=theirs ...``: each curve is named EXAMPLE:LABEL and lies in the folder that
the example's command, or ``train_in_torch.py``, was given as --out.
"""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import click

from plot import COLOURS

FIGURES = {
    "sentiment": ("val_accuracy", "IMDb: test accuracy"),
    "language-model": ("val_perplexity", "WikiText-2: validation perplexity"),
    "forecast": ("val_loss", "ETTh1: validation MSE"),
    "digits": ("val_accuracy", "Spoken digits: test accuracy"),
}
Curves = dict[str, dict[str, list[float]]]
"""For each example, for each label, the value after each epoch."""


def read(named: Mapping[str, Path]) -> Curves:
    """Return the curves of folders by "EXAMPLE:LABEL".

    Raises
    ------
    ValueError
        If an example is not known, or its figure is not in the folder's history.
    """
    curves: Curves = {}
    for name, folder in named.items():
        example, _, label = name.partition(":")
        if example not in FIGURES or not label:
            raise ValueError(f"{name}: expected EXAMPLE:LABEL, an example of {list(FIGURES)}")
        with open(folder / "history.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        figure = FIGURES[example][0]
        if not rows or figure not in rows[0]:
            raise ValueError(f"{folder}/history.csv: expected a column {figure}")
        curves.setdefault(example, {})[label] = [float(row[figure]) for row in rows]
    return curves


def draw(curves: Curves, path: Path) -> None:
    """Write a panel for each example, a line for each label."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    labels = list(dict.fromkeys(label for lines in curves.values() for label in lines))
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(3.1 * len(curves), 2.8), layout="constrained", squeeze=False
    )
    for axes, (example, lines) in zip(panels[0], curves.items(), strict=True):
        for (label, values), dashes in zip(lines.items(), cycle(("-", "--", ":"))):
            colour = COLOURS[labels.index(label) % len(COLOURS)]
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, dashes, marker="o", ms=3.5, lw=1.5, color=colour, label=label)
        longest = max(map(len, lines.values()))
        axes.set_xticks(range(1, longest + 1, 1 + longest // 8))
        axes.set_title(FIGURES[example][1], fontsize=9.5)
        axes.set_xlabel("epoch", fontsize=8.5)
        axes.tick_params(labelsize=8, length=2)
        axes.grid(lw=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


@click.command()
@click.argument("picture", type=click.Path(path_type=Path))
@click.argument("curves", nargs=-1, required=True)
def main(picture: Path, curves: tuple[str, ...]) -> None:
    """Draw EXAMPLE:LABEL=FOLDER ... into PICTURE, and write the figures beside it."""
    named = {}
    for curve in curves:
        name, equals, folder = curve.partition("=")
        if not equals:
            raise click.BadParameter(f"expected EXAMPLE:LABEL=FOLDER, got {curve!r}")
        named[name] = Path(folder)
    try:
        found = read(named)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    draw(found, picture)
    picture.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
