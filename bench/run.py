"""fastrnn and the installed peers, side by side in one run.

python bench/run.py [--quick] [SUITE ...]
"""

from __future__ import annotations

import argparse
import datetime
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

try:
    import fastrnn
    import fastrnn._core as _core
    from fastrnn import runtime
except ImportError as error:
    sys.exit(f"fastrnn cannot be imported ({error}): install it first, pip install '.[bench]'")

from tqdm import tqdm  # type: ignore[import-untyped]

import heap
import machine
import plot
import report
import targets
from footprint import Footprints
from measure import QUICK, Bench, Effort
from peers import (
    DEFAULT,
    KNOWN,
    DisagreementError,
    UnavailableError,
    how_to_install,
    installed,
)
from probe import Probe, ReadBandwidth
from suites import Case, Context, Row, Suite, add_shares_of_stream, registry
from views import LEGEND, VIEWS

QUICK_SECONDS = 100.0  # --quick starts no new row after this long: it has promised two minutes


def main() -> int:
    suites = registry()
    options = parse(suites)
    options.out.mkdir(parents=True, exist_ok=True)
    peers = installed(options.peers)
    context = Context(options.threads, options.quick, tuple(peers))
    full = Effort(pairs=options.pairs, most_pairs=max(options.pairs, Effort.most_pairs))
    effort = QUICK if options.quick else full
    runtime.set_num_threads(options.threads)
    bench = Bench(
        effort,
        Probe(_core.fma_peak),
        ReadBandwidth(_core.read_bandwidth),
        Footprints(options.threads),
    )

    document: dict[str, Any] = {
        "schema": report.SCHEMA,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "quick": options.quick,
        "threads": options.threads,
        "isa": _core.get_isa(),
        "compiler": _core.compiler(),
        "machine": machine.describe(),
        "heap": heap.described(),
        "peers": {
            peer.name: {"version": peer.version(), "configuration": peer.configuration}
            for peer in peers
        },
        "busy": {"load_at_start": machine.load_average()},
        "rows": [],
        "skipped": [],
    }
    introduce(document, options.peers)
    start = machine.Ticks.now()
    failed = True
    try:
        with bench.footprints:
            failed = run(document, chosen_cases(suites, options, context), bench, options.quick)
    except KeyboardInterrupt:
        print("\ninterrupted: what was measured so far is kept")
    finally:  # whatever ends the run, its rows are kept
        finish(document, bench, machine.Elsewhere.between(start, machine.Ticks.now()))
        conclude(document, options.out)
    return 1 if failed or not document["rows"] else 0


def chosen_cases(
    suites: dict[str, Suite], options: argparse.Namespace, context: Context
) -> list[tuple[Suite, Case, str]]:
    """The suites' cases with their names, of those that ``--only`` matches."""
    named = (
        (suites[name], case, f"{name}: {case.series} {case.label} {case.mode}")
        for name in options.suites
        for case in suites[name].cases(context)
    )
    return [(suite, case, name) for suite, case, name in named if options.only.search(name)]


def run(
    document: dict[str, Any], todo: list[tuple[Suite, Case, str]], bench: Bench, quick: bool
) -> bool:
    """Measure every case; True where one failed: values disagreed, or a side raised."""
    failed = False
    end = time.monotonic() + QUICK_SECONDS if quick else float("inf")
    shown = None
    with tqdm(total=len(todo), unit="case", leave=False, disable=None) as bar:
        for done, (suite, case, name) in enumerate(todo):
            bar.set_description(name)
            view = VIEWS[suite.view]
            if suite is not shown:
                bar.write(view.heading(suite))
                shown = suite
            if time.monotonic() >= end:
                rest = [{"case": name, "why": "time"} for _, _, name in todo[done:]]
                bar.write(f"  the two minutes of --quick are over: {len(rest)} cases left out")
                document["skipped"] += rest
                break
            try:
                for found in case.rows(case, bench):
                    row: Row = {"suite": suite.name, "view": suite.view, **found}
                    document["rows"].append(row)
                    bar.write(view.line(row))
            except Exception as error:  # a peer may raise anything, and others have their turn yet
                failed = failed or not isinstance(error, (ImportError, UnavailableError))
                document["skipped"].append({"case": name, "why": why(error)})
                bar.write(f"  skipped {name}: {why(error)}")
            bar.update()
    return failed


def why(error: Exception) -> str:
    """What the report says of a case that was skipped; of an unforeseen error its kind too."""
    foreseen = isinstance(error, (ImportError, UnavailableError, DisagreementError))
    return str(error) if foreseen else f"{type(error).__name__}: {error}"


def introduce(document: dict[str, Any], wanted: list[str]) -> None:
    computer = document["machine"]
    print(
        f"{computer['cpu']}, {computer['usable_cpus']} processors usable, "
        f"{document['threads']} threads; fastrnn {fastrnn.__version__}, {document['isa']}, "
        f"{document['compiler']}"
    )
    for name, peer in document["peers"].items():
        print(f"{name} {peer['version']}: {peer['configuration']}")
    for name in wanted:
        if name not in document["peers"]:
            print(f"{name}: not installed ({how_to_install(name)})")
    print(f"heap {document['heap']}, for all sides")
    print(f"load average {document['busy']['load_at_start']:.2f}")
    print(LEGEND)


def finish(document: dict[str, Any], bench: Bench, elsewhere: machine.Elsewhere) -> None:
    """What is known only at the end: targets, peaks, how busy the machine was, how long it took."""
    document["fma_peak"] = bench.probe.as_json()
    document["read_bandwidth"] = bench.bandwidth.as_json()
    for row in document["rows"]:
        if "streamed" in row:
            add_shares_of_stream(row, bench.bandwidth, row["threads"])
    document["targets"] = [found.as_json() for found in targets.outcomes(document["rows"])]
    document["seconds"] = elsewhere.wall
    document["busy"] |= {
        "load_at_end": machine.load_average(),
        "others_cpus": elsewhere.others / elsewhere.wall,
        "stolen_share": elsewhere.stolen / elsewhere.wall / document["machine"]["logical_cpus"],
    }


def conclude(document: dict[str, Any], out: Path) -> None:
    if not document["rows"]:
        print("nothing was measured")
        return
    report.write_json(document, out / "results.json")
    print(report.closing(document["rows"]))
    print(targets.report(targets.outcomes(document["rows"])))
    for peak in document["fma_peak"]:
        print(
            f"FMA rate, {peak['dtype']}, {peak['threads']} threads: "
            f"{peak['usual'] / 1e9:.0f} GF/s usually, {peak['best'] / 1e9:.0f} at best"
        )
    if document["skipped"]:
        print(f"{len(document['skipped'])} cases were skipped")
    warning = report.busy_message(document)
    if warning:
        print(warning)
    written = [out / "results.json"]
    try:
        plot.write_plot(document, out / "results.png")
        written.append(out / "results.png")
    except ImportError:
        print("no picture: matplotlib is not installed (pip install '.[bench]')")
    print(f"{document['seconds']:.0f} s; wrote " + " and ".join(map(str, written)))


def parse(suites: dict[str, Suite]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure fastrnn and the installed peers in turn, in one run."
    )
    usual = [name for name, suite in suites.items() if not suite.asked_for]
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"of {', '.join(suites)}; without any: {', '.join(usual)}",
    )
    parser.add_argument(
        "--only",
        type=re.compile,
        default=re.compile(""),
        metavar="REGEX",
        help="the cases whose name, e.g. 'layers: lstm T50 B32 I100 H100 training', it is found in",
    )
    parser.add_argument("--quick", action="store_true", help="fewer shapes, within two minutes")
    parser.add_argument("--threads", type=int, default=runtime.get_num_threads())
    parser.add_argument("--pairs", type=int, default=7, help="per row, at least (7)")
    parser.add_argument(
        "--peers",
        type=lambda text: text.split(","),
        default=list(DEFAULT),
        help=f"of {', '.join(KNOWN)}, separated by commas; 'self' is fastrnn again: the noise",
    )
    parser.add_argument(
        "--heap",
        choices=("kept", "default"),
        default="kept",
        help="'kept': freed memory stays with the process, whoever frees it (see heap.py)",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    for kind, given, known in (("suite", options.suites, suites), ("peer", options.peers, KNOWN)):
        for name in given:
            if name not in known:
                parser.error(f"no {kind} {name!r}: there are {', '.join(known)}")
    if options.pairs < 7 or options.threads < 1:
        parser.error("--pairs must be 7 or more, --threads 1 or more")
    options.suites = options.suites or usual
    return options


if __name__ == "__main__":
    if parse(registry()).heap == "kept":
        heap.restart_with_kept()
    sys.exit(main())
