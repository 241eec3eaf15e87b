"""What a run leaves besides its table: the closing lines, results.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suites import Row
from targets import geometric_mean

SCHEMA = 2


def closing(rows: Sequence[Row]) -> str:
    """Per suite, series and mode: the geometric mean over the best peers, and the worst row."""
    best: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if "ratio" not in row:
            continue
        group = best.setdefault((row["suite"], row["series"], row["mode"]), {})
        if row["label"] not in group or row["ratio"] < group[row["label"]]["ratio"]:
            group[row["label"]] = row
    lines = ["", "against each row's best peer:"]
    for (suite, series, mode), group in best.items():
        mean = geometric_mean(row["ratio"] for row in group.values())
        worst = min(group.values(), key=lambda row: float(row["ratio"]))
        lines.append(
            f"  {suite:<8} {series:<9} {mode:<15} geometric mean {mean:5.2f} over {len(group):>2} "
            f"{'row' if len(group) == 1 else 'rows'}, worst {worst['ratio']:5.2f} "
            f"({worst['label']}, {worst['peer']})"
        )
    return "\n".join(lines)


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
    watched = [row for row in document["rows"] if "dropped" in row]
    dropped = sum(row["dropped"] for row in watched)
    pairs = sum(len(row["pairs"]) for row in watched)
    if dropped > 0.05 * pairs:
        reasons.append(f"{dropped} of {pairs} pairs were disturbed")
    return "THE MACHINE WAS BUSY: " + "; ".join(reasons) if reasons else None


def write_json(document: dict[str, Any], path: Path) -> None:
    """Whole or not at all; a row a line."""
    head = {name: value for name, value in document.items() if name != "rows"}
    rows = ",\n  ".join(json.dumps(_rounded(row)) for row in document["rows"])
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "rows": [\n  {rows}\n ]\n}}\n'
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _rounded(value: Any) -> Any:
    """Floats to seven digits, which is more than any clock gives."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
