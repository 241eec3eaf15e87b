"""How rows are shown: the columns of the table on the terminal, and the dots of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suites import Row, Suite


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    width: int  # negative: to the left
    text: Callable[[Row], str]


@dataclass(frozen=True)
class Dot:
    """One value of a row in the picture, in its column, its line and its colour."""

    column: str
    line: str
    series: str
    value: float
    low: float
    high: float
    hollow: bool = False  # not to be trusted: too many of its pairs were disturbed


@dataclass(frozen=True)
class View:
    """One way to show a row."""

    columns: tuple[Column, ...]
    figure: str  # what the dots stand for
    dots: Callable[[Row], list[Dot]]

    def heading(self, suite: Suite) -> str:
        return f"\n{suite.name}: {suite.title}\n" + self._aligned([c.title for c in self.columns])

    def line(self, row: Row) -> str:
        return self._aligned([column.text(row) for column in self.columns])

    def _aligned(self, texts: list[str]) -> str:
        return " ".join(
            text.rjust(column.width) if column.width > 0 else text.ljust(-column.width)
            for column, text in zip(self.columns, texts, strict=True)
        ).rstrip()


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _percent(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:.0%}" if row.get(key) else "-"


def _figure(key: str) -> Callable[[Row], str]:
    return lambda row: _number(row[key])


def _fixed(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:.2f}"


def _mebibytes(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key] / 2**20:.1f}"


def _text(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _between(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key + '_low']:.2f} - {row[key + '_high']:.2f}"


WORK = (
    Column("", -8, _text("series")),
    Column("", -27, _text("label")),
    Column("", -15, _text("mode")),
    Column("peer", -12, _text("peer")),
)
RATIO = (
    Column("ratio", 6, _fixed("ratio")),
    Column("quartiles", 14, _between("ratio")),
)
COUNTED = (
    Column("pairs", 6, _text("counted")),
    Column("lost", 5, lambda row: str(row["dropped"]) + ("!" if row["disturbed"] else "")),
)
QUALITY = (
    Column("peak", 5, _percent("ours_share_of_peak")),
    Column("peer", 5, _percent("peer_share_of_peak")),
    Column("stream", 6, _percent("ours_share_of_stream")),
    *COUNTED,
)
US_PER_STEP = (
    Column("us/step", 9, _figure("ours_us_per_step")),
    Column("peer's", 9, _figure("peer_us_per_step")),
)
SAMPLES_PER_SECOND = (
    Column("samples/s", 9, _figure("ours_samples_per_second")),
    Column("peer's", 9, _figure("peer_samples_per_second")),
)
SLOWDOWN = (
    *WORK[:-1],
    Column("who", -12, _text("peer")),
    Column("times", 6, _fixed("slowdown")),
    Column("quartiles", 14, _between("slowdown")),
    Column("quiet ms", 9, lambda row: _number(row["quiet_seconds"] * 1e3)),
    Column("busy ms", 9, lambda row: _number(row["busy_seconds"] * 1e3)),
    *COUNTED,
)
TORCH = (
    *WORK,
    *RATIO,
    *US_PER_STEP,
    Column("peak", 5, _percent("ours_share_of_peak")),
    Column("share", 6, _percent("ours_recurrent_share")),
    Column("peer's", 6, _percent("peer_recurrent_share")),
    Column("over us", 7, lambda row: f"{row['over_us']:.1f}" if "over_us" in row else "-"),
    *COUNTED,
)
MEMORY = (
    *WORK,
    Column("activ.", 7, _mebibytes("ours_activations")),
    Column("peer's", 7, _mebibytes("peer_activations")),
    Column("ratio", 6, _fixed("activations_ratio")),
    Column("peak", 7, _mebibytes("ours_peak")),
    Column("peer's", 7, _mebibytes("peer_peak")),
    Column("ratio", 6, _fixed("peak_ratio")),
    Column("process", 8, _mebibytes("ours_process")),
    Column("peer's", 7, _mebibytes("peer_process")),
)


def _ratio_dots(row: Row) -> list[Dot]:
    column = f"{row['mode']}, {row['peer']}"
    low, high = row["ratio_low"], row["ratio_high"]
    return [Dot(column, row["label"], row["series"], row["ratio"], low, high, row["disturbed"])]


def _slowdown_dots(row: Row) -> list[Dot]:
    line = f"{row['label']} ({row['series']})"
    values = row["slowdown"], row["slowdown_low"], row["slowdown_high"]
    return [Dot(f"{row['mode']}", line, row["peer"], *values, row["disturbed"])]


def _memory_dots(row: Row) -> list[Dot]:
    line = row["label"] if row["mode"] == "layers" else f"{row['mode']} {row['label']}"
    line += row["peer"].removeprefix("torch")  # packed, padded
    return [
        Dot(f"{what}, torch", line, row["series"], *[row[f"{what}_ratio"]] * 3)
        for what in ("activations", "peak")
    ]


VIEWS = {
    "speed": View((*WORK, *RATIO, *US_PER_STEP, *QUALITY), "peer's time / fastrnn's", _ratio_dots),
    "samples": View(
        (*WORK, *RATIO, *SAMPLES_PER_SECOND, *QUALITY), "peer's time / fastrnn's", _ratio_dots
    ),
    "torch": View(TORCH, "peer's time / drop-in's", _ratio_dots),
    "slowdown": View(SLOWDOWN, "time beside busy neighbours / quiet time", _slowdown_dots),
    "memory": View(MEMORY, "peer's memory / fastrnn's", _memory_dots),
}

LEGEND = """\
ratio: the peer's time by ours, the median of the pairs (above 1 fastrnn is faster)
us/step: microseconds per time step (per call where there are no steps), ours and the peer's
peak: the share of the FMA rate that was measured beside each pair, ours and the peer's
stream: batch 1, the share of the bandwidth at which an array of the weights' size is read
share: of a model's step that its recurrent layers take, ours and the peer's
over us: the microseconds that a call of the drop-in takes longer than the functional form
pairs: counted; lost: dropped because the machine was disturbed ('!': too many, so all count \
and the row is not to be trusted)"""
