"""The bench's arithmetic, on numbers made up here; what it times decides no test."""

import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compare
from bench_cases import WORKS, pair
from fastrnn import functional
from footprint import Footprints
from measure import Measurement, Turn
from neighbours import Neighbours
from peers import Runner
from probe import Probe
from sentiment import Reviews, SentimentModel
from subprocesses import run_python
from suites import Streamed, layers, memory, streamed
from suites.contention import Pair as BusyPair
from suites.contention import Side, crowds
from workload import Data, Workload

BENCH = Path(compare.__file__).parent


# ---- pairs ---------------------------------------------------------------------------------------


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
    cache = functional.lstm_forward(data.x, data.weights)[2]
    # What was resident before may serve again; that is little against these 4 MB.
    assert 0.5 * cache.nbytes < found["activations"] <= cache.nbytes
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
