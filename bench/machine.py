"""What the measurement ran on, and how busy the machine was with other things."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

VARIABLES = (
    "ATEN_",
    "DNNL_",
    "FASTRNN_",
    "GOMP_",
    "KERAS_",
    "KMP_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "TF_",
)
PACKAGES = (
    "fastrnn",
    "numpy",
    "torch",
    "onnxruntime",
    "onnx",
    "keras",
    "tensorflow",
    "tensorflow_cpu",
    "jax",
    "threadpoolctl",
)


def describe() -> dict[str, Any]:
    """Processor, caches, memory, system and versions, as they go into results.json."""
    return {
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count() or 1,
        "usable_cpus": usable_cpus(),
        "caches": _caches(),
        "memory_gib": _memory_gib(),
        "virtual_machine": "hypervisor" in _cpuinfo("flags").split(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "commit": _commit(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)
        },
    }


def usable_cpus() -> int:
    """How many processors the scheduler may put this process on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@dataclass(frozen=True)
class Ticks:
    """Processor time of the whole machine and of this process up to one moment, in seconds."""

    wall: float
    busy: float  # everything that ran on this machine, this process included
    stolen: float  # what the hypervisor gave to others while this machine wanted to run
    own: float

    @classmethod
    def now(cls) -> Ticks:
        busy = stolen = 0.0
        line = (_read(Path("/proc/stat")) or "").partition("\n")[0].split()
        if line[:1] == ["cpu"]:
            # user nice system idle iowait irq softirq steal, in ticks
            field = [int(word) / os.sysconf("SC_CLK_TCK") for word in line[1:9]]
            busy = field[0] + field[1] + field[2] + field[5] + field[6]
            stolen = field[7]
        times = os.times()  # of the children, those that have ended
        own = time.process_time() + times.children_user + times.children_system
        return cls(time.perf_counter(), busy, stolen, own)


@dataclass(frozen=True)
class Elsewhere:
    """Processor time between two moments that went to others."""

    wall: float
    stolen: float  # seconds, to other guests of the host
    others: float  # seconds, to other processes of this machine

    @classmethod
    def between(cls, start: Ticks, end: Ticks) -> Elsewhere:
        """Other processes' time is what was busy less our own."""
        others = (end.busy - start.busy) - (end.own - start.own)
        return cls(end.wall - start.wall, end.stolen - start.stolen, max(0.0, others))

    @property
    def share(self) -> float:
        """Of all processor time that the machine has."""
        return (self.stolen + self.others) / max(self.wall * (os.cpu_count() or 1), 1e-9)


def other_threads_run() -> bool:
    """Whether a thread of this process besides the calling one runs or is ready to.

    The process's processor time would not tell: it is brought up to date at timer ticks only. Where
    there is no /proc this waits for 0.12 s, longer than any known pool spins, and says no.
    """
    threads = Path("/proc/self/task")
    if not threads.exists():
        time.sleep(0.12)
        return False
    own = str(threading.get_native_id())
    # pid (name) state ...
    stats = (_read(thread / "stat") for thread in threads.iterdir() if thread.name != own)
    return any(stat.rpartition(")")[2].split()[0] == "R" for stat in stats if stat)


def load_average() -> float:
    return os.getloadavg()[0]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpuinfo(key: str) -> str:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _caches() -> dict[str, str]:
    """Of the first core: {"L1 Data": "32K", ...}."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(folder / name) for name in ("level", "type", "size"))
        if level and kind and size:
            found[f"L{level} {kind}"] = size
    return found


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout that this file stands in, with "+" where it has uncommitted changes."""
    folder = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")
