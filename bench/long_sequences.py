"""Memory and time of a training step against the length of the sequence: docs/memory.md's figures.

``python bench/long_sequences.py`` measures every mode at every length, adds to docs/img/memory.json
what is not there yet, draws docs/img/memory.png and prints the times as ratios. ``--only 'lstm.*'``
chooses rows, ``--again`` measures them anew, ``--what memory`` or ``time`` does half of it,
``--draw`` only draws.

activations
    How far the step raised the resident memory at its highest, less the output and the gradient of
    the input: what a library holds besides what goes in and out. By segments nothing but a
    segment goes in and out, and all of it counts. Each in a process of its own.
seconds
    Of the step, one number for each round: all modes of one length and PyTorch, in one process, in
    turn, with memory that the process once had and keeps (see ``KEEPING``). ``--fresh`` prints them
    for pages that the system gives anew, as they come without these settings.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import machine
from footprint import resident, settled
from heap import KEEPING
from workload import Data, Workload

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs/img/memory"
BATCH, SIZE = 8, 256
LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MOST_BYTES = 13 << 30  # what a step may need here; longer rows are left out
ROUNDS, SECONDS = 3, 20.0  # of a length: rounds at the least, and until so many have gone by
THREADS = 2
FIELDS = ("side", "cell", "mode", "steps")
PIECE = 4096  # steps of the random arrays that segments are cut from


@dataclass(frozen=True)
class Job:
    """One point: who, how, and how long."""

    side: str  # "fastrnn" or "torch"
    cell: str
    mode: str  # "none", "gates", "checkpoint", "segments"; of torch "none"
    steps: int
    size: int = SIZE

    @property
    def label(self) -> str:
        return f"{self.cell} {self.side} {self.mode} T{self.steps}"

    @property
    def work(self) -> Workload:
        return Workload(self.cell, self.steps, BATCH, self.size, self.size)

    @property
    def bytes_needed(self) -> int:
        """Roughly, at most, besides the input and the output's gradient."""
        if self.mode == "segments":
            return 1 << 28
        if self.side == "torch":
            kept = {"lstm": 14, "gru": 12, "rnn_tanh": 6}[self.cell]
        else:
            kept = {"lstm": 6, "gru": 5, "rnn_tanh": 3}[self.cell] if self.mode == "none" else 1
        return self.steps * BATCH * self.size * 4 * (2 + kept)

    @property
    def fits(self) -> bool:
        return self.bytes_needed <= MOST_BYTES


def jobs() -> Iterator[Job]:
    for cell in ("lstm", "gru", "rnn_tanh"):
        for steps in LENGTHS:
            for mode in ("none", "gates", "checkpoint", "segments"):
                yield Job("fastrnn", cell, mode, steps)
            yield Job("torch", cell, "none", steps)


# ---- measurements, in processes of their own -----------------------------------------------------


def memory(fields: dict[str, Any]) -> dict[str, Any]:
    """Bytes of a training step."""
    job = Job(**fields)
    make = by_segments if job.mode == "segments" else in_memory
    make(replace(job, steps=2))[0]()
    step, in_and_out = make(job)
    before = settled()
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    step()
    highest = resident("VmHWM")
    return {"activations": max(0, highest - before - in_and_out), "process": highest}


def times(cell: str, steps: int) -> dict[str, list[float]]:
    """Seconds of a training step in every mode, round after round, by label."""
    chosen = [job for job in jobs() if (job.cell, job.steps) == (cell, steps) and job.fits]
    in_full = next((job for job in chosen if job.mode != "segments"), None)
    data = Data.random(in_full.work) if in_full else None
    calls = {}
    for job in chosen:
        if job.mode == "segments":
            calls[job] = by_segments(job)[0]
        else:
            in_memory(replace(job, steps=2))[0]()
            calls[job] = in_memory(job, data)[0]
    found: dict[str, list[float]] = {job.label: [] for job in chosen}
    for _ in range(2):  # the second finds other gaps in the heap than the first
        for job, call in calls.items():
            if job.mode != "segments":  # which fill so little that one step does it
                call()
    least = ROUNDS if steps <= 100_000 else 1
    rounds, start = 0, time.perf_counter()
    while rounds < least or time.perf_counter() - start < SECONDS:
        for job, call in calls.items():
            found[job.label].append(timed(call))
        rounds += 1
    return found


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def in_memory(job: Job, data: Data | None = None) -> tuple[Callable[[], object], int]:
    """The step, and the bytes of the output and dx, which it makes."""
    work = job.work
    data = data or Data.random(work)
    in_and_out = data.doutput.nbytes + data.x.nbytes
    if job.side == "torch":
        from peers.pytorch import Torch

        return Torch().training(work, data, THREADS)[0].call, in_and_out
    from fastrnn import functional, runtime

    runtime.set_num_threads(THREADS)
    name = job.cell.partition("_")[0]
    forward: Any = getattr(functional, f"{name}_forward")
    backward: Any = getattr(functional, f"{name}_backward")

    def step() -> None:
        output, _, cache = forward(data.x, data.weights, recompute=job.mode)
        backward(cache, data.doutput)
        del output

    return step, in_and_out


def by_segments(job: Job, segment_steps: int | None = None) -> tuple[Callable[[], object], int]:
    """The step; its input and the loss's gradient are made as they are asked for."""
    from fastrnn import functional, runtime

    runtime.set_num_threads(THREADS)
    data = Data.random(replace(job.work, steps=PIECE))
    prepare: Any = getattr(functional, f"{job.cell.partition('_')[0]}_segments")

    def step() -> None:
        segments = prepare(
            lambda a, b: data.x[: b - a], data.weights, shape=(job.steps, BATCH),
            segment_steps=segment_steps,
        )  # fmt: skip
        segments.forward()
        segments.backward(
            lambda a, b, output: data.doutput[: b - a], consume=lambda start, dx: None
        )

    return step, 0


def flat(size: int) -> list[str]:
    """Time steps over short and long sequences of one size in turn, so that all see one clock.

    In memory as far as that goes; by segments of 128 steps to 1,000,000.
    """
    cases = {
        (mode, steps): Job("fastrnn", "lstm", mode, steps, size)
        for mode in ("checkpoint", "segments")
        for steps in (1_000, 10_000, 100_000, 1_000_000)
    }
    calls = {
        case: (by_segments(job, 128) if job.mode == "segments" else in_memory(job))[0]
        for case, job in cases.items()
        if job.fits
    }
    found: dict[tuple[str, int], list[float]] = {case: [] for case in calls}
    for again in range(1 + ROUNDS):
        for case, call in calls.items():
            seconds = [timed(call) for _ in range(max(1, 30_000 // case[1]))]
            if again:
                found[case].append(float(np.median(seconds)) / case[1])
    return [
        f"H{size} {mode:10} T{steps:<8} {1e6 * float(np.median(each)):7.1f} us/step"
        for (mode, steps), each in found.items()
    ]


# ---- all of them ---------------------------------------------------------------------------------


def apart(function: str, *arguments: Any, environment: Mapping[str, str] = KEEPING) -> Any:
    """Call one of the functions above in another process; None if it was killed for its memory."""
    command = [sys.executable, __file__, "--call", json.dumps([function, *arguments])]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    if done.returncode < 0:
        return None
    if done.returncode:
        raise SystemExit(f"{function} {arguments}: ended with {done.returncode}")
    return json.loads(done.stdout)


def update(rows: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> Iterator[None]:
    """Measure what is asked for and not there, and stop after each measurement."""
    chosen = [job for job in jobs() if job.fits and re.search(arguments.only, job.label)]
    for job in chosen:
        rows.setdefault(job.label, asdict(job))
    for job in chosen:
        row = rows[job.label]
        if arguments.what != "time" and (arguments.again or "activations" not in row):
            found = apart("memory", asdict(job), environment={})
            if found is None:
                print(f"{job.label:36} not enough memory")
                continue
            row.update(found)
            print(f"{job.label:36} {row['activations'] / 2**20:10.1f} MiB", flush=True)
            yield
    for cell, steps in dict.fromkeys((job.cell, job.steps) for job in chosen):
        wanted = [rows[job.label] for job in chosen if (job.cell, job.steps) == (cell, steps)]
        new = arguments.again or any("seconds" not in row for row in wanted)
        if arguments.what != "memory" and new:
            for label, seconds in print_times(cell, steps, KEEPING):
                rows.setdefault(label, {})["seconds"] = seconds
            yield


def print_times(
    cell: str, steps: int, environment: Mapping[str, str]
) -> Iterator[tuple[str, list[float]]]:
    found = apart("times", cell, steps, environment=environment) or {}
    for label, seconds in found.items():
        micro = 1e6 * np.array(seconds) / steps
        print(
            f"{label:36} {np.median(micro):7.1f} us/step, {micro.min():.0f} to {micro.max():.0f}",
            flush=True,
        )
        yield label, seconds


def ratios(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """How long each mode takes in units of "none" and of PyTorch: medians over rounds."""
    for job in jobs():
        row = rows.get(job.label, {})
        if job.side != "fastrnn" or "seconds" not in row:
            continue
        parts = []
        for name, other in (
            ("none", replace(job, mode="none")),
            ("PyTorch", replace(job, side="torch", mode="none")),
        ):
            if "seconds" in rows.get(other.label, {}) and other != job:
                pairs = np.array(row["seconds"]) / np.array(rows[other.label]["seconds"])
                parts.append(
                    f"{np.median(pairs):5.2f} of {name} ({pairs.min():.2f} to {pairs.max():.2f})"
                )
        if parts:
            yield f"{job.label:36} " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", default="", help=f"regular expression over {next(jobs()).label!r}"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--what", choices=("memory", "time"), help="measure only this")
    parser.add_argument("--fresh", type=int, metavar="T", help="only print an LSTM's times")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--flat", type=int, metavar="H", help="time lengths of one size in turn")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        name, *given = json.loads(arguments.call)
        functions: dict[str, Any] = {"memory": memory, "times": times, "flat": flat}
        print(json.dumps(functions[name](*given)))
        return
    if arguments.flat:
        print(*apart("flat", arguments.flat), sep="\n")
        return
    if arguments.fresh:
        list(print_times("lstm", arguments.fresh, {}))
        return
    file = PLACE.with_suffix(".json")
    document = json.loads(file.read_text()) if file.exists() else {"rows": []}
    rows = {Job(*(row[f] for f in FIELDS)).label: row for row in document["rows"]}
    for _ in update(rows, arguments) if not arguments.draw else ():
        document = {
            "machine": machine.describe(),
            "measured": datetime.date.today().isoformat(),
            "threads": THREADS,
            "batch": BATCH,
            "input_size": SIZE,
            "hidden_size": SIZE,
            "rows": [rows[job.label] for job in jobs() if "activations" in rows.get(job.label, {})],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n")
    print(*ratios(rows), sep="\n")
    draw(document)


LINES = {
    ("torch", "none"): ("PyTorch", "#D55E00", "s"),
    ("fastrnn", "none"): ("fastrnn", "#0072B2", "o"),
    ("fastrnn", "gates"): ('recompute="gates"', "#56B4E9", "o"),
    ("fastrnn", "checkpoint"): ('recompute="checkpoint"', "#009E73", "o"),
    ("fastrnn", "segments"): ("segments (all that is held)", "#CC79A7", "D"),
}


def draw(document: dict[str, Any]) -> None:
    """Memory above, time below; a column a cell of which more than one length was measured."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    titles = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
    lengths = {c: {r["steps"] for r in document["rows"] if r["cell"] == c} for c in titles}
    cells = [cell for cell, several in lengths.items() if len(several) > 1]
    figure, axes = pyplot.subplots(
        2, len(cells), figsize=(max(7.2, 1.2 + 3.1 * len(cells)), 5.6), sharex=True, sharey="row",
        squeeze=False, height_ratios=(3, 2),
    )  # fmt: skip
    for column, cell in enumerate(cells):
        memory, speed = axes[:, column]
        for (side, mode), (label, colour, marker) in LINES.items():
            rows = [
                r
                for r in document["rows"]
                if (r["cell"], r["side"], r["mode"]) == (cell, side, mode)
            ]
            steps = np.array([row["steps"] for row in rows])
            mib = np.array([max(row["activations"] / 2**20, 1.0) for row in rows])
            style = {"color": colour, "marker": marker, "ms": 4, "lw": 1.3, "label": label}
            memory.plot(steps, mib, **style)
            timed_rows = [row for row in rows if "seconds" in row]
            speed.plot(
                [row["steps"] for row in timed_rows],
                [1e6 * float(np.median(row["seconds"])) / row["steps"] for row in timed_rows],
                **style,
            )
        memory.set_title(titles[cell], fontsize=10)
        memory.set_yscale("log")
        memory.set_xscale("log")
        speed.set_ylim(bottom=0)
        speed.set_xlabel("steps T", fontsize=9)
        for axis in (memory, speed):
            axis.grid(lw=0.4, alpha=0.5)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("besides input, output\nand their gradients, MiB", fontsize=9)
    axes[1, 0].set_ylabel("time per step, µs", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=8, frameon=False)
    about = document["machine"]
    versions = ", ".join(
        f"{n} {about['packages'][n]}" for n in ("fastrnn", "torch") if n in about["packages"]
    )
    figure.text(
        0.01, 0.01,
        f"one training step, B {document['batch']}, I and H {document['hidden_size']}, float32\n"
        f"{about['cpu']}, {document['threads']} threads; {versions}; {document['measured']}",
        fontsize=7, color="#555555",
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.04, 1, 0.92))
    figure.savefig(PLACE.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
