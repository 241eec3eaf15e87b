"""Tells a regression from noise: two results.json of bench/run.py, before and after a change.

python bench/compare.py OLD.json NEW.json [--repeat OLD_AGAIN.json]

A row has changed where the 99% bootstrap interval of the change leaves out zero and the change is
above the floor. The floor is --floor, or the row's difference between OLD and a second run of the
same build (--repeat), if larger: runs differ by more than their samples tell (placement in memory,
neighbours on the host). Of rows that hold fastrnn against itself (``call``, ``padding``, ``cost``,
``self``) the first side is compared. Exit status 1: a row is worse.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from heap import AS_IT_IS
from peers import DEFAULT
from suites import Row
from suites.memory import LEAST_BYTES
from targets import geometric_mean

Samples = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[str, ...]
KEY = ("suite", "series", "label", "mode", "dtype", "threads", "ours", "peer")


def main() -> int:
    options = parse()
    old, new = load(options.old), load(options.new)
    repeat = rows_by_key(load(options.repeat)) if options.repeat else {}
    changed = other_versions(old, new) if options.by == "auto" else set()
    print("speed against " + yardstick(options.by, changed))
    warn(old, new)
    old_rows, new_rows = rows_by_key(old), rows_by_key(new)
    verdicts: dict[str, list[float]] = {"better": [], "same": [], "worse": [], "unsure": []}
    for key, row in new_rows.items():
        if key not in old_rows:
            continue
        by_peak = options.by == "peak" or not library(row) or library(row) in changed
        before, after = samples(old_rows[key], key, by_peak), samples(row, key, by_peak)
        change = float(np.median(after) - np.median(before))
        low, high = interval(before, after)
        floor = math.log1p(options.floor)
        if key in repeat:
            again = samples(repeat[key], key, by_peak)
            floor = max(floor, abs(float(np.median(again) - np.median(before))))
        verdict = "same"
        if (low > 0 or high < 0) and abs(change) > floor:
            verdict = "better" if change > 0 else "worse"
            if row.get("disturbed") or old_rows[key].get("disturbed"):
                verdict = "unsure"
        verdicts[verdict].append(math.exp(change))
        if verdict != "same" or options.all:
            print(
                f"  {verdict:<7} {math.exp(change) - 1:+7.1%}  99%: {math.exp(low) - 1:+6.1%} to "
                f"{math.exp(high) - 1:+6.1%}  {' '.join(key)}"
            )
    shared = [change for changes in verdicts.values() for change in changes]
    if not shared:
        print("the two files share no row")
        return 2
    print(
        f"{len(shared)} rows: "
        + ", ".join(f"{len(changes)} {verdict}" for verdict, changes in verdicts.items())
        + f"; geometric mean {geometric_mean(shared) - 1:+.1%}"
    )
    for name, missing in (("OLD", new_rows.keys() - old_rows), ("NEW", old_rows.keys() - new_rows)):
        if missing:
            print(f"{len(missing)} rows are not in {name}")
    return 1 if verdicts["worse"] else 0


def yardstick(by: str, changed: set[str]) -> str:
    """What ``main`` holds speed against, in words."""
    if by == "peak":
        return "the FMA probe beside each pair"
    own = ", ".join(["fastrnn itself", *sorted(changed)])
    return f"the peer in the same pair; where that is {own}: the FMA probe beside it"


def samples(row: Row, key: Key, by_peak: bool) -> Samples:
    """Logarithms of what is better when it is more, in the pairs that count.

    Our speed relative to the peer or to the FMA probe; of the other kinds of rows the inverse of
    the slowdown or of the bytes.
    """
    if row.get("view") == "memory":
        return -np.log([max(float(row[key[-1]]), LEAST_BYTES)])
    if row.get("view") == "slowdown":
        return np.log([pair["quiet"] / pair["busy"] for pair in counted(row)])
    pairs = counted(row)
    if by_peak:
        return np.log([1 / (pair["ours"] * pair["probe"]) for pair in pairs])
    return np.log([pair["peer"] / pair["ours"] for pair in pairs])


def counted(row: Row) -> list[dict[str, Any]]:
    return [pair for pair in row["pairs"] if pair["kept"] or row["disturbed"]]


def interval(before: Samples, after: Samples) -> tuple[float, float]:
    """The 99% interval of the difference of the medians, by the bootstrap (fixed seed)."""
    rng = np.random.default_rng(0)
    old, new = (
        np.median(rng.choice(values, (4000, len(values))), axis=1) for values in (before, after)
    )
    low, high = np.quantile(new - old, [0.005, 0.995])
    return float(low), float(high)


def warn(old: dict[str, Any], new: dict[str, Any]) -> None:
    for what, before, after in (
        ("kind of results.json", old["schema"], new["schema"]),
        ("processor", old["machine"]["cpu"], new["machine"]["cpu"]),
        ("ISA", old["isa"], new["isa"]),
        ("compiler", old["compiler"], new["compiler"]),
        ("heap", heap_of(old), heap_of(new)),
        ("peers", versions(old), versions(new)),
    ):
        if before != after:
            print(f"note: another {what}: {before} then, {after} now")


def versions(document: dict[str, Any]) -> dict[str, str]:
    """Of the libraries that rows are measured against; NumPy is the suite ``gemm``'s."""
    found = {name: peer["version"] for name, peer in document["peers"].items() if name != "self"}
    if any(library(row) == "numpy" for row in document["rows"]):
        found["numpy"] = document["machine"]["packages"]["numpy"]
    return found


def other_versions(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    """The libraries of both runs that are not the same then and now, or had another heap."""
    then, now = versions(old), versions(new)
    heap = heap_of(old) != heap_of(new)
    return {name for name in then.keys() & now.keys() if heap or then[name] != now[name]}


def heap_of(document: dict[str, Any]) -> str:
    """Which heap all sides had; earlier runs left it as it was."""
    return str(document.get("heap", AS_IT_IS))


def library(row: Row) -> str:
    """Whose code the peer of a row is: "torch" of "torch packed"; "" where it is fastrnn itself.

    Of two sides that a change of fastrnn may make slower, neither tells what it did to the other.
    """
    first = str(row["peer"]).partition(" ")[0]
    return first if first in (*DEFAULT, "numpy") else ""


def rows_by_key(document: dict[str, Any]) -> dict[Key, Row]:
    """What is compared: fastrnn's rows; a row of memory is there once for each of its figures."""
    found: dict[Key, Row] = {}
    for row in document["rows"]:
        key = tuple(str(row[name]) for name in KEY if name in row)
        if row.get("view") == "memory":
            found |= {(*key, figure): row for figure in ("ours_activations", "ours_peak")}
        elif row.get("view") != "slowdown" or row["peer"] == "fastrnn":
            found[key] = row
    return found


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare two results.json of bench/run.py.")
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument("--repeat", type=Path, help="a second run of OLD's build: its noise")
    parser.add_argument(
        "--floor", type=float, default=0.05, help="smallest change that counts (0.05)"
    )
    parser.add_argument("--all", action="store_true", help="show unchanged rows too")
    parser.add_argument(
        "--by",
        choices=("auto", "peer", "peak"),
        default="auto",
        help="what speed is held against: the peer, or the FMA probe beside it (auto: the peer "
        "where its version is the same); where the peer is fastrnn, the probe in any case",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
