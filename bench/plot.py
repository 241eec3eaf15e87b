"""results.png: a panel of dots for each suite."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import busy_message
from suites import Row
from views import VIEWS, Dot

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
MARGIN_INCHES = 2.2  # for the lines' labels on the left
COLUMN_INCHES = 2.4
MOST_COLUMNS = 3  # of a panel: a suite with more goes on in another one


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

    panels = list(_panels(document["rows"]))
    footer = _footer(document)
    heights = [panel.inches for panel in panels]
    heights.append(0.15 + 0.16 * len(footer.splitlines()))
    width = MARGIN_INCHES + COLUMN_INCHES * MOST_COLUMNS
    figure = pyplot.figure(figsize=(width, sum(heights)))
    *places, foot = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, panel in zip(places, panels, strict=True):
        _plot_panel(place, panel, width)
    foot.text(0.01, 0.5, footer, fontsize=7, color="#555555", va="center")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


@dataclass(frozen=True)
class Panel:
    """Some columns of a suite, side by side."""

    title: str  # empty where it goes on with a suite
    columns: list[str]
    dots: list[Dot]  # of these columns
    series: list[str]  # of the whole suite, so that colours stay

    @property
    def lines(self) -> list[str]:
        return _unique(dot.line for dot in self.dots)

    @property
    def inches(self) -> float:
        return (0.95 if self.title else 0.75) + 0.28 * len(self.lines)


def _panels(rows: list[Row]) -> Iterator[Panel]:
    suites: dict[str, list[Row]] = {}
    for row in rows:
        suites.setdefault(row["suite"], []).append(row)
    for name, found in suites.items():
        view = VIEWS[found[0]["view"]]
        dots = [dot for row in found for dot in view.dots(row)]
        columns, series = _unique(dot.column for dot in dots), _unique(dot.series for dot in dots)
        for first in range(0, len(columns), MOST_COLUMNS):
            chosen = columns[first : first + MOST_COLUMNS]
            title = "" if first else f"{name}: {view.figure}"
            yield Panel(title, chosen, [dot for dot in dots if dot.column in chosen], series)


def _plot_panel(place: Any, panel: Panel, width: float) -> None:
    dots, lines, series = panel.dots, panel.lines, panel.series
    left, inches = MARGIN_INCHES / width, panel.inches
    axes = place.subplots(1, MOST_COLUMNS, sharey=True, squeeze=False)[0]
    for unused in axes[len(panel.columns) :]:
        unused.set_axis_off()
    head = 0.52 if panel.title else 0.32
    place.subplots_adjust(
        left=left, right=0.985, bottom=0.28 / inches, top=1 - head / inches, wspace=0.1
    )
    low = min(0.8, *(dot.low for dot in dots))
    high = max(2.0, *(dot.high for dot in dots))
    for axis, column in zip(axes, panel.columns, strict=False):
        axis.axvspan(low / 2, 1, color="#000000", alpha=0.05, lw=0)
        axis.axvline(1, color="#444444", lw=0.8)
        for dot in dots:
            if dot.column == column:
                which = series.index(dot.series)
                height = lines.index(dot.line) + 0.2 * (which - (len(series) - 1) / 2)
                _plot_dot(axis, dot, height, COLOURS[which % len(COLOURS)])
        axis.set_xscale("log", base=2)
        axis.set_xlim(low / 1.1, high * 1.1)
        powers = _ticks(math.log2(low / 1.1), math.log2(high * 1.1))
        axis.set_xticks([2.0**power for power in powers], [_times(power) for power in powers])
        axis.minorticks_off()
        axis.tick_params(labelsize=8, length=2)
        axis.set_yticks(range(len(lines)), lines, fontsize=8)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.grid(axis="x", lw=0.4, alpha=0.5)
        axis.set_title(column, fontsize=8.5)
        axis.spines[["top", "right", "left"]].set_visible(False)
    if panel.title:
        _head(place, axes[0], panel, left, width)


def _head(place: Any, axis: Any, panel: Panel, left: float, width: float) -> None:
    """The title, and beside it what the colours stand for."""
    title = place.text(
        left, 1 - 0.08 / panel.inches, panel.title, fontsize=10, va="top", weight="bold"
    )
    end = title.get_window_extent().transformed(place.transSubfigure.inverted()).x1
    handles = [
        axis.plot([], [], "o", ms=4, color=COLOURS[i % len(COLOURS)], label=item)[0]
        for i, item in enumerate(panel.series)
    ]
    place.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(end + 0.1 / width, 1.0),
        fontsize=8,
        frameon=False,
        ncols=len(handles),
        borderaxespad=0.2,
        handletextpad=0.2,
    )


def _plot_dot(axis: Any, dot: Dot, height: float, colour: str) -> None:
    axis.plot([dot.low, dot.high], [height, height], color=colour, lw=1.4)
    axis.plot(dot.value, height, "o", ms=4, color=colour, mfc="white" if dot.hollow else colour)


def _ticks(low: float, high: float) -> list[int]:
    """Whole numbers between, 0 among them, at most about eight."""
    step = math.ceil((high - low) / 8)
    return list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))


def _times(power: int) -> str:
    return f"{2.0**power:g}x" if power >= 0 else f"1/{2**-power}x"


def _footer(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = [f"fastrnn {machine['packages']['fastrnn']}"]
    versions += [f"{name} {peer['version']}" for name, peer in document["peers"].items()]
    text = (
        f"{machine['cpu']}, {document['threads']} threads, {document['isa']}; "
        f"{document['started'][:10]}\n{', '.join(versions)}\n"
        "the median of the pairs and its quartiles; hollow: too many pairs were disturbed"
    )
    warning = busy_message(document)
    return text + (f"\n{warning}" if warning else "")


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
