"""The table on the terminal, the closing lines, results.json and results.png."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from measure import Measurement
from peers import Duel
from suites import Case, Suite

Row = dict[str, Any]

SCHEMA = 1
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito


def make_row(
    suite: Suite, case: Case, duel: Duel, measured: Measurement, error: float, peak: float
) -> Row:
    """One line of the report with every sample behind it."""
    row: Row = {
        "suite": suite.name,
        "series": case.series,
        "label": case.label,
        "mode": case.mode,
        "dtype": case.dtype,
        "threads": case.threads,
        "ours": duel.ours.name,
        "peer": duel.peer.name,
        "steps": case.steps,
        "flops": case.flops,
        "largest_difference": error,
        **measured.as_json(),
    }
    set_shares(row, peak)
    return row


def set_shares(row: Row, peak: float) -> None:
    """What follows from the FMA peak, which may have risen since the row was measured."""
    steps = max(row["steps"], 1)
    for side in ("ours", "peer"):
        seconds = row[side + "_seconds"]
        row[side + "_us_per_step"] = seconds / steps * 1e6
        row[side + "_share_of_peak"] = row["flops"] / seconds / peak


TABLE = "{:<9} {:<26} {:<9} {:<12} {:>6} {:>13} {:>9} {:>9} {:>5} {:>5} {:>6} {:>5}"


def heading(suite: Suite) -> str:
    titles = TABLE.format(
        "",
        "",
        "",
        "peer",
        "ratio",
        "quartiles",
        "us/step",
        "peer's",
        "peak",
        "peer",
        "pairs",
        "lost",
    )
    return f"\n{suite.name}: {suite.title}\n{titles}"


def line(row: Row) -> str:
    def percent(share: float) -> str:
        return f"{share:.0%}" if row["flops"] else "-"

    return TABLE.format(
        row["series"],
        row["label"],
        row["mode"],
        row["peer"],
        f"{row['ratio']:.2f}",
        f"{row['ratio_low']:.2f} - {row['ratio_high']:.2f}",
        _number(row["ours_us_per_step"]),
        _number(row["peer_us_per_step"]),
        percent(row["ours_share_of_peak"]),
        percent(row["peer_share_of_peak"]),
        row["counted"],
        str(row["dropped"]) + ("!" if row["disturbed"] else ""),
    )


LEGEND = (
    "ratio: the peer's time by ours, the median of the pairs (above 1 fastrnn is faster)\n"
    "us/step: microseconds per time step (per call where there are no steps), ours and the peer's\n"
    "peak: the share of the measured FMA peak, ours and the peer's\n"
    "pairs: counted; lost: dropped because the machine was disturbed ('!': too many, so all count "
    "and the row is not to be trusted)"
)


def closing(rows: Sequence[Row]) -> str:
    """Per suite, series and mode: the geometric mean over the best peers, and the worst row."""
    best: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        group = best.setdefault((row["suite"], row["series"], row["mode"]), {})
        if row["label"] not in group or row["ratio"] < group[row["label"]]["ratio"]:
            group[row["label"]] = row
    lines = ["", "against each row's best peer:"]
    for (suite, series, mode), group in best.items():
        mean = geometric_mean(row["ratio"] for row in group.values())
        worst = min(group.values(), key=lambda row: float(row["ratio"]))
        lines.append(
            f"  {suite:<8} {series:<9} {mode:<10} geometric mean {mean:5.2f} over {len(group):>2} "
            f"{'row' if len(group) == 1 else 'rows'}, worst {worst['ratio']:5.2f} "
            f"({worst['label']}, {worst['peer']})"
        )
    return "\n".join(lines)


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def busy_message(document: dict[str, Any]) -> str | None:
    """A warning where the machine was not ours alone, else None."""
    busy = document["busy"]
    reasons = []
    if busy["others_cpus"] > 0.1:
        reasons.append(f"other processes used {busy['others_cpus']:.2f} processors on average")
    if busy["stolen_share"] > 0.01:
        reasons.append(f"the hypervisor withheld {busy['stolen_share']:.1%} of the processor time")
    if busy["load_at_start"] > 0.5:
        reasons.append(f"the load average was {busy['load_at_start']:.1f} at the start")
    dropped = sum(row["dropped"] for row in document["rows"])
    pairs = sum(len(row["pairs"]) for row in document["rows"])
    if dropped > 0.05 * pairs:
        reasons.append(f"{dropped} of {pairs} pairs were disturbed")
    return "THE MACHINE WAS BUSY: " + "; ".join(reasons) if reasons else None


def write_json(document: dict[str, Any], path: Path) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)


def write_plot(document: dict[str, Any], path: Path) -> None:
    """One panel of dots per suite: a line per shape, a column per mode and peer, a colour per cell.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")

    by_suite: dict[str, list[Row]] = {}
    for row in document["rows"]:
        by_suite.setdefault(row["suite"], []).append(row)
    labels = {name: _unique(row["label"] for row in rows) for name, rows in by_suite.items()}
    columns = {
        name: _unique((row["mode"], row["peer"]) for row in rows) for name, rows in by_suite.items()
    }
    heights = [_panel_inches(labels[name]) for name in by_suite]
    footer = _footer(document)
    heights.append(0.15 + 0.16 * len(footer.splitlines()))
    width = MARGIN_INCHES + 2.4 * max(2, *(len(found) for found in columns.values()))
    figure = pyplot.figure(figsize=(width, sum(heights)))
    *panels, foot = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (name, rows) in zip(panels, by_suite.items(), strict=True):
        _plot_suite(panel, name, rows, labels[name], columns[name], width)
    foot.text(0.01, 0.5, footer, fontsize=7, color="#555555", va="center")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


MARGIN_INCHES = 2.0  # for the labels on the left


def _panel_inches(labels: list[str]) -> float:
    return 0.95 + 0.28 * len(labels)


def _plot_suite(
    panel: Any,
    name: str,
    rows: list[Row],
    labels: list[str],
    columns: list[tuple[str, str]],
    width: float,
) -> None:
    series = _unique(row["series"] for row in rows)
    inches = _panel_inches(labels)
    left = MARGIN_INCHES / width
    most = int((width - MARGIN_INCHES) / 2.3)  # columns are as wide in every panel
    axes = panel.subplots(1, most, sharey=True, squeeze=False)[0]
    for unused in axes[len(columns) :]:
        unused.set_axis_off()
    panel.subplots_adjust(
        left=left, right=0.985, bottom=0.28 / inches, top=1 - 0.52 / inches, wspace=0.1
    )
    panel.text(
        left,
        1 - 0.08 / inches,
        f"{name}: peer's time / fastrnn's",
        fontsize=10,
        va="top",
        weight="bold",
    )
    low = min(0.8, *(row["ratio_low"] for row in rows))
    high = max(2.0, *(row["ratio_high"] for row in rows))
    for axis, (mode, peer) in zip(axes, columns, strict=False):
        axis.axvspan(low / 2, 1, color="#000000", alpha=0.05, lw=0)
        axis.axvline(1, color="#444444", lw=0.8)
        for row in rows:
            if (row["mode"], row["peer"]) != (mode, peer):
                continue
            which = series.index(row["series"])
            height = labels.index(row["label"]) + 0.2 * (which - (len(series) - 1) / 2)
            colour = COLOURS[which % len(COLOURS)]
            axis.plot([row["ratio_low"], row["ratio_high"]], [height, height], color=colour, lw=1.4)
            # Hollow: too many of its pairs were disturbed.
            axis.plot(
                row["ratio"],
                height,
                "o",
                ms=4,
                color=colour,
                mfc="white" if row["disturbed"] else colour,
            )
        axis.set_xscale("log", base=2)
        axis.set_xlim(low / 1.1, high * 1.1)
        powers = range(math.ceil(math.log2(low / 1.1)), math.floor(math.log2(high * 1.1)) + 1)
        axis.set_xticks([2.0**power for power in powers], [f"{2.0**power:g}x" for power in powers])
        axis.minorticks_off()
        axis.tick_params(labelsize=8, length=2)
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.grid(axis="x", lw=0.4, alpha=0.5)
        axis.set_title(f"{mode}, {peer}", fontsize=8.5)
        axis.spines[["top", "right", "left"]].set_visible(False)
    handles = [
        axes[0].plot([], [], "o", ms=4, color=COLOURS[i % len(COLOURS)], label=item)[0]
        for i, item in enumerate(series)
    ]
    panel.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left + 2.5 / width, 1.0),  # beside the title
        fontsize=8,
        frameon=False,
        ncols=len(series),
        borderaxespad=0.2,
        handletextpad=0.2,
    )


def _footer(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in machine["packages"].items()
        if name in ("fastrnn", "torch", "onnxruntime", "numpy")
    )
    text = (
        f"{machine['cpu']}, {document['threads']} threads, {document['isa']}; {versions}; "
        f"{document['started'][:10]}\n"
        "right of 1x fastrnn is faster; median of the pairs and its quartiles"
    )
    warning = busy_message(document)
    return text + (f"\n{warning}" if warning else "")


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
