"""Who is measured by the bench computes the same values; the drop-in's suite."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compare
import run
from bench_cases import WORKS, Nobody, pair
from measure import Measurement
from peers import DisagreementError, Duel, Runner, check_values, ours
from sentiment import SentimentModel, without_chance
from suites import Context, registry, torch_dropin
from torch_models import LANGUAGE_MODEL, TAGGER, TorchModel
from workload import Data

BENCH = Path(compare.__file__).parent


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
            for both in zip(*sides, strict=True):
                assert check_values(Duel(*both), work.dtype) < limit


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
