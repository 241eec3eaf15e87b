"""The machine's own speed: an FMA loop beside every turn, and reads of an array for batch 1."""

from __future__ import annotations

import importlib
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """How fast an array streams through all threads: the limit of a batch of one.

    Each thread multiplies its part of the array by a vector again and again, in NumPy's BLAS, which
    was the fastest of NumPy's ways to read an array once (dot, max, sum, bitwise or, einsum).
    """

    COLUMNS = 512
    SECONDS = 0.01  # of one reading, about
    READINGS = 7

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], float] = {}

    def measure(self, size: int, threads: int) -> float:
        """Bytes per second of an array of about ``size`` bytes; the best seen in this run."""
        key = size, threads
        self._found[key] = max(self._found.get(key, 0.0), self._read(size, threads))
        return self._found[key]

    def _read(self, size: int, threads: int) -> float:
        rows = max(1, round(size / 4 / threads / self.COLUMNS))
        rng = np.random.default_rng(0)
        parts = [rng.standard_normal((rows, self.COLUMNS), np.float32) for _ in range(threads)]
        vector = rng.standard_normal(self.COLUMNS, np.float32)
        passes = 1

        def read(part: npt.NDArray[np.float32]) -> None:
            # The broadcast matrix is one in memory: a loop over it without Python.
            np.matmul(np.broadcast_to(part, (passes, *part.shape)), vector)

        def seconds() -> float:
            start = time.perf_counter()
            deque(pool.map(read, parts), maxlen=0)
            return time.perf_counter() - start

        limits: Any = importlib.import_module("threadpoolctl").threadpool_limits
        with limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            while (took := seconds()) < self.SECONDS / 2:
                passes *= 2
            took = min(took, *(seconds() for _ in range(self.READINGS)))
        return passes * sum(part.nbytes for part in parts) / took
