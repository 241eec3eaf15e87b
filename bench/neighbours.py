"""Busy neighbours: processes that do plain arithmetic while they are told to."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# b"1" on its input: busy; b"0": asleep; the end of the input, which comes with the parent's death
# however it dies: the end.
_CODE = """
import os, select, sys
command = os.read(0, 1)
while command:
    while command == b"1" and not select.select([0], [], [], 0)[0]:
        for _ in range(20000):
            pass
    command = os.read(0, 1)
"""
STARTING_SECONDS = 0.02  # until the scheduler has placed those that were just woken


class Neighbours:
    """Processes that are asleep except within ``busy()``."""

    def __init__(self, number: int) -> None:
        self._processes = [
            # In a session of its own: Ctrl-C is for the bench, which ends them.
            subprocess.Popen(
                [sys.executable, "-S", "-c", _CODE],
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
            for _ in range(number)
        ]

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._tell(b"1")
        try:
            time.sleep(STARTING_SECONDS)
            yield
        finally:
            self._tell(b"0")

    def _tell(self, command: bytes) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(command)

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
