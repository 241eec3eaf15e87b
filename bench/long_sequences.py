"""Memory and time of a training step against the length of the sequence: docs/memory.md's figures.

``python bench/long_sequences.py`` measures every mode at every length in a process of its own, adds
to docs/img/memory.json what is not there yet, and draws docs/img/memory.png. ``--only 'lstm.*'``
chooses rows, ``--again`` measures them anew, ``--draw`` only draws.

activations
    How far the step raised the resident memory at its highest, less the output and the gradient of
    the input: what a library holds besides what goes in and out. By segments nothing but a
    segment goes in and out, and all of it counts.
seconds
    Of the step, the best of those that fit into some seconds, and of those measured before. With
    ``--memory-only``, for machines that others use, it is not measured.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import machine
from footprint import resident, settled
from workload import Data, Workload

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs/img/memory"
BATCH, SIZE = 8, 256
LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MOST_BYTES = 9 << 30  # what a step in memory may need here; longer rows are left out
SECONDS = 2.0
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
        """Roughly, at most: input, output and their gradients, and what is kept."""
        if self.mode == "segments":
            return 1 << 30
        kept = {"lstm": 6, "gru": 5, "rnn_tanh": 3}[self.cell] if self.mode == "none" else 1
        return self.steps * BATCH * self.size * 4 * (4 + kept)


def jobs() -> Iterator[Job]:
    for cell in ("lstm", "gru", "rnn_tanh"):
        for steps in LENGTHS:
            for mode in ("none", "gates", "checkpoint", "segments"):
                yield Job("fastrnn", cell, mode, steps)
            yield Job("torch", cell, "none", steps)


# ---- one measurement, in a process of its own ----------------------------------------------------


def measure(job: Job, memory_only: bool) -> dict[str, Any]:
    """Seconds and bytes of a training step."""
    small = replace(job, steps=2)
    make = by_segments if job.mode == "segments" else in_memory
    make(small)[0]()
    step, in_and_out = make(job)
    before = settled()
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    seconds = [timed(step)]
    peak = resident("VmHWM") - before
    while not memory_only and sum(seconds) < SECONDS:
        seconds.append(timed(step))
    return {
        "seconds": None if memory_only else min(seconds),
        "activations": max(0, peak - in_and_out),
        "process": resident("VmHWM"),
    }


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def in_memory(job: Job) -> tuple[Callable[[], object], int]:
    """The step, and the bytes of the output and dx, which it makes."""
    work = job.work
    data = Data.random(work)
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


def by_segments(job: Job) -> tuple[Callable[[], object], int]:
    """The step; its input and the loss's gradient are made as they are asked for."""
    from fastrnn import functional, runtime

    runtime.set_num_threads(THREADS)
    data = Data.random(replace(job.work, steps=PIECE))
    prepare: Any = getattr(functional, f"{job.cell.partition('_')[0]}_segments")

    def step() -> None:
        segments = prepare(lambda a, b: data.x[: b - a], data.weights, shape=(job.steps, BATCH))
        segments.forward()
        segments.backward(
            lambda a, b, output: data.doutput[: b - a], consume=lambda start, dx: None
        )

    return step, 0


def flat(size: int, rounds: int = 3) -> None:
    """Time steps over short and long sequences of one size in turn, so that all see one clock.

    In memory as far as 100,000 steps; by segments to 1,000,000 where H is 64 or less.
    """
    most = 1_000_000 if size <= 64 else 200_000
    for mode, make in (("checkpoint", in_memory), ("segments", by_segments)):
        lengths = [n for n in (1_000, 10_000, 100_000, most) if make is by_segments or n < most]
        steps_of = {
            n: make(Job("fastrnn", "lstm", mode, n, size))[0] for n in dict.fromkeys(lengths)
        }
        found: dict[int, list[float]] = {n: [] for n in steps_of}
        for _ in range(rounds):
            for n, step in steps_of.items():
                times = [timed(step) / n for _ in range(max(1, 30_000 // n))]
                found[n].append(float(np.median(times)))
        for n, times in found.items():
            print(
                f"H{size} {mode:10} T{n:<8} {1e6 * float(np.median(times)):7.1f} us/step",
                flush=True,
            )


# ---- all of them ---------------------------------------------------------------------------------


def run(job: Job, memory_only: bool) -> dict[str, Any] | None:
    """Measure in another process; None if it was killed for its memory."""
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    command += ["--memory-only"] if memory_only else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode < 0:
        return None
    if done.returncode:
        raise SystemExit(f"{job.label}: ended with {done.returncode}")
    return {**asdict(job), **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", default="", help=f"regular expression over {next(jobs()).label!r}"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--memory-only", action="store_true", help="without times")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--flat", type=int, metavar="H", help="time lengths by segments, in turn")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure(Job(**json.loads(arguments.job)), arguments.memory_only)))
        return
    if arguments.flat:
        return flat(arguments.flat)
    file = PLACE.with_suffix(".json")
    document = json.loads(file.read_text()) if file.exists() else {"rows": []}
    rows = {Job(*(row[f] for f in FIELDS)).label: row for row in document["rows"]}
    for job in jobs():
        if arguments.draw or not re.search(arguments.only, job.label):
            continue
        if job.bytes_needed > MOST_BYTES or (job.label in rows and not arguments.again):
            continue
        found = run(job, arguments.memory_only)
        if found is None:
            print(f"{job.label:36} not enough memory")
            continue
        before = rows.get(job.label, {}).get("seconds")
        if before is not None:
            found["seconds"] = min(before, found["seconds"] or before)
        rows[job.label] = found
        micro = (
            "" if arguments.memory_only else f"{1e6 * found['seconds'] / job.steps:8.1f} us/step"
        )
        print(f"{job.label:36} {found['activations'] / 2**20:10.1f} MiB {micro}", flush=True)
        order = {each.label: place for place, each in enumerate(jobs())}
        ordered = sorted(rows, key=lambda label: order.get(label, len(order)))
        document = {
            "machine": machine.describe(),
            "measured": datetime.date.today().isoformat(),
            "threads": THREADS,
            "batch": BATCH,
            "input_size": SIZE,
            "hidden_size": SIZE,
            "rows": [rows[label] for label in ordered],
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n")
    if document["rows"]:
        draw(document)


LINES = {
    ("torch", "none"): ("PyTorch", "#D55E00", "s"),
    ("fastrnn", "none"): ("fastrnn", "#0072B2", "o"),
    ("fastrnn", "gates"): ('recompute="gates"', "#56B4E9", "o"),
    ("fastrnn", "checkpoint"): ('recompute="checkpoint"', "#009E73", "o"),
    ("fastrnn", "segments"): ("segments (all that is held)", "#CC79A7", "D"),
}


def draw(document: dict[str, Any]) -> None:
    """Memory above, time below; a column a cell."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    titles = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
    cells = [c for c in titles if any(row["cell"] == c for row in document["rows"])]
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
            timed_rows = [row for row in rows if row["seconds"]]
            speed.plot(
                [row["steps"] for row in timed_rows],
                [1e6 * row["seconds"] / row["steps"] for row in timed_rows],
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
