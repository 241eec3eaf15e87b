"""The suites: each is one file with a ``SUITE``, listed at the bottom of this one.

A suite is a list of cases; a case is one piece of work, and makes a row for each peer that can do
it. What a row needs is built when its turn has come, so that one case's arrays and threads exist at
a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from measure import Bench, measure
from peers import Duel, Peer, check_values, ours
from probe import ReadBandwidth
from workload import Data, Workload

Row = dict[str, Any]  # one line of the report with every sample behind it


@dataclass(frozen=True)
class Context:
    """What the command line said."""

    threads: int
    quick: bool
    peers: tuple[Peer, ...]


@dataclass(frozen=True)
class Case:
    """One piece of work."""

    label: str  # sizes: the line in the table and in the plot
    series: str  # the cell, or what else has a colour in the plot and a geometric mean
    mode: str  # "inference", "training": the column in the plot
    dtype: str
    threads: int
    rows: Callable[[Case, Bench], Iterator[Row]]
    flops: float = 0.0  # of one call; 0 where a share of the peak would say nothing
    steps: int = 0  # time steps of one call; 0 where there are none
    samples: int = 0  # sequences of one call, where they are what is counted
    streamed: Streamed | None = None  # where the weights' way to the processor is the limit

    def row(self, **found: Any) -> Row:
        """One of its rows: what the case is, then what was found."""
        return {
            "series": self.series,
            "label": self.label,
            "mode": self.mode,
            "dtype": self.dtype,
            "threads": self.threads,
            "steps": self.steps,
            "flops": self.flops,
            **found,
        }


@dataclass(frozen=True)
class Streamed:
    """Weights that one call has to read again and again, in bytes."""

    size: int  # of the array that is read
    total: int  # of all readings in one call


@dataclass(frozen=True)
class Suite:
    """What can be asked for by name on the command line."""

    name: str
    title: str
    cases: Callable[[Context], list[Case]]
    view: str = "speed"  # how its rows are shown: a key of ``views.VIEWS``
    asked_for: bool = False  # run only where the command line names it


def duels(build: Callable[[], Iterable[Duel]]) -> Callable[[Case, Bench], Iterator[Row]]:
    """A row for each duel: its values compared, then both sides timed in turn."""

    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        for duel in build():
            error = check_values(duel, case.dtype)
            measured = measure(duel, bench, case.dtype, case.threads)
            found = measured.as_json()
            shares = measured.shares_of_peak(case.flops)
            for side, share in zip(("ours", "peer"), shares, strict=True):
                seconds = found[side + "_seconds"]
                found[side + "_us_per_step"] = seconds / max(case.steps, 1) * 1e6
                found[side + "_share_of_peak"] = share
                if case.samples:
                    found[side + "_samples_per_second"] = case.samples / seconds
            if case.streamed:
                bench.bandwidth.measure(case.streamed.size, case.threads)
                found["streamed"] = asdict(case.streamed)
                add_shares_of_stream(found, bench.bandwidth, case.threads)
            yield case.row(
                ours=duel.ours.name, peer=duel.peer.name, largest_difference=error, **found
            )

    return rows


def add_shares_of_stream(row: Row, bandwidth: ReadBandwidth, threads: int) -> None:
    """Add or renew what a row's two sides reach of the best bandwidth seen so far."""
    streamed = Streamed(**row["streamed"])
    for side in ("ours", "peer"):
        rate = streamed.total / row[side + "_seconds"]
        row[side + "_share_of_stream"] = rate / bandwidth.best(streamed.size, threads)


def recurrent_cases(
    context: Context,
    work: Workload,
    modes: tuple[str, ...] = ("inference", "training"),
    threads: int | None = None,
    label: str | None = None,
    series: str | None = None,
) -> list[Case]:
    """One workload in each mode against every peer that can do it."""
    team = context.threads if threads is None else threads

    def inference() -> Iterable[Duel]:
        data = Data.random(work)
        for peer in context.peers:
            for runner in peer.inference(work, data, team):
                yield Duel(ours.inference_against(peer.frozen_weights, work, data, team), runner)

    def training() -> Iterable[Duel]:
        data = Data.random(work)
        for peer in context.peers:
            for runner in peer.training(work, data, team):
                yield Duel(ours.training(work, data, team), runner)

    def step() -> Iterable[Duel]:
        data = Data.random(work)
        for peer in context.peers:
            for runner in peer.step(work, data, team):
                yield Duel(ours.step(work, data, team), runner)

    build = {"inference": inference, "training": training, "step": step}
    return [
        Case(
            label=label or work.label,
            series=series or work.cell,
            mode=mode,
            dtype=work.dtype,
            threads=team,
            rows=duels(build[mode]),
            flops=work.flops * (3 if mode == "training" else 1),
            steps=work.steps,
            streamed=streamed(work, mode),
        )
        for mode in modes
    ]


def streamed(work: Workload, mode: str) -> Streamed | None:
    """What a batch of one has to read at least: W_hh once a step, W_ih once, each way."""
    if work.batch > 1:
        return None
    inputs, recurrent = work.weight_bytes
    passes = 2 if mode == "training" else 1
    return Streamed(
        size=recurrent if work.steps > 1 else inputs + recurrent,
        total=passes * (inputs + work.steps * recurrent),
    )


def registry() -> dict[str, Suite]:
    """Every suite by its name, in the order in which they run."""
    from suites import (
        contention,
        deep,
        double,
        gemm,
        layers,
        memory,
        ragged,
        step,
        threads,
        torch_dropin,
        tutorial,
    )

    modules = (
        layers, gemm, ragged, deep, step, double, threads, tutorial, contention, memory,
        torch_dropin,
    )  # fmt: skip
    return {module.SUITE.name: module.SUITE for module in modules}
