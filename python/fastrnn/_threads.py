"""How many threads the process may use, and why."""

import os
from dataclasses import dataclass
from pathlib import Path

MOST_THREADS = 1024
"""More are refused: libgomp ends the process when the system does not give it a thread."""


@dataclass(frozen=True)
class ThreadChoice:
    """A number of threads and where it comes from."""

    count: int
    reason: str


def choose(root: Path = Path("/")) -> ThreadChoice:
    """Return the default number of threads.

    ``FASTRNN_NUM_THREADS`` is taken as it is. Otherwise it is the least of the processors in the
    affinity mask, the physical cores among them, the cgroup's quota of processor time, and
    ``OMP_NUM_THREADS``.

    Parameters
    ----------
    root : Path
        Where ``/sys`` and ``/proc`` are looked for; tests give a made one.

    Raises
    ------
    ValueError
        If ``FASTRNN_NUM_THREADS`` is not a whole number in 1 .. `MOST_THREADS`.
    """
    asked = os.environ.get("FASTRNN_NUM_THREADS", "").strip()
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked) <= MOST_THREADS:
            raise ValueError(
                f"FASTRNN_NUM_THREADS: expected a whole number from 1 to {MOST_THREADS}, "
                f"got {asked!r}"
            )
        return ThreadChoice(int(asked), "FASTRNN_NUM_THREADS")

    processors = allowed_processors()
    limits = [(len(processors), f"{len(processors)} processors allowed")]
    cores = physical_cores(processors, root)
    if cores is not None:
        limits.append((cores, f"{cores} physical cores"))
    quota = cgroup_quota(root)
    if quota is not None:
        # Rounded down: one thread too many makes the whole process wait for the next period.
        limits.append((max(1, int(quota)), f"cgroup quota of {quota:g} processors"))
    omp = omp_num_threads()
    if omp is not None:
        limits.append((omp, f"OMP_NUM_THREADS={omp}"))
    count = min(limit for limit, _ in limits)
    return ThreadChoice(min(count, MOST_THREADS), ", ".join(reason for _, reason in limits))


def allowed_processors() -> set[int]:
    """Return the processors that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(processors: set[int], root: Path = Path("/")) -> int | None:
    """Count the cores behind ``processors`` (two hardware threads of one core share its FMA units).

    None where the system does not tell.
    """
    siblings: set[str] = set()
    for processor in processors:
        topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
        text = _read(topology / "thread_siblings_list")
        if text is None:
            return None
        siblings.add(text.strip())
    return len(siblings)


def omp_num_threads() -> int | None:
    """Return ``OMP_NUM_THREADS`` (of a list, the first), or None where it is no number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time the process's cgroups grant, or None without a limit.

    Version 2 has ``cpu.max`` ("quota period" or "max period"), version 1 ``cpu.cfs_quota_us`` (-1:
    no limit) and ``cpu.cfs_period_us``; the limits of all enclosing groups hold too.
    """
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _folder_quota(folder))]
    return min(quotas, default=None)


def _folder_quota(folder: Path) -> float | None:
    text = _read(folder / "cpu.max")
    if text is None:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        text = f"{quota} {period}" if quota and period else ""
    fields = text.split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields) or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _cgroup_folders(root: Path) -> list[Path]:
    """Return the folders of the cgroups that may limit this process, the enclosing ones too."""
    groups = _own_groups(root)
    folders: list[Path] = []
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        # id parent major:minor root mount_point options [optional ...] - type source super_options
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 3:
            continue
        if right[0] == "cgroup2":
            group = groups.get("")
        elif right[0] == "cgroup" and "cpu" in right[2].split(","):
            group = groups.get("cpu")
        else:
            continue
        if group is None:
            continue
        mount_root, mount_point = left[3].rstrip("/"), root / left[4].lstrip("/")
        inside = group.removeprefix(mount_root).strip("/") if group.startswith(mount_root) else ""
        folder = mount_point / inside
        folders.append(folder)
        while folder != mount_point and mount_point in folder.parents:
            folder = folder.parent
            folders.append(folder)
    return folders


def _own_groups(root: Path) -> dict[str, str]:
    """Return this process's groups: version 2's under "", version 1's by controller."""
    groups: dict[str, str] = {}
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            groups.update(dict.fromkeys(fields[1].split(","), fields[2]))
    return groups


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
