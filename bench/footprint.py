"""The memory of a training step, measured in processes of their own.

``python bench/footprint.py fastrnn|torch THREADS`` reads jobs from its input, one as JSON a line,
and answers each with a line. It imports what it needs, and then forks for each job: so every job
begins with the same heap, and no import is paid for twice. What is measured:

activations
    what a forward pass leaves for its backward pass besides the output: how far it raised the
    resident memory, or what the library counts, whichever is less. (oneDNN's workspaces are up to
    three times as large as what is ever written to; fastrnn keeps freed memory for its next call.)
peak
    how far training steps raised the resident memory at its highest.
process
    the highest value itself, interpreter and library included.

The rises are above what was resident when arrays and parameters were there and a small step had
loaded the code; before each look the C library gives back what it keeps of freed memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import heap
from peers import Peer, UnavailableError, ours
from workload import Data, Workload

STEPS = 2
Bytes = dict[str, int]


class Footprints:
    """What measures; a side's process starts with its first job and ends with this object."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def measure(self, side: str, work: Workload, runner: int = 0) -> tuple[str, Bytes] | None:
        """The name and the bytes of a side's runner with this number, None if it has fewer.

        Raises
        ------
        UnavailableError
            If this system does not tell, or the process could not measure.
        """
        if not Path("/proc/self/clear_refs").exists():
            raise UnavailableError("memory needs Linux's /proc/self/clear_refs")
        found = json.loads(self._ask(side, json.dumps({"work": asdict(work), "runner": runner})))
        if found is None:
            return None
        if "error" in found:
            raise UnavailableError(found["error"])
        return found["name"], found["bytes"]

    def _ask(self, side: str, job: str) -> str:
        """The line that answers this one."""
        process = self._processes.get(side) or self._start(side)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:  # it is dead: the next job starts another
            del self._processes[side]
            process.communicate()
            raise UnavailableError(f"{side}'s measuring process ended with {process.returncode}")
        return answer

    def _start(self, side: str) -> subprocess.Popen[str]:
        # Python 3.12 warns of a fork beside BLAS's idle threads; the libraries see to theirs.
        quiet = "-Wignore::DeprecationWarning"
        command = [sys.executable, quiet, __file__, side, str(self._threads)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=heap.environment_without(),
            start_new_session=True,  # Ctrl-C is for the bench, which ends it
        )
        self._processes[side] = process
        return process

    def __enter__(self) -> Footprints:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.communicate()


def serve(side: str, threads: int) -> None:
    contender: Peer
    if side == "torch":
        from peers.pytorch import Torch

        contender = Torch()
    else:
        contender = ours.Again()

    def answer(job: dict[str, Any]) -> Any:
        sizes = job["work"]
        work = Workload(**{**sizes, "lengths": sizes["lengths"] and tuple(sizes["lengths"])})
        small = replace(work, steps=2, batch=2, lengths=work.lengths and (2, 1))
        for runner in contender.training(small, Data.random(small), threads):
            runner.call()
        data = Data.random(work)
        runners = contender.training(work, data, threads)
        if job["runner"] >= len(runners):
            return None
        runner = runners[job["runner"]]
        del runners
        before = settled()
        assert runner.activations is not None
        kept = runner.activations.forward()
        risen = settled() - before - data.doutput.nbytes
        del kept
        Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
        for _ in range(STEPS):
            runner.call()
        highest = resident("VmHWM")
        return {
            "name": runner.name,
            "bytes": {
                "activations": max(0, min(risen, runner.activations.accounted())),
                "peak": highest - before,
                "process": highest,
            },
        }

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                found = answer(json.loads(line))
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            print(json.dumps({"error": f"the measuring process ended with {status}"}), flush=True)


def settled() -> int:
    """What is resident now, without freed memory where the C library can give it back (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return resident("VmRSS")


def resident(which: str) -> int:
    """``VmRSS``, resident now, or ``VmHWM``, at the highest, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {which}")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
