"""The suites: each is one file with a ``SUITE``, listed at the bottom of this one.

A suite is a list of cases; a case is one piece of work with one duel for each peer that can do it.
Duels are built when their turn has come, so that one case's arrays and threads exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peers import Duel, Peer, ours
from workload import Data, Workload


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
    flops: float  # of one call; 0 where a share of the peak would say nothing
    steps: int  # time steps of one call; 0 where there are none
    dtype: str
    threads: int
    duels: Callable[[], Iterable[Duel]]


@dataclass(frozen=True)
class Suite:
    """What can be asked for by name on the command line."""

    name: str
    title: str
    cases: Callable[[Context], list[Case]]


def recurrent_cases(
    context: Context,
    work: Workload,
    modes: tuple[str, ...] = ("inference", "training"),
    threads: int | None = None,
    label: str | None = None,
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
            series=work.cell,
            mode=mode,
            flops=work.flops * (3 if mode == "training" else 1),
            steps=work.steps,
            dtype=work.dtype,
            threads=team,
            duels=build[mode],
        )
        for mode in modes
    ]


def registry() -> dict[str, Suite]:
    """Every suite by its name, in the order in which they run."""
    from suites import deep, double, gemm, layers, ragged, step, threads

    modules = (layers, gemm, ragged, deep, step, double, threads)
    return {module.SUITE.name: module.SUITE for module in modules}
