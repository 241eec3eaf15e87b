"""The machine's own speed: an FMA loop beside every turn, and reads of an array for batch 1."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from typing import Any

PROBE_SECONDS = 0.004


class Probe:
    """The FMA rate: what rows are held against, and the watch on disturbances."""

    def __init__(self, fma_peak: Callable[[bool, int, float], float]) -> None:
        self._fma_peak = fma_peak
        self._recent: dict[tuple[str, int], deque[float]] = {}
        self._all: dict[tuple[str, int], list[float]] = {}

    def sample(self, dtype: str, threads: int) -> float:
        """Flops per second just now."""
        key = dtype, threads
        if key not in self._recent:
            self._recent[key] = deque(maxlen=60)
            self._all[key] = []
            for _ in range(20):
                self._take(key)
        return self._take(key)

    def usual(self, dtype: str, threads: int) -> float:
        """What the machine gives when it is ours alone.

        The 90th percentile of the last probes follows a processor that slows as it warms up. Where
        most of them were disturbed, four fifths of the peak hold instead.
        """
        recent = sorted(self._recent[dtype, threads])
        return max(recent[int(0.9 * (len(recent) - 1))], 0.8 * max(self._all[dtype, threads]))

    def as_json(self) -> list[dict[str, Any]]:
        """The median and the best of the run, in flops per second."""
        return [
            {
                "dtype": dtype,
                "threads": threads,
                "usual": statistics.median(rates),
                "best": max(rates),
            }
            for (dtype, threads), rates in self._all.items()
        ]

    def _take(self, key: tuple[str, int]) -> float:
        dtype, threads = key
        rate = 0.0
        while rate == 0:  # on a crowded machine no thread may get its turn in so short a time
            rate = self._fma_peak(dtype == "float64", threads, PROBE_SECONDS)
        self._recent[key].append(rate)
        self._all[key].append(rate)
        return rate


class ReadBandwidth:
    """How fast threads read an array, each its part: the limit of a batch of one.

    An array that fits the caches is read as often as the weights of a sequence's steps are.
    """

    SECONDS = 0.01  # of one reading
    READINGS = 7

    def __init__(self, read_bandwidth: Callable[[int, int, float], float]) -> None:
        self._read_bandwidth = read_bandwidth
        self._found: dict[tuple[int, int], float] = {}

    def measure(self, size: int, threads: int) -> float:
        """Bytes per second of an array of ``size`` bytes; the best seen in this run."""
        key = size, threads
        rates = [self._read_bandwidth(size, threads, self.SECONDS) for _ in range(self.READINGS)]
        self._found[key] = max(self._found.get(key, 0.0), *rates)
        return self._found[key]

    def best(self, size: int, threads: int) -> float:
        """The best seen of an array that was measured."""
        return self._found[size, threads]

    def as_json(self) -> list[dict[str, Any]]:
        """The best of the run, in bytes per second."""
        return [
            {"bytes": size, "threads": threads, "best": best}
            for (size, threads), best in self._found.items()
        ]
