"""docs/figures: what the tutorial's pictures show is what the library computes."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fastrnn import functional as F

pytest.importorskip("tokenizers")

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
RNG = np.random.default_rng(0)


def load(name):
    spec = importlib.util.spec_from_file_location(f"tutorial_{name}", FIGURES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


experiments = load("experiments")


@pytest.fixture(scope="module")
def data():
    """Made reviews of the words of the review whose gates are shown."""
    words = experiments.REVIEW.split()
    tokenizer = experiments.Tokenizer(num_words=experiments.VOCABULARY)
    texts = [" ".join(RNG.choice(words, 110)) for _ in range(24)]
    tokenizer.fit_on_texts([*texts, experiments.REVIEW])
    ids = tokenizer.texts_to_sequences(texts)
    labels = np.arange(24) % 2
    return experiments.Data(tokenizer, ids[:16], labels[:16], ids[16:], labels[16:])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_gradient_followed_step_by_step_is_that_of_the_whole_sequence(cell, data):
    model = experiments.tutorial_model(cell, "forget 1")
    ids = experiments.pad_sequences(data.test, maxlen=20)
    followed = experiments.gradients_back(model, cell, ids)
    assert followed[0] == {"low": 1, "median": 1, "high": 1}

    embedding, first, _, second, _, dense = model.layers
    x = np.ascontiguousarray(first(embedding(ids)).swapaxes(0, 1))
    forward, backward = getattr(F, f"{cell}_forward"), getattr(F, f"{cell}_backward")
    _, state, _ = forward(x[:1], second.parameters)
    _, _, cache = forward(x[1:], second.parameters, state)
    weight = dense.parameters["weight"]
    dh = np.repeat(weight[None], len(ids), axis=1)
    _, dstate, _ = backward(cache, None, (dh, None) if cell == "lstm" else dh)
    dh_1 = dstate[0] if cell == "lstm" else dstate
    norms = np.linalg.norm(dh_1[0], axis=-1) / np.linalg.norm(weight)
    # float32: one call and nineteen round the weights' sums in the same order, the norms do not
    assert followed[19]["median"] == pytest.approx(np.median(norms), rel=1e-4)


def test_chrono_biases_are_the_papers():
    model = experiments.tutorial_model("lstm", "chrono")
    i, f, g, o = model.layers[3].parameters["bias_ih_l0"].reshape(4, -1)
    assert np.array_equal(i, -f)
    assert f.min() >= 0
    assert f.max() <= np.log(experiments.FURTHER - 1)
    assert not g.any()
    assert not o.any()


def test_all_is_measured_and_drawn(data, tmp_path):
    experiments.measure(data, 2, tmp_path / "runs", tmp_path)
    measured = {
        name: json.loads((tmp_path / f"tutorial_{name}.json").read_text())
        for name in ("curves", "gates", "gradients")
    }
    for curve in measured["curves"]["curves"].values():
        assert [row["epoch"] for row in curve] == [0, 1]
    words = len(measured["gates"]["words"])
    for gate in "ifo":
        values = np.array(measured["gates"][gate])
        assert values.shape == (16, words)
        assert 0 < values.min() < values.max() < 1
    assert len(measured["gradients"]["gradients"]) == 5

    pytest.importorskip("matplotlib")
    load("pictures").draw(tmp_path)
    for name in measured:
        assert (tmp_path / f"tutorial_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_that_is_done_is_not_done_again(data, tmp_path, monkeypatch):
    model = experiments.small_model()
    first = experiments.trained(model, data, 2, tmp_path)
    weights = model.get_weights()
    monkeypatch.setattr(experiments.fastrnn.Sequential, "fit", None)
    again = experiments.small_model()
    assert experiments.trained(again, data, 2, tmp_path) == first
    for one, other in zip(weights, again.get_weights(), strict=True):
        assert np.array_equal(one, other)
