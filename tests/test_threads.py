"""The default number of threads, on made-up machines."""

from pathlib import Path

import pytest

from fastrnn import _threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write the files of a made-up machine with eight processors on four cores."""
    monkeypatch.delenv("FASTRNN_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(_threads, "allowed_processors", lambda: set(range(8)))

    def write(files):
        cores = {
            f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": f"{i % 4},{i % 4 + 4}\n"
            for i in range(8)
        }
        for name, text in {**cores, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1 = "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
CONTAINER_V1 = "31 23 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


def test_two_hardware_threads_of_a_core_count_once(machine):
    choice = _threads.choose(machine({}))
    assert choice.count == 4
    assert "4 physical cores" in choice.reason


def test_where_nothing_is_told_the_allowed_processors_count(machine, tmp_path):
    assert _threads.choose(tmp_path / "empty").count == 8


def test_only_allowed_processors_count(machine, monkeypatch):
    root = machine({})
    monkeypatch.setattr(_threads, "allowed_processors", lambda: {1, 5, 2})
    assert _threads.choose(root).count == 2


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_a_version_2_quota_is_rounded_down_to_at_least_one(machine, quota, count):
    root = machine(
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/cpu.max": quota,
        }
    )
    assert _threads.choose(root).count == count


def test_an_enclosing_groups_quota_holds_too(machine):
    root = machine(
        {
            "proc/self/mountinfo": V2,
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/cpu.max": "max 100000",
            "sys/fs/cgroup/user/cpu.max": "300000 100000",
        }
    )
    choice = _threads.choose(root)
    assert choice.count == 3
    assert "quota of 3 processors" in choice.reason


@pytest.mark.parametrize(("quota", "count"), [("-1", 4), ("150000", 1), ("200000", 2)])
def test_a_version_1_quota_counts(machine, quota, count):
    folder = "sys/fs/cgroup/cpu,cpuacct/app"
    root = machine(
        {
            "proc/self/mountinfo": V1,
            "proc/self/cgroup": "4:memory:/other\n3:cpu,cpuacct:/app\n",
            f"{folder}/cpu.cfs_quota_us": quota,
            f"{folder}/cpu.cfs_period_us": "100000\n",
        }
    )
    assert _threads.choose(root).count == count


def test_inside_a_container_the_mount_is_the_containers_own_group(machine):
    root = machine(
        {
            "proc/self/mountinfo": CONTAINER_V1,
            "proc/self/cgroup": "3:cpu:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        }
    )
    assert _threads.choose(root).count == 2


@pytest.mark.parametrize("text", ["", "max", "a b", "1 0", "nonsense\n\n"])
def test_files_that_make_no_sense_are_passed_over(machine, text):
    root = machine(
        {
            "proc/self/mountinfo": V2 + text,
            "proc/self/cgroup": "0::/\n" + text,
            "sys/fs/cgroup/cpu.max": text,
        }
    )
    assert _threads.choose(root).count == 4


@pytest.mark.parametrize(
    ("value", "count"), [("2", 2), ("3,2", 3), ("64", 4), ("0", 4), ("many", 4)]
)
def test_omp_num_threads_can_lower_the_number_only(machine, monkeypatch, value, count):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert _threads.choose(machine({})).count == count


def test_an_explicit_number_is_taken_even_above_what_there_is(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FASTRNN_NUM_THREADS", "100")
    assert _threads.choose(machine({})) == _threads.ThreadChoice(100, "FASTRNN_NUM_THREADS")


def test_this_machine_gives_a_number():
    assert 1 <= _threads.choose(Path("/")).count <= len(_threads.allowed_processors()) or (
        _threads.choose().reason == "FASTRNN_NUM_THREADS"
    )
