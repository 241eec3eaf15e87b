"""A training step beside busy neighbours: how many times its own quiet time it takes.

The neighbours are as many as leave no processor to itself: first one for each processor that the
team leaves free, and then half as many as the team has threads, or as many. On two cores with two
threads these are one and two. A team that shares a layer by rows of the batch does not meet within
it; one that shares it by hidden units meets once a step, and a member that waits for its processor
keeps the others waiting.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import machine
from machine import Elsewhere, Ticks
from measure import Bench, Turn, lost_too_much, no_garbage_collection, quartiles
from neighbours import Neighbours
from peers import ours
from suites import Case, Context, Row, Suite
from workload import Data, Workload

# What the core's cost model shares between two threads by rows and what by units, both forward and
# backward: cell, T, B, I, H.
ROWS = (("lstm", 100, 64, 64, 64), ("gru", 100, 32, 64, 64), ("rnn_tanh", 100, 64, 64, 128))
UNITS = (("lstm", 100, 32, 128, 256), ("gru", 50, 32, 256, 512), ("lstm", 100, 1, 512, 512))
TURNS = 4.0  # as long as elsewhere: what holds for a training, not for its first steps
FORGETTING = 0.3  # seconds after the last row's neighbours: fastrnn starts fewer threads for 0.2


@dataclass(frozen=True)
class Pair:
    """One sample: seconds per call, without and with the neighbours."""

    quiet: float
    busy: float
    kept: bool  # nobody else was busy meanwhile


def cases(context: Context) -> list[Case]:
    return [
        Case(
            label=f"{work.cell} {work.label}",
            series=series,
            mode=f"{crowd} busy",
            dtype=work.dtype,
            threads=context.threads,
            rows=_builder(context, work, number, crowd),
            flops=3 * work.flops,
            steps=work.steps,
        )
        for series, found in (("rows", ROWS), ("units", UNITS))
        for work in (Workload(*sizes) for sizes in (found[:1] if context.quick else found))
        for number, crowd in enumerate(crowds(context.threads, machine.usable_cpus()))
    ]


def crowds(threads: int, processors: int) -> list[int]:
    """How many neighbours: those that take half of the team's processors, and all of them."""
    free = max(0, processors - threads)
    return sorted({free + (threads + 1) // 2, free + threads})


def _builder(
    context: Context, work: Workload, number: int, crowd: int
) -> Callable[[Case, Bench], Iterator[Row]]:
    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        data = Data.random(work)
        own = ours.training(work, data, case.threads)
        runners = [replace(own, name="fastrnn")]
        for peer in context.peers:
            runners += peer.training(work, data, case.threads)
        effort = replace(bench.effort, turn_seconds=TURNS * bench.effort.turn_seconds)
        with Neighbours(crowd) as neighbours, no_garbage_collection():
            sides = [Side(Turn.plan(runner, effort)) for runner in runners]
            # All quiet turns come first: after a busy one it takes any library some tenths of a
            # second until its threads have a processor each again.
            time.sleep(FORGETTING)
            for _ in range(effort.pairs + effort.spare_pairs):
                for side in sides:
                    side.take_quiet()
                if all(side.kept >= effort.pairs for side in sides):
                    break
            for number_of_pair in range(len(sides[0].pairs)):
                for side in sides:
                    with neighbours.busy():
                        side.take_busy(number_of_pair)
        for side in sides:
            yield case.row(crowd=number, neighbours=crowd, **side.as_json(effort.pairs))

    return rows


class Side:
    """fastrnn or a peer, with its samples."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.pairs: list[Pair] = []

    @property
    def kept(self) -> int:
        return sum(pair.kept for pair in self.pairs)

    def take_quiet(self) -> None:
        """Begin one more sample."""
        start = Ticks.now()
        quiet = self.turn.seconds()
        lost = Elsewhere.between(start, Ticks.now())
        self.pairs.append(Pair(quiet, math.nan, not lost_too_much(lost)))

    def take_busy(self, number: int) -> None:
        """Complete it, while the neighbours are busy."""
        self.pairs[number] = replace(self.pairs[number], busy=self.turn.seconds())

    def as_json(self, least: int) -> Row:
        """How many times its own quiet time each call took, the median and the quartiles.

        Where fewer than ``least`` pairs were undisturbed all of them count.
        """
        disturbed = self.kept < least
        counted = [pair for pair in self.pairs if pair.kept or disturbed]
        low, middle, high = quartiles([pair.busy / pair.quiet for pair in counted])
        return {
            "peer": self.turn.runner.name,
            "slowdown": middle,
            "slowdown_low": low,
            "slowdown_high": high,
            "quiet_seconds": statistics.median(pair.quiet for pair in counted),
            "busy_seconds": statistics.median(pair.busy for pair in counted),
            "counted": len(counted),
            "dropped": len(self.pairs) - self.kept,
            "disturbed": disturbed,
            "pairs": [asdict(pair) for pair in self.pairs],
        }


SUITE = Suite("contention", "a training step beside busy neighbours", cases, view="slowdown")
