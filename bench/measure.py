"""How a pair is timed: in turn, after the other's threads went to sleep, between two probes.

A row of the report is one duel. Its pairs run A B A B ...; each pair gives one ratio (the peer's
time by ours), and the row's figure is the median of them. What disturbs the machine for longer than
a pair hits both sides of it alike. What is shorter is found by a probe, an FMA loop of a few
milliseconds, and by the processor time that went to others: such a pair is dropped, and counted.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from machine import Elsewhere, Ticks, other_threads_run
from peers import Duel, Runner

PROBE_SECONDS = 0.004
PROBE_FELL = 0.9  # a pair is dropped when a probe beside it is under this share of the usual
LOST_SHARE = 0.1  # ... or when more than this share of the machine's processor time went to others
LOST_SECONDS = 0.03  # ... but not under three ticks of /proc/stat, its resolution


@dataclass(frozen=True)
class Effort:
    """How much time a row may take."""

    pairs: int = 7  # undisturbed ones, at least
    most_pairs: int = 25
    spare_pairs: int = 7  # run in place of disturbed ones, at most
    row_seconds: float = 3.0  # more pairs than ``pairs`` are run only within this time
    turn_seconds: float = 0.04  # a turn repeats a short call for about so long
    warm_seconds: float = (
        0.004  # ... after warming up for so long (calls of 0.1 s and more: not at all)
    )


QUICK = Effort(spare_pairs=3, row_seconds=0.0, turn_seconds=0.015, warm_seconds=0.002)


@dataclass(frozen=True)
class Pair:
    """One sample: seconds per call of both, and what the machine did meanwhile."""

    ours: float
    peer: float
    probe: float  # FMA rate, the lower of before and after, in flops per second
    usual: float  # what the probe usually gives
    stolen: float  # seconds of processor time
    others: float
    kept: bool


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

    def as_json(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "counted": len(self.counted),
            "dropped": self.dropped,
            "disturbed": self.disturbed,
            "repeats": self.repeats,
            "pairs": [asdict(pair) for pair in self.pairs],
        }


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


class Probe:
    """The FMA rate of the machine: the peak to hold rows against, and the watch on disturbances."""

    def __init__(self, fma_peak: Callable[[bool, int, float], float]) -> None:
        self._fma_peak = fma_peak
        self._recent: dict[tuple[str, int], deque[float]] = {}
        self.peaks: dict[tuple[str, int], float] = {}

    def sample(self, dtype: str, threads: int) -> float:
        """Flops per second just now."""
        key = dtype, threads
        if key not in self._recent:
            self._recent[key] = deque(maxlen=60)
            self.peaks[key] = 0.0
            for _ in range(20):
                self._take(key)
        return self._take(key)

    def usual(self, dtype: str, threads: int) -> float:
        """What the machine gives when it is ours alone.

        The 90th percentile of the last probes follows a processor that slows as it warms up. Where
        most of them were disturbed, four fifths of the peak hold instead.
        """
        recent = sorted(self._recent[dtype, threads])
        return max(recent[int(0.9 * (len(recent) - 1))], 0.8 * self.peaks[dtype, threads])

    def peak(self, dtype: str, threads: int) -> float:
        """The best rate seen in this run."""
        if (dtype, threads) not in self.peaks:
            self.sample(dtype, threads)
        return self.peaks[dtype, threads]

    def _take(self, key: tuple[str, int]) -> float:
        dtype, threads = key
        rate = self._fma_peak(dtype == "float64", threads, PROBE_SECONDS)
        self._recent[key].append(rate)
        self.peaks[key] = max(self.peaks[key], rate)
        return rate


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


def turn(runner: Runner, repeats: int, warm_ups: int) -> float:
    """Seconds per call."""
    settle()
    for _ in range(warm_ups):
        runner.call()
    start = time.perf_counter()
    for _ in range(repeats):
        runner.call()
    return (time.perf_counter() - start) / repeats


def measure(duel: Duel, probe: Probe, dtype: str, threads: int, effort: Effort) -> Measurement:
    """Time one duel. Its values were compared before, so both have run."""
    plans = [_plan(runner, effort) for runner in (duel.ours, duel.peer)]
    result = Measurement(repeats=(plans[0][0], plans[1][0]))
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + effort.row_seconds
        kept = 0
        settle()
        before = probe.sample(dtype, threads)
        while True:
            start = Ticks.now()
            ours, peer = turn(duel.ours, *plans[0]), turn(duel.peer, *plans[1])
            lost = Elsewhere.between(start, Ticks.now())
            settle()
            after = probe.sample(dtype, threads)
            lowest, usual = min(before, after), probe.usual(dtype, threads)
            seconds = lost.stolen + lost.others
            fine = lowest >= PROBE_FELL * usual and not (
                lost.share > LOST_SHARE and seconds >= LOST_SECONDS
            )
            result.pairs.append(Pair(ours, peer, lowest, usual, lost.stolen, lost.others, fine))
            before = after
            kept += fine
            enough = kept >= effort.pairs or len(result.pairs) >= effort.pairs + effort.spare_pairs
            if kept >= effort.most_pairs or (enough and time.perf_counter() >= end):
                break
    finally:
        gc.enable()
    result.disturbed = kept < effort.pairs
    return result


def _plan(runner: Runner, effort: Effort) -> tuple[int, int]:
    """Calls per turn, timed and warming up."""
    times: list[float] = []
    end = time.perf_counter() + effort.turn_seconds
    while not times or (time.perf_counter() < end and len(times) < 50):
        start = time.perf_counter()
        runner.call()
        times.append(time.perf_counter() - start)
    once = max(statistics.median(times), 1e-7)
    repeats = max(1, round(effort.turn_seconds / once))
    warm_ups = 0 if once >= 0.1 else max(1, round(effort.warm_seconds / once))
    return repeats, warm_ups
