"""How a duel is timed, by a clock made up here, and what a row says of it."""

from types import SimpleNamespace

import pytest

import machine
import measure
import suites
from bench_cases import Nobody, pair
from machine import Elsewhere, Ticks
from measure import Bench, Effort, Measurement, lost_too_much
from peers import Duel, Runner, check_values, ours
from probe import ReadBandwidth
from suites import (
    Case,
    Context,
    Streamed,
    contention,
    ragged,
    recurrent_cases,
    torch_dropin,
    tutorial,
)  # fmt: skip
from workload import Workload, ragged_lengths

EFFORT = Effort(pairs=3, most_pairs=5, spare_pairs=2, row_seconds=0.0)
WORK = Workload("lstm", 7, 3, 5, 4)


# ---- timing --------------------------------------------------------------------------------------


class World:
    """A machine of two processors on which our call takes 0.125 s and the peer's 0.375 s."""

    def __init__(self, monkeypatch, rates=(), others=()):
        self.now, self.busy, self.looks, self.log = 0.0, 0.0, 0, []
        self.rates = dict(rates)  # of the probes that are not as usual, by their number
        self.others = dict(others)  # seconds of other processes, by the number of the pair
        clock = SimpleNamespace(perf_counter=lambda: self.now, sleep=lambda seconds: None)
        monkeypatch.setattr(measure, "time", clock)
        monkeypatch.setattr(measure, "settle", lambda: None)
        monkeypatch.setattr(measure, "Ticks", SimpleNamespace(now=self.look))
        monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)

    def look(self):
        """At the ticks, before and after each pair."""
        pair, after = divmod(self.looks, 2)
        self.looks += 1
        self.busy += self.others.get(pair, 0.0) if after else 0.0
        return Ticks(self.now, self.busy, stolen=0.0, own=0.0)

    def runner(self, name, seconds):
        def call():
            self.now += seconds
            self.log.append(name)

        return Runner(name, call, dict)

    def sample(self, dtype, threads):
        assert (dtype, threads) == ("float64", 2)
        self.log.append("probe")
        return self.rates.get(self.log.count("probe") - 1, 100.0)

    def measure(self, effort=EFFORT):
        duel = Duel(self.runner("ours", 0.125), self.runner("peer", 0.375))
        probe = SimpleNamespace(sample=self.sample, usual=lambda dtype, threads: 100.0)
        return measure.measure(duel, Bench(effort, probe, None, None), "float64", 2)


def test_both_sides_run_in_turn_between_probes(monkeypatch):
    world = World(monkeypatch)
    found = world.measure()
    planned = ["ours", "peer"]
    assert world.log == [*planned, "probe", *["ours", "probe", "peer", "probe"] * 3]
    assert [(pair.ours, pair.peer) for pair in found.pairs] == [(0.125, 0.375)] * 3
    assert found.summary()["ratio"] == 3.0  # above 1 where fastrnn is faster
    assert (found.dropped, found.disturbed) == (0, False)


# Probe 0 comes before the first pair, probes 2 n + 1 and 2 n + 2 between and after the sides of
# pair n. A pair takes half a second, so a tenth of two processors' time is 0.1 s.
@pytest.mark.parametrize(
    ("rates", "others", "kept"),
    [
        ({3: 89.0}, {}, [True, False, True, True]),
        ({3: 91.0}, {}, [True, True, True]),
        ({2: 50.0}, {}, [False, False, True, True, True]),
        ({}, {1: 0.11}, [True, False, True, True]),
        ({}, {1: 0.09}, [True, True, True]),
    ],
    ids=["slow probe", "fair probe", "slow between two pairs", "busy", "hardly busy"],
)
def test_a_pair_beside_a_disturbance_is_dropped_and_another_run(monkeypatch, rates, others, kept):
    found = World(monkeypatch, rates, others).measure()
    assert [pair.kept for pair in found.pairs] == kept
    assert found.dropped == kept.count(False)
    assert not found.disturbed
    assert len(found.counted) == 3


def test_where_too_many_pairs_were_disturbed_the_row_is(monkeypatch):
    found = World(monkeypatch, others=dict.fromkeys(range(3), 0.5)).measure()
    assert [pair.kept for pair in found.pairs] == [False, False, False, True, True]
    assert found.disturbed
    assert len(found.counted) == 5


def test_more_pairs_are_run_while_there_is_time(monkeypatch):
    def pairs(seconds):
        effort = Effort(pairs=3, most_pairs=5, spare_pairs=2, row_seconds=seconds)
        return len(World(monkeypatch).measure(effort).pairs)

    assert [pairs(seconds) for seconds in (0.0, 1.6, 60.0)] == [3, 4, 5]


def test_processor_time_of_others_is_told_from_our_own(monkeypatch):
    # user nice system idle iowait irq softirq steal
    line = "cpu 100 20 30 9000 9000 6 7 80 0 0"
    monkeypatch.setattr(machine, "_read", lambda path: line)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 10)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    now = Ticks.now()
    assert (now.busy, now.stolen) == pytest.approx((16.3, 8.0))
    found = Elsewhere.between(Ticks(1.0, 5.0, 1.0, 2.0), Ticks(5.0, 9.0, 1.5, 5.5))
    assert (found.wall, found.stolen, found.others) == (4.0, 0.5, 0.5)
    assert found.share == 1 / 8
    assert Elsewhere.between(Ticks(0, 0, 0, 0), Ticks(1, 1, 0, 2)).others == 0.0


@pytest.mark.parametrize(
    ("wall", "stolen", "others", "much"),
    [(1, 0.1, 0.11, True), (1, 0.1, 0.09, False), (0.1, 0, 0.029, False), (0.1, 0, 0.031, True)],
)
def test_little_that_went_to_others_counts_from_three_ticks_on(
    monkeypatch, wall, stolen, others, much
):
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert lost_too_much(Elsewhere(wall, stolen, others)) == much


# ---- rows ----------------------------------------------------------------------------------------


def duels_of(monkeypatch, case, **bench):
    """The duels of a case and its rows, as if each pair had taken us 1 s and the peer 2 s."""
    found = []
    monkeypatch.setattr(suites, "measure", lambda duel, *_: found.append(duel) or ONE)
    monkeypatch.setattr(suites, "check_values", lambda *_: 0.25)
    return list(case.rows(case, SimpleNamespace(**bench))), found


ONE = Measurement([pair(ours=1.0, peer=2.0, probes=(100.0,) * 3)])


def test_a_row_says_what_each_side_took_and_its_shares(monkeypatch):
    sides = [Runner(name, lambda: None, dict) for name in ("prepared", "torch")]
    case = Case(
        "T1", "lstm", "inference", "float32", 2, suites.duels(lambda: [Duel(*sides)]),
        flops=80.0, steps=4, samples=8, streamed=Streamed(size=10, total=60),
    )  # fmt: skip
    speeds = iter([50.0] * 6 + [100.0] + [70.0] * 7)
    reader = ReadBandwidth(
        lambda size, threads, _: next(speeds) if (size, threads) == (10, 2) else 0
    )
    ((row,), _) = duels_of(monkeypatch, case, bandwidth=reader)
    expected = {
        "ours": "prepared", "peer": "torch", "ratio": 2.0, "largest_difference": 0.25,
        "ours_seconds": 1.0, "peer_seconds": 2.0,
        "ours_us_per_step": 250_000.0, "peer_us_per_step": 500_000.0,
        "ours_share_of_peak": 0.8, "peer_share_of_peak": 0.4,
        "ours_share_of_stream": 0.6, "peer_share_of_stream": 0.3,
        "ours_samples_per_second": 8.0, "peer_samples_per_second": 4.0,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert reader.measure(10, 2) == 100.0  # the best of the run, not of its last readings
    assert reader.as_json() == [{"bytes": 10, "threads": 2, "best": 100.0}]


def test_a_training_step_is_three_times_the_flops_of_the_forward_pass():
    context = Context(2, False, (Nobody(),))
    inference, training = recurrent_cases(context, WORK)
    assert (inference.flops, training.flops) == (WORK.flops, 3 * WORK.flops)
    assert torch_dropin.layer_case(context, Nobody(), WORK).flops == 3 * WORK.flops
    assert ragged.cost_case(WORK, 2).flops == 3 * WORK.flops
    crowded = map(Workload, *zip(*contention.ROWS, *contention.UNITS, strict=True))
    flops = {f"{work.cell} {work.label}": work.flops for work in crowded}
    for case in contention.cases(context):
        assert case.flops == 3 * flops[case.label]
    training, prediction = tutorial.model_cases(context, tutorial.SentimentModel("lstm"))
    assert training.flops == 3 * prediction.flops


class Everything(Nobody):
    """A peer that can do everything, with its weights frozen or not."""

    def __init__(self, frozen):
        self.frozen_weights = frozen

    def inference(self, work, data, threads):
        return [Runner(f"frozen {self.frozen_weights}", lambda: None, dict)]

    training = step = inference


@pytest.mark.parametrize(
    ("mode", "changing", "frozen"),
    [
        ("inference", "functional", "prepared"),
        ("training", "functional", "functional"),
        ("step", "step", "step"),
    ],
)
def test_frozen_weights_meet_frozen_weights_and_others_others(monkeypatch, mode, changing, frozen):
    context = Context(1, True, (Everything(False), Everything(True)))
    (case,) = recurrent_cases(context, WORK, (mode,))
    _, found = duels_of(monkeypatch, case)
    names = [(duel.ours.name, duel.peer.name) for duel in found]
    assert names == [(changing, "frozen False"), (frozen, "frozen True")]


def test_only_a_session_of_onnx_runtime_has_its_weights_frozen():
    from peers.keras import Keras
    from peers.onnx_runtime import OnnxRuntime
    from peers.pytorch import Torch

    assert OnnxRuntime.frozen_weights
    assert not any(peer.frozen_weights for peer in (Torch, Keras, ours.Again))


def test_of_the_dense_side_of_cost_only_the_valid_share_counts(monkeypatch):
    work = Workload("gru", 20, 6, 2, 3, lengths=ragged_lengths(20, 6))
    _, (duel,) = duels_of(monkeypatch, ragged.cost_case(work, 1))
    assert (duel.ours.counted, duel.peer.counted) == (1.0, work.valid_share)
    assert work.valid_share < 1
    assert check_values(duel, "float32") < 1e-5
