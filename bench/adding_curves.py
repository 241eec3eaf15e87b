"""The curves of ``fastrnn adding``, for docs/memory.md.

``python bench/adding_curves.py LSTM=folder GRU=folder RNN=folder`` takes what the command left in
``--out`` and writes docs/img/adding.json and docs/img/adding.png.
"""

from __future__ import annotations

import csv
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from fastrnn.examples.adding import BATCHES, GUESSING, SOLVED

PLACE = Path(__file__).parents[1] / "docs/img/adding"
COLOURS = ("#0072B2", "#009E73", "#D55E00")


def read(folder: Path) -> list[float]:
    """The error on new sequences after each epoch."""
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file)]


def main(arguments: list[str]) -> None:
    curves = {name: read(Path(folder)) for name, _, folder in (a.partition("=") for a in arguments)}
    document = {"batches_in_an_epoch": BATCHES, "guessing": GUESSING, "mse": curves}
    PLACE.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axis = pyplot.subplots(figsize=(6.2, 3.2))
    for (name, errors), colour in zip(curves.items(), COLOURS, strict=False):
        batches = [BATCHES * (epoch + 1) for epoch in range(len(errors))]
        axis.plot(batches, errors, "o-", ms=3.5, lw=1.3, color=colour, label=name)
    for height, text in ((GUESSING, "always saying 1"), (SOLVED, "solved")):
        axis.axhline(height, color="#444444", lw=0.8, ls="--")
        axis.annotate(
            text, (1, height), (-2, -10 if height == GUESSING else 3), ("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=8, color="#444444",
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xlim(left=0)
    axis.set_xlabel("batches of 64 sequences of 1,000 steps", fontsize=9)
    axis.set_ylabel("mean squared error", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(lw=0.4, alpha=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False, loc="center left")
    figure.tight_layout()
    figure.savefig(PLACE.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main(sys.argv[1:])
