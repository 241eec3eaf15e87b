"""How much a training forward pass keeps for its backward pass: the modes, the limit, the choice.

What is not kept is computed again, to the same bits; docs/memory.md says what each mode costs.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from fastrnn import _check

Recompute = Literal["none", "gates", "checkpoint", "auto"]
MemoryLimit = int | str
Prepared = TypeVar("Prepared")

MODES = ("none", "gates", "checkpoint")
"""From the fastest to the one that keeps least."""

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class Request(NamedTuple):
    """What a caller asked for, checked."""

    mode: str  # one of MODES, or "auto"
    limit: int | None  # bytes; None: `default_limit` for "auto", else none

    def choose(self, prepare: Callable[[str], tuple[Prepared, int]]) -> tuple[str, Prepared]:
        """Return the mode to run in, of "auto" the first that keeps to the limit, and its plan.

        Parameters
        ----------
        prepare : function (mode)
            Returns the plan for a mode and the bytes that its cache holds.

        Raises
        ------
        ValueError
            If none of them does.
        """
        if self.mode != "auto":
            return self.mode, prepare(self.mode)[0]
        limit = default_limit() if self.limit is None else self.limit
        for mode in MODES:
            prepared, nbytes = prepare(mode)
            if nbytes <= limit:
                return mode, prepared
        raise ValueError(
            f'memory_limit: expected at least {nbytes} bytes, which "checkpoint" keeps '
            f"of this call, got {limit}"
        )


def parse(recompute: object, memory_limit: object) -> Request:
    """Check the two arguments; a limit alone asks for "auto"."""
    if recompute is None:
        recompute = "none" if memory_limit is None else "auto"
    mode = _check.choice("recompute", recompute, (*MODES, "auto"))
    if memory_limit is None:
        return Request(mode, None)
    if mode != "auto":
        raise ValueError(
            f'memory_limit: goes with recompute="auto", got {memory_limit!r} and {mode!r}'
        )
    return Request(mode, parse_bytes("memory_limit", memory_limit))


def parse_bytes(name: str, value: Any) -> int:
    """Return a number of bytes given as an int or as text such as "512MB" or "2 GiB"."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B)\s*", value.upper())
        size = float(match[1]) * _UNITS[match[2]] if match else math.inf
        if math.isinf(size):
            raise ValueError(f'{name}: expected bytes, such as 2**30 or "512MB", got {value!r}')
        return int(size)
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f'{name}: expected bytes, such as 2**30 or "512MB", got {value!r}')
    number: int = value.__index__()
    if number < 0:
        raise ValueError(f"{name}: expected 0 or more, got {number}")
    return number


def default_limit() -> int:
    """Return the limit of "auto" where none is given: half of what is available now."""
    return available() // 2


def available(root: Path = Path("/")) -> int:
    """Return the bytes that the process may still take, or a guess of 4 GiB where nothing tells.

    Parameters
    ----------
    root : Path
        Where ``/proc`` and ``/sys`` are looked for; tests give a made one.
    """
    limits = []
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", (root / "proc/meminfo").read_text())
        limits += [int(found[1]) * 1024] if found else []
        group = root / "sys/fs/cgroup"
        limits.append(_number(group / "memory.max") - _number(group / "memory.current"))
    except (OSError, ValueError):  # no Linux, no limit ("max")
        pass
    if not limits and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(0, min(limits, default=4 << 30))


def _number(path: Path) -> int:
    return int(path.read_text())
