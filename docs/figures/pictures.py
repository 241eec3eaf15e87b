"""The pictures of docs/tutorial.md, from what docs/figures/experiments.py measured.

python docs/figures/pictures.py     # docs/img/tutorial_*.png, from the JSON files beside them
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parents[1] / "img"
WIDTH = 9.4  # inches, as the bench's pictures
# Of Okabe and Ito; the cells have the colours that they have in the bench's pictures.
SERIES = {
    "lstm": ("LSTM, forget bias 1", "#0072B2"),
    "lstm, forget bias 0": ("LSTM, forget bias 0", "#CC79A7"),
    "lstm, chrono": ("LSTM, chrono", "#E69F00"),
    "gru": ("GRU", "#D55E00"),
    "rnn": ("RNN", "#009E73"),
}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "val_": ("test reviews", {"marker": "o"}),
    "": ("training reviews", {"ls": ":", "marker": "o", "mfc": "white"}),
}
GREY = "#555555"


def draw(images: Path) -> None:
    """Draw each picture whose JSON file is in the folder.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    for name, picture in {"curves": curves, "gates": gates, "gradients": gradients}.items():
        path = images / f"tutorial_{name}.json"
        if path.exists():
            figure = picture(json.loads(path.read_text(encoding="utf-8")))
            figure.savefig(path.with_suffix(".png"), dpi=130)


def curves(measured: dict[str, Any]) -> Any:
    """Loss and accuracy of each epoch, on the reviews trained on and on the others."""
    figure = _figure(3.7)
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.055, right=0.985, bottom=0.23, top=0.8, wspace=0.14)
    for panel, key in zip(panels, ("loss", "accuracy"), strict=True):
        for name, rows in measured["curves"].items():
            epochs = [row["epoch"] + 1 for row in rows]
            for prefix, style in LINES.items():
                values = [row[prefix + key] for row in rows]
                panel.plot(epochs, values, color=SERIES[name][1], lw=1.4, ms=3.5, **style[1])
        panel.set_xticks(epochs)
        panel.set_xlabel("epoch", fontsize=8)
        panel.set_title(key, fontsize=8.5)
        _plain(panel)
    panels[0].set_ylim(bottom=0)
    panels[1].set_ylim(0.45, 1)
    panels[1].axhline(0.5, color="#444444", lw=0.8)
    _head(figure, "the tutorial's model, epoch by epoch", list(measured["curves"]), LINES.values())
    _foot(figure, measured, "the training's figures are means over an epoch with Dropout at work")
    return figure


def gradients(measured: dict[str, Any]) -> Any:
    """How much of the loss's gradient arrives k steps earlier, before and after training."""
    figure = _figure(4.0)
    panels = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.06, right=0.985, bottom=0.22, top=0.82, wspace=0.06)
    titles = {"before": "as initialised", "after": "after two epochs of training"}
    for panel, (when, title) in zip(panels, titles.items(), strict=True):
        for name, found in measured["gradients"].items():
            rows, distances = found[when], range(len(found[when]))
            low, middle, high = ([row[q] for row in rows] for q in ("low", "median", "high"))
            panel.fill_between(distances, low, high, color=SERIES[name][1], alpha=0.18, lw=0)
            panel.plot(distances, middle, color=SERIES[name][1], lw=1.6)
        panel.set_yscale("log")
        panel.set_ylim(1e-12, 10)
        panel.set_xlim(0, len(rows) - 1)
        panel.set_xlabel("distance k, in words", fontsize=8)
        panel.set_title(title, fontsize=8.5)
        _plain(panel)
    _head(figure, "|dL/dh(T-k)| by |dL/dh(T)|", list(measured["gradients"]))
    _foot(
        figure,
        measured,
        "second layer of the tutorial's model; median and quartiles of the reviews",
    )
    return figure


def gates(measured: dict[str, Any]) -> Any:
    """The gates i, f, o and the cell state of every unit at every word, and the answer so far."""
    titles = {
        "i": "input gate i: how much of the candidate is written",
        "f": "forget gate f: how much of the old cell state is kept",
        "o": "output gate o: how much of the cell state is shown",
        "c": "cell state c",
    }
    words, units = measured["words"], len(measured["i"])
    figure = _figure(9.2)
    panels = figure.subplots(5, 1, height_ratios=[1, 1, 1, 1, 0.9])
    figure.subplots_adjust(left=0.06, right=0.93, bottom=0.135, top=0.93, hspace=0.24)
    for panel, (name, title) in zip(panels, titles.items(), strict=False):
        largest = max(1.0, *(abs(value) for row in measured[name] for value in row))
        scale = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest} if name == "c" else {
            "cmap": "Blues", "vmin": 0, "vmax": 1}  # fmt: skip
        image = panel.imshow(measured[name], aspect="auto", interpolation="nearest", **scale)
        panel.set_yticks([0, units - 1], ["1", str(units)], fontsize=7)
        panel.set_ylabel("unit", fontsize=8, labelpad=-6)
        panel.set_title(title, fontsize=8.5, loc="left", pad=4)
        panel.spines[:].set_visible(False)
        place = panel.get_position()
        bar = figure.colorbar(image, cax=figure.add_axes((0.94, place.y0, 0.012, place.height)))
        bar.ax.tick_params(labelsize=7, length=2)
        bar.outline.set_visible(False)
    answer = panels[-1]
    answer.plot(measured["probability"], "o-", color=SERIES["lstm"][1], lw=1.4, ms=4)
    answer.axhline(0.5, color="#444444", lw=0.8)
    answer.set_ylim(0, 1)
    answer.set_title("the model's answer so far: probability of a positive review", fontsize=8.5,
                     loc="left", pad=4)  # fmt: skip
    _plain(answer)
    for panel in panels:
        panel.set_xlim(-0.5, len(words) - 0.5)
        panel.set_xticks(range(len(words)), [""] * len(words))
        panel.tick_params(axis="x", length=2)
    answer.set_xticklabels(words, rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5)
    answer.grid(axis="x", lw=0.4, alpha=0.5)
    _head(figure, "an LSTM of 16 units reads a review")
    _foot(figure, measured,
          "units in the order of their weight in the answer, the most positive on top; "
          f"test accuracy {measured['test_accuracy']:.3f}")  # fmt: skip
    return figure


# ---- what the pictures share ---------------------------------------------------------------------


def _figure(height: float) -> Any:
    figures: Any = importlib.import_module("matplotlib.figure")
    canvas: Any = importlib.import_module("matplotlib.backends.backend_agg")
    return canvas.FigureCanvasAgg(figures.Figure(figsize=(WIDTH, height))).figure


def _plain(axis: Any) -> None:
    axis.tick_params(labelsize=8, length=2)
    axis.grid(axis="y", lw=0.4, alpha=0.5)
    axis.spines[["top", "right"]].set_visible(False)


def _head(
    figure: Any,
    title: str,
    series: Iterable[str] = (),
    styles: Iterable[tuple[str, dict[str, Any]]] = (),
) -> None:
    """Put the title on top, and beside it what colours and kinds of lines stand for."""
    height = figure.get_figheight()
    text = figure.text(0.012, 1 - 0.1 / height, title, fontsize=10, va="top", weight="bold")
    lines: Any = importlib.import_module("matplotlib.lines")
    handles = [
        lines.Line2D([], [], color=colour, label=label)
        for label, colour in (SERIES[name] for name in SERIES if name in series)
    ]
    for label, style in styles:
        handles.append(lines.Line2D([], [], color=GREY, lw=1.4, ms=3.5, label=label, **style))
    if handles:
        end = text.get_window_extent(figure.canvas.get_renderer())
        figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(end.x1 / figure.bbox.width + 0.02, 1 - 0.02 / height),
            fontsize=8,
            frameon=False,
            ncols=len(handles),
            handlelength=1.6,
            columnspacing=1.4,
        )


def _foot(figure: Any, measured: dict[str, Any], remark: str) -> None:
    text = (
        f"{remark}\n{measured['data']}; fastrnn {measured['fastrnn']}, {measured['isa']}, "
        f"seed {measured['seed']}; {measured['date']}"
    )
    figure.text(0.012, 0.07 / figure.get_figheight(), text, fontsize=7, color=GREY, va="bottom")


if __name__ == "__main__":
    draw(IMAGES)
