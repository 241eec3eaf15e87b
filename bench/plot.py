"""results.png: a panel of dots for each suite."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report import busy_message
from views import VIEWS, Dot, View

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
MARGIN_INCHES = 2.2  # for the lines' labels on the left
COLUMN_INCHES = 2.4


def write_plot(document: dict[str, Any], path: Path) -> None:
    """A line per shape, a column per mode and peer, a colour per cell.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")

    dots: dict[str, list[Dot]] = {}
    views: dict[str, View] = {}
    for row in document["rows"]:
        view = views.setdefault(row["suite"], VIEWS[row["view"]])
        dots.setdefault(row["suite"], []).extend(view.dots(row))
    footer = _footer(document)
    heights = [_panel_inches(found) for found in dots.values()]
    heights.append(0.15 + 0.16 * len(footer.splitlines()))
    columns = max(2, *(len(_unique(dot.column for dot in found)) for found in dots.values()))
    width = MARGIN_INCHES + COLUMN_INCHES * columns
    figure = pyplot.figure(figsize=(width, sum(heights)))
    *panels, foot = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (name, found) in zip(panels, dots.items(), strict=True):
        _plot_suite(panel, f"{name}: {views[name].figure}", found, columns, width)
    foot.text(0.01, 0.5, footer, fontsize=7, color="#555555", va="center")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _panel_inches(dots: list[Dot]) -> float:
    return 0.95 + 0.28 * len(_unique(dot.line for dot in dots))


def _plot_suite(panel: Any, title: str, dots: list[Dot], most_columns: int, width: float) -> None:
    columns, lines, series = (
        _unique(getattr(dot, name) for dot in dots) for name in ("column", "line", "series")
    )
    inches = _panel_inches(dots)
    left = MARGIN_INCHES / width
    axes = panel.subplots(1, most_columns, sharey=True, squeeze=False)[0]
    for unused in axes[len(columns) :]:
        unused.set_axis_off()
    panel.subplots_adjust(
        left=left, right=0.985, bottom=0.28 / inches, top=1 - 0.52 / inches, wspace=0.1
    )
    heading = panel.text(left, 1 - 0.08 / inches, title, fontsize=10, va="top", weight="bold")
    low = min(0.8, *(dot.low for dot in dots))
    high = max(2.0, *(dot.high for dot in dots))
    for axis, column in zip(axes, columns, strict=False):
        axis.axvspan(low / 2, 1, color="#000000", alpha=0.05, lw=0)
        axis.axvline(1, color="#444444", lw=0.8)
        for dot in dots:
            if dot.column == column:
                which = series.index(dot.series)
                height = lines.index(dot.line) + 0.2 * (which - (len(series) - 1) / 2)
                _plot_dot(axis, dot, height, COLOURS[which % len(COLOURS)])
        axis.set_xscale("log", base=2)
        axis.set_xlim(low / 1.1, high * 1.1)
        powers = range(math.ceil(math.log2(low / 1.1)), math.floor(math.log2(high * 1.1)) + 1)
        axis.set_xticks([2.0**power for power in powers], [_times(power) for power in powers])
        axis.minorticks_off()
        axis.tick_params(labelsize=8, length=2)
        axis.set_yticks(range(len(lines)), lines, fontsize=8)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.grid(axis="x", lw=0.4, alpha=0.5)
        axis.set_title(column, fontsize=8.5)
        axis.spines[["top", "right", "left"]].set_visible(False)
    handles = [
        axes[0].plot([], [], "o", ms=4, color=COLOURS[i % len(COLOURS)], label=item)[0]
        for i, item in enumerate(series)
    ]
    title_end = heading.get_window_extent().transformed(panel.transSubfigure.inverted()).x1
    panel.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(title_end + 0.1 / width, 1.0),
        fontsize=8,
        frameon=False,
        ncols=len(series),
        borderaxespad=0.2,
        handletextpad=0.2,
    )


def _plot_dot(axis: Any, dot: Dot, height: float, colour: str) -> None:
    axis.plot([dot.low, dot.high], [height, height], color=colour, lw=1.4)
    axis.plot(dot.value, height, "o", ms=4, color=colour, mfc="white" if dot.hollow else colour)


def _times(power: int) -> str:
    return f"{2.0**power:g}x" if power >= 0 else f"1/{2**-power}x"


def _footer(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = [f"fastrnn {machine['packages']['fastrnn']}"]
    versions += [f"{name} {peer['version']}" for name, peer in document["peers"].items()]
    text = (
        f"{machine['cpu']}, {document['threads']} threads, {document['isa']}; "
        f"{', '.join(versions)}; {document['started'][:10]}\n"
        "the median of the pairs and its quartiles; hollow: too many pairs were disturbed"
    )
    warning = busy_message(document)
    return text + (f"\n{warning}" if warning else "")


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
