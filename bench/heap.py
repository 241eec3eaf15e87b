"""The C library's heap, kept between calls.

glibc gives large freed arrays back to the system at once; PyTorch, which has no pool of its own,
then pays for every page of its results again in each call: a third of a large LSTM training step.
Which arrays these are depends on what was freed before, so that rows would depend on their order.
fastrnn keeps its blocks itself. So both are measured with a heap that is kept, as PyTorch's guide
to tuning advises.
"""

from __future__ import annotations

import os
import platform
import sys

KEPT, AS_IT_IS = "kept", "as the C library has it"
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def kept() -> bool:
    """Whether this process has such a heap."""
    return all(os.environ.get(name) == value for name, value in KEEPING.items())


def described() -> str:
    """Say which heap this process has, for the report."""
    return KEPT if kept() else AS_IT_IS


def restart_with_kept() -> None:
    """Start this program again, with such a heap; elsewhere than on glibc nothing is done."""
    if platform.libc_ver()[0] == "glibc" and not kept():
        sys.stdout.flush()
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **KEEPING})


def environment_without() -> dict[str, str]:
    """For a process that is to measure what memory a program takes as it is."""
    return {name: value for name, value in os.environ.items() if name not in KEEPING}
