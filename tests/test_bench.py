"""The bench's arithmetic, on numbers made up here; what it times decides no test."""

import itertools
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import compare
import plot
import plot_curves
import report
import run
import views
from footprint import Footprints
from measure import Measurement, Pair, Turn
from neighbours import Neighbours
from peers import DisagreementError, Duel, Peer, Runner, check_values, ours
from probe import Probe
from sentiment import Reviews, SentimentModel, without_chance
from subprocesses import run_python
from suites import Context, Streamed, layers, memory, registry, streamed, torch_dropin
from suites.contention import Pair as BusyPair
from suites.contention import Side, crowds
from targets import TARGETS, Target, outcomes
from torch_models import LANGUAGE_MODEL, TAGGER, TorchModel
from workload import Data, Workload, ragged_lengths

BENCH = Path(compare.__file__).parent

# ---- pairs ---------------------------------------------------------------------------------------


def pair(ours=1.0, peer=2.0, probes=(100.0, 100.0, 100.0), kept=True):
    return Pair(ours, peer, probes, usual=100.0, stolen=0.0, others=0.0, kept=kept)


def test_the_ratio_is_the_median_of_the_pairs_that_were_not_disturbed():
    measured = Measurement([pair(peer=2), pair(peer=3), pair(peer=9), pair(peer=99, kept=False)])
    assert measured.summary()["ratio"] == 3
    assert measured.dropped == 1


def test_where_too_few_pairs_were_undisturbed_all_count():
    pairs = [pair(peer=2), pair(peer=4, kept=False), pair(peer=8, kept=False)]
    assert Measurement(pairs, disturbed=True).summary()["ratio"] == 4


def test_a_share_of_the_peak_is_held_against_the_probes_beside_the_same_pair():
    """Half the clock is half the speed of the work and of the probe: the share stays."""
    fast = [pair(ours=1, peer=2, probes=(100, 100, 100))] * 3
    slow = [pair(ours=2, peer=4, probes=(50, 50, 50))] * 4
    assert Measurement(fast + slow).shares_of_peak(flops=80) == (0.8, 0.4)


def test_one_disturbed_probe_does_not_raise_a_share():
    assert Measurement([pair(probes=(100, 20, 100))]).shares_of_peak(flops=80) == (0.8, 0.4)


def test_a_probe_that_got_no_processor_at_all_is_taken_again():
    rates = itertools.chain([0.0], itertools.repeat(5.0))
    probe = Probe(lambda *_: next(rates))
    assert probe.sample("float32", 2) == 5.0
    assert probe.as_json()[0]["usual"] == 5.0


def test_only_the_counted_share_of_a_runners_time_counts(monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr("measure.settle", lambda: None)
    monkeypatch.setattr("measure.time.perf_counter", lambda: next(clock))
    runner = Runner("dense", lambda: None, dict, counted=0.5)
    assert Turn(runner, repeats=3, warm_ups=0).seconds() == 1.0


# ---- what is measured ----------------------------------------------------------------------------

WORKS = [
    Workload("lstm", 7, 3, 5, 4),
    Workload("gru", 7, 3, 5, 4, num_layers=3, bidirectional=True),
    Workload("rnn_tanh", 20, 6, 2, 3, lengths=ragged_lengths(20, 6), dtype="float64"),
]


@pytest.mark.parametrize("work", WORKS, ids=str)
def test_flops_are_two_per_weight_and_valid_step(work):
    weights = [w for name, w in Data.random(work).weights.items() if name.startswith("weight")]
    valid = int(work.mask.sum())
    assert work.flops == 2 * sum(w.size for w in weights) * valid
    assert work.valid_share == valid / (work.steps * work.batch)


@pytest.mark.parametrize("work", WORKS, ids=str)
def test_weight_bytes_are_those_of_the_arrays(work):
    weights = Data.random(work).weights
    assert work.weight_bytes == tuple(
        sum(w.nbytes for name, w in weights.items() if name.startswith(kind))
        for kind in ("weight_ih", "weight_hh")
    )


def test_a_batch_of_one_streams_the_recurrent_weights_once_a_step_and_the_others_once():
    inputs, recurrent = 4 * 64 * 32 * 4, 4 * 64 * 64 * 4
    work = Workload("lstm", 100, 1, 32, 64)
    assert streamed(work, "inference") == Streamed(recurrent, 100 * recurrent + inputs)
    assert streamed(work, "training").total == 2 * (100 * recurrent + inputs)
    assert streamed(replace(work, steps=1), "step").size == inputs + recurrent
    assert streamed(replace(work, batch=2), "inference") is None


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_flops_of_the_tutorials_model_are_two_per_weight_and_token(cell):
    model = SentimentModel(cell)
    weights = Reviews.random(model, batches=1).weights
    layers = sum(w.size for name, w in weights.items() if name.startswith("rnn") and w.ndim == 2)
    dense = weights["dense.weight"].size
    assert model.flops == 2 * model.batch * (model.steps * layers + dense)


def test_made_up_reviews_have_no_padding_and_frequent_words_come_often():
    tokens = Reviews.random(SentimentModel("lstm")).tokens
    assert tokens.min() >= 1
    assert tokens.max() < 10_000
    assert np.mean(tokens < 100) > 0.4  # the harmonic series: 5.2 of 9.8


def test_the_shapes_reach_from_small_to_large():
    steps, batch, _, hidden = (sorted(sizes) for sizes in zip(*layers.SHAPES, strict=True))
    assert (batch[0], batch[-1]) == (1, 256)
    assert (hidden[0], hidden[-1]) == (32, 1024)
    assert (steps[0], steps[-1]) == (10, 1000)


@pytest.mark.parametrize(
    ("threads", "processors", "expected"),
    [(2, 2, [1, 2]), (1, 1, [1]), (16, 16, [8, 16]), (2, 16, [15, 16]), (4, 2, [2, 4])],
)
def test_neighbours_first_fill_free_processors_then_half_and_all_of_the_teams(
    threads, processors, expected
):
    assert crowds(threads, processors) == expected


def test_a_slowdown_is_busy_time_by_the_quiet_time_of_the_same_pair():
    side = Side(Turn(Runner("fastrnn", lambda: None, dict), 1, 0))
    side.pairs = [BusyPair(1, 2, True), BusyPair(2, 6, True), BusyPair(1, 50, False)]
    found = side.as_json(least=2)
    assert (found["slowdown"], found["dropped"], found["disturbed"]) == (2.5, 1, False)
    assert side.as_json(least=3)["slowdown"] == 3


# ---- values --------------------------------------------------------------------------------------


def runner(**arrays):
    return Runner("one", lambda: None, lambda _: {n: np.array(a) for n, a in arrays.items()})


def test_a_duel_over_equal_values_is_accepted():
    duel = Duel(runner(output=[1.0, 2.0], dx=[3.0]), runner(output=[1.0, 2.001]))
    assert check_values(duel, "float32") == pytest.approx(5e-4, rel=1e-2)


@pytest.mark.parametrize("wrong", [[1.0, 2.1], [1.0, math.nan], [1.0, 2.0, 3.0]], ids=str)
def test_a_duel_over_other_values_is_refused(wrong):
    with pytest.raises(DisagreementError, match="output"):
        check_values(Duel(runner(output=[1.0, 2.0]), runner(output=wrong)), "float32")


def test_where_values_are_random_those_of_the_checked_duel_are_compared():
    checked = Duel(runner(output=[1.0]), runner(output=[1.0]))
    duel = Duel(runner(output=[1.0]), runner(output=[5.0]), checked)
    assert check_values(duel, "float32") == 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_the_tutorials_model_is_the_same_in_pytorch(cell):
    pytest.importorskip("torch")
    from peers.pytorch import Torch

    assert_same_model(Torch(), cell)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of TensorFlow and what it imports
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_the_tutorials_model_is_the_same_in_keras(cell):
    pytest.importorskip("keras")
    from peers.keras import Keras, find_backend

    backend = find_backend()
    if backend is None:
        pytest.skip("Keras has no back end to measure")
    assert_same_model(Keras(backend), cell)


def assert_same_model(peer, cell):
    small = SentimentModel(cell, vocabulary=200, embedding=6, units=(8, 5), steps=4)
    model, reviews = without_chance(small)
    for mode in ("model_prediction", "model_training"):
        (theirs,) = getattr(peer, mode)(model, reviews, 1)
        duel = Duel(getattr(ours, mode)(model, reviews, 1), theirs)
        # Two steps of training move the output by 2e-2; a wrong gradient would by more than 1e-3.
        # Adam makes much of the rounding of gradients that almost vanish.
        assert check_values(duel, "float32") < 1e-4


def test_the_drop_in_is_given_what_torch_nn_is_given():
    pytest.importorskip("torch")
    from peers.drop_in import DropIn
    from peers.pytorch import Torch

    for work in WORKS:
        data = Data.random(work)
        limit = 1e-4 if work.dtype == "float32" else 1e-12
        for mode in ("inference", "training"):
            sides = (getattr(peer, mode)(work, data, 1) for peer in (DropIn(), Torch()))
            for pair in zip(*sides, strict=True):
                assert check_values(Duel(*pair), work.dtype) < limit


def test_packed_and_padded_sequences_get_the_same_gradients():
    pytest.importorskip("torch")
    from peers.drop_in import DropIn, packed_training, padded_training
    from peers.pytorch import Torch

    for work in (WORKS[2], torch_dropin.hardly_padded(WORKS[0])):
        given = work, Data.random(work), 1
        ours = packed_training(DropIn(), *given)
        limit = 1e-4 if work.dtype == "float32" else 1e-12
        for peer in (DropIn(), Torch()):
            for theirs in (packed_training(peer, *given), padded_training(peer, *given)):
                assert check_values(Duel(ours, theirs), work.dtype) < limit


@pytest.mark.parametrize("model", [TAGGER, LANGUAGE_MODEL], ids=lambda model: model.name)
def test_the_models_are_the_same_with_the_drop_in(model):
    pytest.importorskip("torch")
    sizes = {"vocabulary": 50, "embedding": 6, "hidden": 5, "classes": 9, "steps": 7, "batch": 4}
    small = replace(model, **sizes, dropout=0.0)
    for runner in (TorchModel.recurrent_part, TorchModel.step):
        both = Duel(*(runner(TorchModel(small, accelerated, 1)) for accelerated in (True, False)))
        assert check_values(both, "float32") < 1e-4


class Fixed:
    """Stands for `measure`: measurements made up here, one after the other."""

    def __init__(self, monkeypatch, *seconds):
        pairs = [[pair(ours=ours, peer=peer)] * 7 for ours, peer in seconds]
        self.found = map(Measurement, pairs)
        monkeypatch.setattr(torch_dropin, "measure", lambda *_: next(self.found))
        monkeypatch.setattr(torch_dropin, "check_values", lambda *_: 0.0)


def only_case(mode, series):
    cases = torch_dropin.cases(Context(1, True, (Nobody(),)))
    (found,) = [case for case in cases if (case.mode, case.series) == (mode, series)]
    return found


def test_what_a_call_of_the_drop_in_takes_longer_is_shown_in_microseconds(monkeypatch):
    pytest.importorskip("torch")
    Fixed(monkeypatch, (30e-6, 10e-6))
    case = only_case("call", "gru")
    (found,) = case.rows(case, None)
    assert found["over_us"] == pytest.approx(20)


def test_a_models_step_is_shown_with_the_share_of_its_recurrent_layers(monkeypatch):
    pytest.importorskip("torch")
    Fixed(monkeypatch, (1.0, 3.0), (4.0, 6.0))
    shares = iter([0.25, 0.5])
    monkeypatch.setattr(TorchModel, "recurrent_share", lambda self: next(shares))
    case = only_case("step", "tagger")
    part, whole = case.rows(case, None)
    assert (part["mode"], part["ratio"]) == ("recurrent", 3.0)
    assert (whole["mode"], whole["ratio"]) == ("step", 1.5)
    assert (whole["ours_recurrent_share"], whole["peer_recurrent_share"]) == (0.25, 0.5)


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("model", [TAGGER, LANGUAGE_MODEL], ids=lambda model: model.name)
def test_the_recurrent_layers_begin_and_end_within_a_step(model, accelerated):
    pytest.importorskip("torch")
    made = TorchModel(replace(model, vocabulary=50, classes=9, steps=7), accelerated, 1)
    assert 0 < made.recurrent_share(steps=1) < 1
    assert made.marks == sorted(made.marks)


def test_a_suite_that_takes_long_runs_only_where_it_is_named(monkeypatch):
    suites = registry()
    for arguments, named in (([], False), (["layers", "torch"], True)):
        monkeypatch.setattr(sys, "argv", ["run", *arguments])
        assert ("torch" in run.parse(suites).suites) == named


# ---- targets -------------------------------------------------------------------------------------


def row(ratio=2.0, label="T1", peer="torch", **more):
    base = {"suite": "layers", "view": "speed", "series": "lstm", "mode": "training"}
    return {**base, "label": label, "peer": peer, "ratio": ratio, "threads": 2, **more}


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


class Nobody(Peer):
    name = "torch"

    def version(self):
        return "0"


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


# ---- memory and neighbours -----------------------------------------------------------------------


def test_less_memory_than_heaps_grow_by_makes_no_difference():
    found = memory.compare({"peak": 4096}, {"peak": 1 << 19})
    assert found["peak_ratio"] == 1
    assert memory.compare({"peak": 4096}, {"peak": 3 << 20})["peak_ratio"] == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_training_step_is_at_least_that_of_its_arrays():
    work = Workload("lstm", 60, 32, 128, 128)
    with Footprints(threads=1) as footprints:
        _, found = footprints.measure("fastrnn", work)
        assert footprints.measure("fastrnn", work, runner=1) is None
    data = Data.random(work)
    results = data.x.nbytes + data.doutput.nbytes  # dx is as large as x
    assert found["peak"] >= results + found["activations"] / 2
    assert found["process"] > found["peak"]


def test_neighbours_end_with_their_block():
    with Neighbours(2) as neighbours, neighbours.busy():
        pass
    assert all(process.poll() is not None for process in neighbours._processes)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neighbours_end_with_a_parent_that_is_killed():
    process = run_python(
        f"""
        import os, signal, sys
        sys.path.append({str(BENCH)!r})
        from neighbours import Neighbours
        neighbours = Neighbours(1)
        with neighbours.busy():
            print(neighbours._processes[0].pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    stat = Path(f"/proc/{int(process.stdout)}/stat")
    end = time.monotonic() + 30
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "the neighbour is still there"
        time.sleep(0.01)


# ---- files ---------------------------------------------------------------------------------------


def timed_row(seconds, noise=0.0):
    drawn = np.random.default_rng(0).lognormal(0, noise, 15)
    pairs = [pair(ours=seconds * factor, peer=2.0) for factor in drawn]
    measured = Measurement(pairs).as_json()
    shares = {"ours_us_per_step": 1.0, "peer_us_per_step": 2.0, "ours_share_of_peak": 0.5}
    return {**row(), **measured, **shares, "peer_share_of_peak": 0.3, "dtype": "float32",
            "ours": "functional"}  # fmt: skip


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
        "schema": report.SCHEMA, "machine": {"cpu": "one", "packages": {"fastrnn": "0"}},
        "isa": "avx2", "compiler": "one", "peers": {"torch": {"version": "1"}}, "threads": 2,
        "started": "2026-01-01T00:00:00", "rows": list(rows),
        "busy": {"others_cpus": 0.0, "stolen_share": 0.0, "load_at_start": 0.0},
    }  # fmt: skip


def verdict(tmp_path, monkeypatch, old, new):
    for name, made in (("old", old), ("new", new)):
        report.write_json(document(made), tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path / "old"), str(tmp_path / "new")])
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
