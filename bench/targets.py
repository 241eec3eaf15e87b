"""What the bench is to show, as data, and whether a run shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from suites import Row

# No ratio goes beyond the machine: a row at its limit counts as reached.
LIMIT_OF_PEAK = 0.82  # of the FMA rate
LIMIT_OF_STREAM = 0.90  # of the read bandwidth, batch 1


Extreme = Callable[..., Any]  # min or max


@dataclass(frozen=True)
class Target:
    """One line: rows, the figure that counts, and what it has to reach."""

    name: str
    rows: Callable[[Row], bool]
    worst: float | None = None  # every row
    mean: float | None = None  # the rows' geometric mean
    figure: str = "ratio"
    best: Extreme = min  # of a case's rows this one counts: that of the best peer
    at_most: bool = False  # smaller is better


@dataclass(frozen=True)
class Outcome:
    """What a run showed of a target."""

    name: str
    reached: bool
    rows: int
    at_limit: int  # rows that count because no ratio goes beyond the machine
    mean: float | None
    mean_target: float | None
    worst: float
    worst_target: float | None
    worst_row: str
    missed: tuple[str, ...]  # rows that are short of ``worst_target``

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _in(
    suite: str, mode: str = "", series: str = "", label: str = "", peer: str = ""
) -> Callable[[Row], bool]:
    def chosen(row: Row) -> bool:
        return bool(
            row["suite"] == suite
            and mode in ("", row["mode"])
            and series in ("", row["series"])
            and label in ("", row["label"])
            and str(row["peer"]).startswith(peer)
        )

    return chosen


def _slowdown(series: str, which: int) -> Callable[[Row], bool]:
    """Of fastrnn beside the smaller (0) or the larger (1) crowd."""

    def chosen(row: Row) -> bool:
        return bool(
            row["suite"] == "contention"
            and row["series"] == series
            and row["peer"] == "fastrnn"
            and row["crowd"] == which
        )

    return chosen


LARGE = "T100 B64 I256 H512"

TARGETS = (
    Target("LSTM training", _in("layers", "training", "lstm"), 1.25, 1.6),
    Target("GRU training", _in("layers", "training", "gru"), 1.8, 2.5),
    Target("RNN training", _in("layers", "training", "rnn_tanh"), 1.8, 2.5),
    Target("LSTM inference", _in("layers", "inference", "lstm"), 1.0, 1.2),
    Target("GRU inference", _in("layers", "inference", "gru"), 1.1, 1.5),
    Target("RNN inference", _in("layers", "inference", "rnn_tanh"), 1.5, 2.5),
    Target("float64 training", _in("double", "training"), 1.5, 2.0),
    Target("ragged training, packed", _in("ragged", "training", peer="torch packed"), 3.0, 5.0),
    # PyTorch's padded batches with a mask are often faster than its packed sequences.
    Target("ragged training, padded", _in("ragged", "training", peer="torch padded"), 3.0, 5.0),
    Target("2-layer bidirectional training", _in("deep", "training", "x2 bi"), 1.4, 1.7),
    Target("one step, batch 1", _in("step", "step"), 2.0, 3.0),
    Target("tutorial training, torch", _in("tutorial", "training", peer="torch"), None, 2.5),
    Target("tutorial training, keras", _in("tutorial", "training", peer="keras"), None, 4.0),
    Target(
        f"LSTM {LARGE} forward, share of peak",
        _in("layers", "inference", "lstm", LARGE),
        0.85,
        figure="ours_share_of_peak",
        best=max,  # of the functional and the prepared form
    ),
    Target(
        f"LSTM {LARGE} training, share of peak",
        _in("layers", "training", "lstm", LARGE),
        0.78,
        figure="ours_share_of_peak",
        best=max,
    ),
    Target("drop-in LSTM training", _in("torch", "training", "lstm"), None, 1.4),
    Target("drop-in GRU training", _in("torch", "training", "gru"), None, 2.0),
    Target("drop-in RNN training", _in("torch", "training", "rnn_tanh"), None, 2.0),
    Target("drop-in packed training", _in("torch", "packed", peer="torch packed"), None, 4.0),
    Target("drop-in packed against padded", _in("torch", "padding"), 0.95),  # 5%: a row's noise
    Target("drop-in, us a call", _in("torch", "call"), 30, figure="over_us", at_most=True),
    Target(
        "drop-in, us a call with a graph",
        _in("torch", "call, graph"),
        30,
        figure="over_us",
        at_most=True,
    ),
    Target("merged products, forward", _in("gemm", "forward"), 0.9),
    Target("merged products, backward", _in("gemm", "backward"), 0.9),
    Target("ragged by its valid tokens", _in("ragged", "cost"), 1 / 1.15),
    Target("rows, half the cores busy", _slowdown("rows", 0), 2.2, figure="slowdown", at_most=True),
    Target("rows, all cores busy", _slowdown("rows", 1), 3.0, figure="slowdown", at_most=True),
    Target(
        "units, half the cores busy", _slowdown("units", 0), 4.0, figure="slowdown", at_most=True
    ),
    Target("units, all cores busy", _slowdown("units", 1), 4.0, figure="slowdown", at_most=True),
    Target("activation memory", _in("memory"), 1.0, figure="activations_ratio"),
    Target("peak memory of a step", _in("memory"), 1.0, figure="peak_ratio"),
)


def outcomes(rows: Sequence[Row], targets: Sequence[Target] = TARGETS) -> list[Outcome]:
    """Of each target that has rows among these."""
    found = ((target, best_rows(rows, target)) for target in targets)
    return [_outcome(target, chosen) for target, chosen in found if chosen]


def best_rows(rows: Iterable[Row], target: Target) -> list[Row]:
    """One row for each case: where there are several peers, that of the best."""
    cases: dict[tuple[str, ...], list[Row]] = {}
    for row in filter(target.rows, rows):
        key = tuple(str(row[name]) for name in ("suite", "series", "label", "mode", "threads"))
        cases.setdefault(key, []).append(row)
    return [_extreme(target.best, case, target.figure) for case in cases.values()]


def at_limit(row: Row) -> bool:
    """Whether this row cannot be faster on this machine; of a disturbed row nobody can tell."""
    if row.get("disturbed"):
        return False
    peak, stream = row.get("ours_share_of_peak", 0.0), row.get("ours_share_of_stream", 0.0)
    return bool(peak >= LIMIT_OF_PEAK or stream >= LIMIT_OF_STREAM)


def _extreme(best: Extreme, rows: Iterable[Row], figure: str) -> Row:
    found: Row = best(rows, key=lambda row: float(row[figure]))
    return found


def _outcome(target: Target, rows: list[Row]) -> Outcome:
    limited = [row for row in rows if target.figure == "ratio" and at_limit(row)]

    def short(row: Row) -> bool:
        figure = row[target.figure]
        if target.worst is None or row in limited:
            return False
        return bool(figure > target.worst if target.at_most else figure < target.worst)

    missed = tuple(f"{_name(row)} {row[target.figure]:.2f}" for row in rows if short(row))
    worst = _extreme(max if target.at_most else min, rows, target.figure)
    mean, enough = None, True
    if (wanted := target.mean) is not None:
        ratios = [float(row[target.figure]) for row in rows]
        mean = geometric_mean(ratios)
        # A row at the limit enters as what is asked for, or better.
        enough = wanted <= geometric_mean(
            max(ratio, wanted) if row in limited else ratio
            for ratio, row in zip(ratios, rows, strict=True)
        )
    return Outcome(
        name=target.name,
        reached=not missed and enough,
        rows=len(rows),
        at_limit=len(limited),
        mean=mean,
        mean_target=target.mean,
        worst=worst[target.figure],
        worst_target=target.worst,
        worst_row=_name(worst),
        missed=missed,
    )


def _name(row: Row) -> str:
    series = "" if row["series"] in row["label"] else f"{row['series']} "
    return f"{series}{row['label']} ({row['peer']})"


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def report(found: Sequence[Outcome]) -> str:
    """A line for each target, and below it the rows that miss it."""
    lines = [
        f"\ntargets (a row counts with its ratio, or at {LIMIT_OF_PEAK:.0%} of the FMA rate or, "
        f"batch 1, {LIMIT_OF_STREAM:.0%} of the read bandwidth):"
    ]
    for outcome in found:
        text = f"  {'yes' if outcome.reached else 'NO ':<3} {outcome.name:<42}"
        text += _against("mean", outcome.mean, outcome.mean_target)
        text += _against("worst", outcome.worst, outcome.worst_target)
        text += f"{outcome.rows:>3} {'row' if outcome.rows == 1 else 'rows'}"
        if outcome.at_limit:
            text += f", {outcome.at_limit} at the limit"
        lines.append(text)
        lines += [f"        {row}" for row in outcome.missed]
    reached = sum(outcome.reached for outcome in found)
    return "\n".join([*lines, f"  {reached} of {len(found)} reached"])


def _against(what: str, value: float | None, wanted: float | None) -> str:
    if value is None or wanted is None:
        return " " * 22
    return f"{what:<5} {value:>6.2f} of {wanted:<6.3g}"
