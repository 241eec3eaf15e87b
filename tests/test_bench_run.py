"""The bench's loop over cases: whatever a case does, the others and what was measured stay."""

import json
import os
import re
import sys

import pytest

import run
from bench_cases import timed_row
from footprint import Footprints
from peers import DisagreementError, UnavailableError
from suites import Case, Suite
from workload import Workload


def ends_with(error):
    """A case that makes one row before it raises this."""

    def rows(case, bench):
        yield timed_row(1.0, label=case.label)
        if error is not None:
            raise error

    return Case(type(error).__name__, "lstm", "training", "float32", 1, rows)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Runs cases as `bench/run.py` would; the exit status and results.json, None without one."""

    def run_cases(*cases, only=""):
        suite = Suite("layers", "made up", lambda context: list(cases))
        monkeypatch.setattr(run, "registry", lambda: {"layers": suite})
        results = tmp_path / "results.json"
        monkeypatch.setattr(
            sys, "argv", ["run", "--peers", "self", "--out", str(tmp_path), "--only", only]
        )
        status = run.main()
        return status, json.loads(results.read_text()) if results.exists() else None

    return run_cases


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (UnavailableError("no such thing"), 0, "no such thing"),
        (ImportError("no keras"), 0, "no keras"),
        (DisagreementError("output differs"), 1, "output differs"),
        (RuntimeError("out of luck"), 1, "RuntimeError: out of luck"),
        (MemoryError(), 1, "MemoryError: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_case_that_raises_is_skipped_and_the_others_run(bench, error, status, why):
    found, document = bench(ends_with(error), ends_with(None))
    assert found == status
    assert len(document["rows"]) == 2
    (skipped,) = document["skipped"]
    assert skipped == {"case": f"layers: lstm {type(error).__name__} training", "why": why}


def test_ctrl_c_ends_the_run_and_keeps_what_was_measured(bench, capsys):
    try:
        status, document = bench(ends_with(None), ends_with(KeyboardInterrupt()), ends_with(None))
    except KeyboardInterrupt:  # which would end pytest
        pytest.fail("Ctrl-C came through")
    assert status == 1
    assert [row["label"] for row in document["rows"]] == ["NoneType", "KeyboardInterrupt"]
    assert "what was measured so far is kept" in capsys.readouterr().out


def test_what_ends_the_run_otherwise_loses_no_row_either(bench, tmp_path):
    with pytest.raises(SystemExit):
        bench(ends_with(None), ends_with(SystemExit(3)))
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 2


def test_a_run_that_measured_nothing_has_failed(bench, capsys):
    assert bench(ends_with(None), only="no such case") == (1, None)
    assert "nothing was measured" in capsys.readouterr().out
    assert bench(ends_with(None), only="Type training")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_after_a_measuring_process_died_the_next_job_starts_another(monkeypatch):
    work = Workload("lstm", 4, 2, 3, 3)
    with Footprints(threads=1) as footprints:
        first = footprints.measure("fastrnn", work)
        (process,) = footprints._processes.values()
        os.kill(process.pid, 9)
        process.wait()
        with pytest.raises(UnavailableError, match=re.escape("ended with -9")):
            footprints.measure("fastrnn", work)
        assert footprints.measure("fastrnn", work)[0] == first[0]
