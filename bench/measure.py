"""How a pair is timed: in turn, after the other's threads went to sleep, between probes.

A row of the report is one duel. Its pairs run A B A B ...; each pair gives one ratio (the peer's
time by ours), and the row's figure is the median of them. What disturbs the machine for longer than
a pair hits both sides of it alike. What is shorter is found by a probe, an FMA loop of a few
milliseconds, and by the processor time that went to others: such a pair is dropped, and counted.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from footprint import Footprints
from machine import Elsewhere, Ticks, other_threads_run
from peers import Duel, Runner
from probe import Probe, ReadBandwidth

PROBE_FELL = 0.9  # a pair is dropped when a probe beside it is under this share of the usual
LOST_SHARE = 0.1  # ... or when more than this share of the machine's processor time went to others
LOST_SECONDS = 0.03  # ... but not under three ticks of /proc/stat, its resolution


@dataclass(frozen=True)
class Effort:
    """How much time a row may take."""

    pairs: int = 7  # undisturbed ones, at least
    most_pairs: int = 25
    spare_pairs: int = 7  # run in place of disturbed ones, at most
    row_seconds: float = 1.0  # more pairs than ``pairs`` are run only within this time
    turn_seconds: float = 0.04  # a turn repeats a short call for about so long
    warm_seconds: float = (
        0.004  # ... after warming up for so long (calls of 0.1 s and more: not at all)
    )


QUICK = Effort(spare_pairs=3, row_seconds=0.0, turn_seconds=0.015, warm_seconds=0.002)


@dataclass(frozen=True)
class Bench:
    """What a case measures with."""

    effort: Effort
    probe: Probe
    bandwidth: ReadBandwidth
    footprints: Footprints


@dataclass(frozen=True)
class Pair:
    """One sample: seconds per call of both, and what the machine did meanwhile."""

    ours: float
    peer: float
    probes: tuple[float, ...]  # FMA rates before, between and after the two, in flops per second
    usual: float  # what the probe usually gives
    stolen: float  # seconds of processor time
    others: float
    kept: bool

    @property
    def probe(self) -> float:
        """The FMA rate beside the pair: the middle one, so that one disturbed probe is nothing."""
        return statistics.median(self.probes)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "probe": self.probe}


@dataclass
class Measurement:
    """All samples of one duel."""

    pairs: list[Pair] = field(default_factory=list)
    repeats: tuple[int, int] = (1, 1)  # calls per turn: ours, peer
    disturbed: bool = False  # too few undisturbed pairs, so all of them count

    @property
    def counted(self) -> list[Pair]:
        """The pairs that the row is made from."""
        return [pair for pair in self.pairs if pair.kept or self.disturbed]

    @property
    def dropped(self) -> int:
        return sum(not pair.kept for pair in self.pairs)

    def ratios(self) -> list[float]:
        """The peer's time by ours, above 1 where fastrnn is faster."""
        return [pair.peer / pair.ours for pair in self.counted]

    def summary(self) -> dict[str, float]:
        low, middle, high = quartiles(self.ratios())
        return {
            "ratio": middle,
            "ratio_low": low,
            "ratio_high": high,
            "ours_seconds": statistics.median(pair.ours for pair in self.counted),
            "peer_seconds": statistics.median(pair.peer for pair in self.counted),
        }

    def shares_of_peak(self, flops: float) -> tuple[float, float]:
        """Ours and the peer's: each pair's rate by the probes beside that pair, the median."""
        return (
            statistics.median(flops / pair.ours / pair.probe for pair in self.counted),
            statistics.median(flops / pair.peer / pair.probe for pair in self.counted),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "counted": len(self.counted),
            "dropped": self.dropped,
            "disturbed": self.disturbed,
            "repeats": self.repeats,
            "pairs": [pair.as_json() for pair in self.pairs],
        }


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def settle(limit: float = 0.5) -> None:
    """Wait until no other thread of this process runs.

    After a call idle workers spin on and would slow down whoever comes next: libgomp's and ONNX
    Runtime's for some milliseconds, OpenBLAS's for 0.1 s. Both sides wait for the other's.
    """
    end = time.perf_counter() + limit
    quiet = (
        0  # looks in a row that found no thread running; a spinning one may be between two turns
    )
    while quiet < 3 and time.perf_counter() < end:
        time.sleep(0.001)
        quiet = 0 if other_threads_run() else quiet + 1


@dataclass(frozen=True)
class Turn:
    """How often a runner is called when its turn has come."""

    runner: Runner
    repeats: int
    warm_ups: int

    @classmethod
    def plan(cls, runner: Runner, effort: Effort) -> Turn:
        """For about the seconds that ``effort`` allows; calls the runner a few times."""
        times: list[float] = []
        end = time.perf_counter() + effort.turn_seconds
        with runner.around():
            while not times or (time.perf_counter() < end and len(times) < 50):
                start = time.perf_counter()
                runner.call()
                times.append(time.perf_counter() - start)
        once = max(statistics.median(times), 1e-7)
        repeats = max(1, round(effort.turn_seconds / once))
        warm_ups = 0 if once >= 0.1 else max(1, round(effort.warm_seconds / once))
        return cls(runner, repeats, warm_ups)

    def seconds(self) -> float:
        """Seconds per call, as far as they count."""
        settle()
        with self.runner.around():
            for _ in range(self.warm_ups):
                self.runner.call()
            start = time.perf_counter()
            for _ in range(self.repeats):
                self.runner.call()
            return (time.perf_counter() - start) / self.repeats * self.runner.counted


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(duel: Duel, bench: Bench, dtype: str, threads: int) -> Measurement:
    """Time one duel. Its values were compared before, so both have run."""
    effort = bench.effort
    ours, peer = (Turn.plan(runner, effort) for runner in (duel.ours, duel.peer))
    result = Measurement(repeats=(ours.repeats, peer.repeats))

    def probe() -> float:
        settle()
        return bench.probe.sample(dtype, threads)

    with no_garbage_collection():
        end = time.perf_counter() + effort.row_seconds
        kept = 0
        before = probe()
        while True:
            start = Ticks.now()
            our_seconds, between, peer_seconds = ours.seconds(), probe(), peer.seconds()
            lost = Elsewhere.between(start, Ticks.now())
            probes = before, between, probe()
            usual = bench.probe.usual(dtype, threads)
            fine = min(probes) >= PROBE_FELL * usual and not lost_too_much(lost)
            result.pairs.append(
                Pair(our_seconds, peer_seconds, probes, usual, lost.stolen, lost.others, fine)
            )
            before = probes[-1]
            kept += fine
            enough = kept >= effort.pairs or len(result.pairs) >= effort.pairs + effort.spare_pairs
            if kept >= effort.most_pairs or (enough and time.perf_counter() >= end):
                break
    result.disturbed = kept < effort.pairs
    return result


def lost_too_much(lost: Elsewhere) -> bool:
    """Whether so much processor time went to others that a pair does not count."""
    return lost.share > LOST_SHARE and lost.stolen + lost.others >= LOST_SECONDS
