"""What the bench makes of its rows: verdicts on targets, files, tables and figures."""

import json
import math
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import compare
import plot
import plot_curves
import report
import views
from bench_cases import Nobody, row, timed_row
from measure import Turn
from peers import Runner
from suites import Context, memory, registry
from suites.contention import Pair as BusyPair
from suites.contention import Side
from targets import TARGETS, Target, outcomes

BENCH = Path(compare.__file__).parent


# ---- targets -------------------------------------------------------------------------------------


def outcome(rows, **target):
    (found,) = outcomes(rows, [Target("made up", lambda row: True, **target)])
    return found


def test_a_target_is_reached_where_every_row_and_the_mean_are():
    rows = [row(1.5, "T1"), row(6.0, "T2")]
    assert outcome(rows, worst=1.5, mean=2.99).reached
    assert not outcome(rows, worst=1.6).reached
    assert not outcome(rows, mean=3.01).reached


def test_a_missed_row_is_named():
    found = outcome([row(1.0, "T1"), row(2.0, "T2")], worst=1.5)
    assert found.missed == ("lstm T1 (torch) 1.00",)
    assert found.worst == 1.0


def test_the_best_peer_of_a_row_counts():
    found = outcome([row(3.0), row(1.2, peer="onnxruntime")], worst=1.5)
    assert (found.rows, found.worst, found.reached) == (1, 1.2, False)


@pytest.mark.parametrize(
    "limit", [{"ours_share_of_peak": 0.82}, {"ours_share_of_stream": 0.9}], ids=str
)
def test_a_row_at_the_limit_of_the_machine_counts_as_reached(limit):
    found = outcome([row(1.0, "T1", **limit), row(3.0, "T2")], worst=2.0, mean=3.0)
    assert found.reached
    assert found.at_limit == 1
    assert found.mean == pytest.approx(math.sqrt(3))  # the plain one is what is shown
    in_noise = [row(1.0, "T1", disturbed=True, **limit), row(3.0, "T2")]
    assert not outcome(in_noise, worst=2.0).reached
    below = {name: value - 0.01 for name, value in limit.items()}
    assert not outcome([row(1.0, "T1", **below), row(3.0, "T2")], worst=2.0).reached


def test_a_slowdown_must_stay_under_its_target():
    rows = [row(label="T1", slowdown=2.0), row(label="T2", slowdown=2.5)]
    assert outcome(rows, worst=2.5, figure="slowdown", at_most=True).reached
    found = outcome(rows, worst=2.2, figure="slowdown", at_most=True)
    assert (found.reached, found.worst, len(found.missed)) == (False, 2.5, 1)


def test_every_target_has_rows_where_all_suites_run():
    context = Context(threads=2, quick=False, peers=(Nobody(),))
    rows = [
        {"suite": suite.name, "series": case.series, "label": case.label, "mode": case.mode,
         "peer": peer, "crowd": crowd}
        for suite in registry().values() for case in suite.cases(context)
        for peer in ("torch", "torch packed", "torch padded", "keras", "fastrnn", "numpy")
        for crowd in (0, 1)
    ]  # fmt: skip
    for target in TARGETS:
        assert any(map(target.rows, rows)), target.name


@pytest.mark.parametrize("quick", [False, True])
def test_no_two_cases_of_a_suite_have_one_name(quick):
    for suite in registry().values():
        cases = suite.cases(Context(2, quick, (Nobody(),)))
        names = [(case.series, case.label, case.mode) for case in cases]
        assert names
        assert len(set(names)) == len(names), suite.name


# ---- files ---------------------------------------------------------------------------------------


def memory_row(mebibytes):
    sizes = {what: mebibytes << 20 for what in ("activations", "peak", "process")}
    found = memory.compare(sizes, sizes)
    return {**row(), "suite": "memory", "view": "memory", "dtype": "float32", **found}


def busy_row(slowdown):
    side = Side(Turn(Runner("fastrnn", lambda: None, dict), 1, 0))
    side.pairs = [BusyPair(1.0, slowdown, True)] * 7
    more = {"suite": "contention", "view": "slowdown", "dtype": "float32"}
    return {**row(), **more, **side.as_json(least=7)}


def torch_rows():
    return [
        {**timed_row(1.0), "suite": "torch", "view": "torch", **more}
        for more in (
            {"mode": "training"},
            {"mode": "call", "over_us": 7.0},
            {"mode": "step", "ours_recurrent_share": 0.2, "peer_recurrent_share": 0.5},
        )
    ]


def document(*rows):
    return {
        "schema": report.SCHEMA, "isa": "avx2", "compiler": "one", "threads": 2,
        "machine": {"cpu": "one", "packages": {"fastrnn": "0", "numpy": "1"}},
        "peers": {"torch": {"version": "1"}},
        "started": "2026-01-01T00:00:00", "rows": list(rows),
        "busy": {"others_cpus": 0.0, "stolen_share": 0.0, "load_at_start": 0.0},
    }  # fmt: skip


def verdict(tmp_path, monkeypatch, old, new, *options, **more):
    """The exit status: 1 where a row is worse; `more` is said of the new run."""
    for name, made in (("old", document(old)), ("new", {**document(new), **more})):
        report.write_json(made, tmp_path / name)
    paths = [str(tmp_path / name) for name in ("old", "new")]
    monkeypatch.setattr(sys, "argv", ["compare", *paths, *options])
    return compare.main()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (timed_row(1.0, 0.01), timed_row(1.0, 0.02), 0),
        (timed_row(1.0, 0.01), timed_row(1.2, 0.01), 1),
        (timed_row(1.0, 0.01), timed_row(0.8, 0.01), 0),
        (timed_row(1.0, 0.5), timed_row(1.2, 0.5), 0),
        (memory_row(10), memory_row(10), 0),
        (memory_row(10), memory_row(12), 1),
        (busy_row(2.0), busy_row(2.01), 0),
        (busy_row(2.0), busy_row(3.0), 1),
    ],
    ids=["same", "slower", "faster", "noisy", "memory", "more memory", "busy", "busier"],
)
def test_a_regression_is_told_from_noise(tmp_path, monkeypatch, old, new, expected):
    assert verdict(tmp_path, monkeypatch, old, new) == expected


@pytest.mark.parametrize(
    ("peer", "more"),
    [
        ("torch packed", {"peers": {"torch": {"version": "2"}}}),
        ("numpy", {"machine": {"cpu": "one", "packages": {"numpy": "2"}}}),
        ("torch", {"heap": "kept"}),
    ],
)
def test_another_version_or_heap_of_the_peer_is_no_change_of_ours(
    tmp_path, monkeypatch, peer, more
):
    old, new = (timed_row(1.0, peer=peer, peer_seconds=seconds) for seconds in (2.0, 1.0))
    assert verdict(tmp_path, monkeypatch, old, new) == 1  # a change within the same version
    assert verdict(tmp_path, monkeypatch, old, new, **more) == 0
    assert verdict(tmp_path, monkeypatch, old, timed_row(1.2, peer=peer), **more) == 1


@pytest.mark.parametrize("peer", ["functional", "drop-in padded", "dense", "self"])
def test_where_fastrnn_is_its_own_peer_our_side_alone_counts(tmp_path, monkeypatch, capsys, peer):
    old = timed_row(1.0, peer=peer)
    assert verdict(tmp_path, monkeypatch, old, timed_row(1.0, peer=peer, peer_seconds=4.0)) == 0
    assert "1 rows: 0 better, 1 same" in capsys.readouterr().out
    assert verdict(tmp_path, monkeypatch, old, timed_row(2.0, peer=peer, peer_seconds=4.0)) == 1


def test_a_change_no_larger_than_that_of_a_repeated_run_is_none(tmp_path, monkeypatch):
    again = tmp_path / "again"
    report.write_json(document(timed_row(1.25, 0.01)), again)
    old, new = timed_row(1.0, 0.01), timed_row(1.2, 0.01)
    assert verdict(tmp_path, monkeypatch, old, new) == 1
    assert verdict(tmp_path, monkeypatch, old, new, "--repeat", str(again)) == 0
    assert verdict(tmp_path, monkeypatch, old, timed_row(1.4, 0.01), "--repeat", str(again)) == 1


def test_what_is_written_is_read_again(tmp_path):
    written = document(timed_row(1.23456789), memory_row(3))
    report.write_json(written, tmp_path / "results.json")
    read = json.loads((tmp_path / "results.json").read_text())
    assert read["rows"][0]["ours_seconds"] == 1.234568  # to seven digits
    assert read["rows"][1] == written["rows"][1]
    assert {**read, "rows": []} == {**written, "rows": []}


def test_a_busy_machine_is_said():
    assert report.busy_message(document(timed_row(1.0))) is None
    busy = document(timed_row(1.0))
    busy["busy"]["others_cpus"] = 0.5
    assert "other processes used 0.50" in report.busy_message(busy)
    disturbed = {**timed_row(1.0), "dropped": 3}
    assert "3 of 15 pairs" in report.busy_message(document(disturbed))


@pytest.mark.parametrize(
    "made", [timed_row(1.0), memory_row(3), busy_row(2.0), *torch_rows()], ids=str
)
def test_the_columns_of_a_table_stand_below_their_titles(made):
    view = views.VIEWS[made["view"]]
    titles = view.heading(registry()[made["suite"]]).splitlines()[-1]
    assert len(view.line(made)) == len(titles)


def test_every_kind_of_row_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    made = timed_row(1.0), memory_row(3), busy_row(2.0), *torch_rows()
    plot.write_plot(document(*made), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > os.stat(__file__).st_blksize


def test_the_closing_lines_hold_each_row_against_its_best_peer():
    rows = [row(4.0, "T1"), row(2.0, "T1", peer="onnxruntime"), row(8.0, "T2")]
    line = report.closing(rows).splitlines()[-1]
    assert "geometric mean  4.00 over  2 rows, worst  2.00 (T1, onnxruntime)" in line


# ---- learning curves -----------------------------------------------------------------------------


def test_learning_curves_are_drawn_and_kept_as_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "history.csv").write_text("epoch,loss,val_accuracy\n0,1.0,0.5\n1,0.8,0.75\n")
    arguments = [str(tmp_path / "curves.png"), f"digits:fastrnn={tmp_path}"]
    assert CliRunner().invoke(plot_curves.main, arguments).exit_code == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert curves == {"digits": {"fastrnn": [0.5, 0.75]}}


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ("digits", "expected EXAMPLE:LABEL=FOLDER"),
        ("numbers:a={folder}", "expected EXAMPLE:LABEL, an example of"),
        ("forecast:a={folder}", "expected a column val_loss"),
        ("digits:a={folder}/no", "No such file"),
    ],
)
def test_a_curve_that_cannot_be_drawn_is_named(tmp_path, curve, words):
    (tmp_path / "history.csv").write_text("epoch,loss,val_accuracy\n0,1.0,0.5\n")
    curve = curve.format(folder=tmp_path)
    result = CliRunner().invoke(plot_curves.main, [str(tmp_path / "a.png"), curve])
    assert result.exit_code != 0
    assert words in result.output
