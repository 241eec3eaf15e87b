"""The recurrent layers' recompute and memory_limit, and chrono initialisation."""

import logging

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, Bidirectional, Dense, Embedding, Sequential, initializers
from fastrnn.data import continuous_batches
from fastrnn.losses import SparseCategoricalCrossentropy

layer_classes = pytest.mark.parametrize("cls", [RNN, LSTM, GRU])
modes = pytest.mark.parametrize("mode", ["gates", "checkpoint"])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 900, 5)).astype(np.float32)
MASK = np.arange(900) >= np.array([[0], [700], [13]])


def gradients_of(layer, mask=None):
    """The gradients of a training pass, dx among them, with a seed of its own."""
    layer(X[:, :2])  # builds it
    fastrnn.set_seed(1)
    y = layer(X, mask=mask, training=True)
    dy = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
    return {"dx": layer.backward(dy), **layer.gradients, "y": y}


def assert_same_gradients(make, mode, mask=None):
    fastrnn.set_seed(0)
    expected = gradients_of(make(recompute=None), mask)
    fastrnn.set_seed(0)
    layer = make(recompute=mode)
    actual = gradients_of(layer, mask)
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert np.asarray(array).tobytes() == np.asarray(expected[name]).tobytes(), name


@modes
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@layer_classes
def test_a_layer_that_recomputes_has_the_same_bits(cls, mode, sequences, mask):
    options = dict(return_sequences=sequences, num_layers=2, dropout=0.2, stack_dropout=0.3)
    assert_same_gradients(lambda **more: cls(20, **options, **more), mode, mask)
    assert_same_gradients(
        lambda **more: cls(20, return_sequences=sequences, go_backwards=True, **more), mode, mask
    )
    assert_same_gradients(
        lambda **more: Bidirectional(cls(20, return_sequences=sequences, **more)), mode, mask
    )


def test_both_directions_say_what_they_ran_with():
    layer = Bidirectional(LSTM(4, recompute="gates"))
    assert layer.recomputed is None
    layer(X, training=True)
    assert layer.recomputed == "gates"


def test_a_limit_picks_by_itself_and_says_what_it_picked(caplog):
    caplog.set_level(logging.INFO, "fastrnn")
    layer = LSTM(32, memory_limit="100 GB")
    layer(X, training=True)
    assert layer.recomputed == "none"
    everything = layer._pass.cache.nbytes
    layer.memory_limit = "1 MB"
    for _ in range(2):
        layer(X, training=True)
    assert layer.recomputed == "gates"
    assert [record.getMessage() for record in caplog.records] == [
        f"lstm: recompute='none', which keeps {everything} bytes",
        f"lstm: recompute='gates', which keeps {layer._pass.cache.nbytes} bytes",
    ]
    layer.memory_limit = 100
    with pytest.raises(ValueError, match="memory_limit: expected at least"):
        layer(X, training=True)
    layer(X)  # inference keeps nothing


def test_what_is_not_limited_is_not_logged(caplog):
    caplog.set_level(logging.INFO, "fastrnn")
    LSTM(32, recompute="gates")(X, training=True)
    assert not caplog.records


def test_a_model_with_limits_is_saved_and_trained(tmp_path):
    model = Sequential(
        [
            Embedding(20, 8),
            Bidirectional(GRU(8, return_sequences=True, recompute="gates")),
            LSTM(8, memory_limit="64 kB", chrono_steps=50),
            Dense(1),
        ]
    )
    ids, y = RNG.integers(0, 20, (16, 300)), RNG.normal(size=(16, 1))
    model.compile("adam", "mse")
    model.fit(ids, y, batch_size=4, epochs=1, verbose=0)
    assert model.layers[2].recomputed == "checkpoint"
    model.save(tmp_path / "model.safetensors")
    loaded = Sequential.load(tmp_path / "model.safetensors")
    assert loaded.layers[1].layer.recompute == "gates"
    assert loaded.layers[2].memory_limit == "64 kB"
    assert loaded.layers[2].chrono_steps == 50
    assert np.array_equal(model(ids), loaded(ids))


@modes
def test_continuous_batches_train_a_stateful_layer_to_the_same_bits(mode):
    ids = RNG.integers(0, 9, 4 * 400 + 1)
    weights = []
    for recompute in (None, mode):
        fastrnn.set_seed(5)
        layers = [
            Embedding(9, 6),
            GRU(12, return_sequences=True, stateful=True, recompute=recompute),
            Dense(9),
        ]
        model = Sequential(layers)
        model.compile("adam", SparseCategoricalCrossentropy(from_logits=True))
        model.fit(continuous_batches(ids, batch_size=4, steps=150), epochs=2, verbose=0)
        weights.append(b"".join(w.tobytes() for w in model.get_weights()))
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(recompute="all"), "recompute: expected one of"),
        (dict(memory_limit="much"), "memory_limit: expected bytes"),
        (dict(recompute="gates", memory_limit=9), "memory_limit: goes with"),
    ],
)
def test_wrong_arguments_are_named_when_the_layer_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        LSTM(4, **options)


# ---- chrono --------------------------------------------------------------------------------------


def test_chrono_spreads_the_lstms_time_constants_up_to_the_longest_dependency():
    layer = LSTM(10_000, chrono_steps=1000)
    bias = layer._initial_biases(np.random.default_rng(0))["bias_ih"].reshape(4, -1)
    i, f, g, o = bias
    assert not g.any()
    assert not o.any()
    assert np.array_equal(i, -f)
    durations = np.sort(np.exp(f))
    # uniform on 1 .. 999: Kolmogorov and Smirnov's distance, at 0.1% for 10,000 draws
    expected = 1 + 998 * (np.arange(10_000) + 0.5) / 10_000
    assert np.abs(durations - expected).max() < 998 * 1.95 / np.sqrt(10_000)


def test_chrono_of_a_gru_is_the_update_gates_bias():
    layer = GRU(50, chrono_steps=100)
    biases = layer._initial_biases(np.random.default_rng(0))
    r, z, n = biases["bias_ih"].reshape(3, -1)
    assert not r.any()
    assert not n.any()
    assert (z >= 0).all()
    assert (z <= np.log(99)).all()
    assert z.std() > 0.3
    assert not biases["bias_hh"].any()


def test_chrono_needs_biases_and_a_duration():
    with pytest.raises(ValueError, match="chrono_steps: needs use_bias=True"):
        LSTM(4, use_bias=False, chrono_steps=9)
    for cls in (LSTM, GRU):
        with pytest.raises(ValueError, match="chrono_steps: expected 3 or more, got 2"):
            cls(4, chrono_steps=2)
    with pytest.raises(ValueError, match="steps: expected 3 or more, got 1"):
        initializers.Chrono(1)
    assert initializers.get("bias_initializer", initializers.Chrono(9)).get_config() == {
        "steps": 9,
        "seed": None,
    }
