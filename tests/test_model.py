"""The model that layers make: input, weights, names, summary, frozen layers, one's own layers."""

import copy
import pickle

import numpy as np
import pytest

import fastrnn
from fastrnn import layers
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Dense,
    Embedding,
    Input,
    SimpleRNN,
)
from fastrnn.model import Sequential

RECURRENT = [RNN, SimpleRNN, LSTM, GRU]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def normal(*shape, dtype="float32"):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def small_model():
    model = Sequential([Embedding(10, 4), LSTM(3, return_sequences=True), LSTM(3), Dense(2)])
    model.build((None, None))
    return model


def test_an_input_in_the_first_place_builds_the_model_at_once():
    model = Sequential([Input((50,), dtype="int32"), Embedding(10, 4)])
    model.add(LSTM(3))
    model.add(Dense(2))
    assert [layer.name for layer in model.layers] == ["embedding", "lstm", "dense"]
    assert model.count_params() == 10 * 4 + 4 * 3 * (4 + 3 + 1) + 3 * 2 + 2
    lines = []
    model.summary(lines.append)
    assert any("(None, 50, 4)" in line for line in lines)
    assert model(np.zeros((2, 50), int)).shape == (2, 2)


def test_the_weights_are_the_same_with_an_input_and_without():
    layers = lambda: [GRU(3), Dense(2)]  # noqa: E731
    fastrnn.set_seed(1)
    with_input = Sequential([Input(batch_shape=(8, None, 5)), *layers()])
    fastrnn.set_seed(1)
    without = Sequential(layers())
    x = normal(2, 4, 5)
    assert with_input(x).tobytes() == without(x).tobytes()


def test_a_model_with_an_input_is_saved_and_loaded(tmp_path):
    model = Sequential([Input((None, 5)), GRU(3), Dense(2)])
    model.save(tmp_path / "model.safetensors")
    again = Sequential.load(tmp_path / "model.safetensors")
    x = normal(2, 4, 5)
    assert again(x).tobytes() == model(x).tobytes()


def test_a_layer_stands_in_a_model_once():
    dense = Dense(4)
    with pytest.raises(ValueError, match="layer: 'dense' is in the model already"):
        Sequential([dense, dense])
    with pytest.raises(ValueError, match="'time_distributed' is in the model already"):
        Sequential([dense, layers.TimeDistributed(dense)])


def test_a_layer_that_is_added_to_a_model_in_use_is_built_and_trained():
    model = small_model()
    model.add(Dense(1))
    assert model(np.zeros((2, 5), int)).shape == (2, 1)
    model.compile("adam", "mse")
    before = model.get_weights()[-2]
    model.fit(np.ones((4, 5), int), np.ones(4), verbose=0)
    assert np.any(model.get_weights()[-2] != before)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Sequential([Dense(2), Input((3,))]), ValueError, "first element"),
        (lambda: Sequential([Input((3,)), Input((3,))]), ValueError, "first element"),
        (lambda: Input(5), TypeError, r"shape: expected a tuple.*got 5"),
        (lambda: Input(()), ValueError, "at least one dimension"),
        (lambda: Input((0,)), ValueError, "shape: expected 1 or more"),
        (lambda: Input(), ValueError, "shape: expected it or batch_shape"),
        (lambda: Sequential([Input((5,)), LSTM(3)]), ValueError, "lstm.*3 dimensions"),
    ],
)
def test_an_input_that_cannot_be_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: LSTM(3, kernel_regularizer="l2"), ValueError, "kernel_regularizer.*weight_decay"),
        (lambda: Dense(3, bias_constraint="max_norm"), ValueError, "bias_constraint.*clipnorm"),
        (lambda: LSTM(3, input_shape=(4, 5)), ValueError, r"input_shape: put Input\(shape\)"),
        (lambda: GRU(3, cell="fast"), TypeError, "GRU: unexpected argument 'cell'"),
    ],
)
def test_arguments_that_only_keras_has_say_what_there_is_instead(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_kerass_arguments_that_make_no_difference_are_accepted():
    LSTM(3, unroll=True, use_cudnn="auto", kernel_regularizer=None, recurrent_constraint=None)
    Embedding(5, 3, input_length=7, embeddings_regularizer=None)


def test_equal_layers_are_numbered_and_equal_names_refused():
    assert [layer.name for layer in small_model().layers] == [
        "embedding",
        "lstm",
        "lstm_1",
        "dense",
    ]
    with pytest.raises(ValueError, match="'a'"):
        Sequential([Dense(2, name="a"), Dense(2, name="a")])


def test_a_layer_in_two_models_changes_nothing_in_the_first(tmp_path):
    shared = Dense(4)
    first = Sequential([shared, Dense(1)])
    first.compile("adam", "mse")
    x, y = normal(8, 5), normal(8, 1)
    first.fit(x, y, verbose=0)
    second = Sequential([Input((5,)), Dense(5), shared])
    third = Sequential([Input((5,)), Dense(5), *first.layers])
    assert list(first.parameters) == [
        "dense.weight",
        "dense.bias",
        "dense_1.weight",
        "dense_1.bias",
    ]
    assert first.count_params() == 5 * 4 + 4 + 4 + 1
    assert [layer.name for layer in first.layers] == ["dense", "dense_1"]
    assert list(second.named_layers()) == ["dense", "dense_1"]
    assert list(third.named_layers()) == ["dense", "dense_1", "dense_1_1"]
    assert set(first.optimizer.state_dict()) == state_names(first)
    before = first.get_weights()
    first.fit(x, y, verbose=0)
    assert set(first.optimizer.state_dict()) == state_names(first)
    assert all(np.any(old != new) for old, new in zip(before, first.get_weights(), strict=True))
    for model in (first, second, third):
        model.save(tmp_path / "model.safetensors")
        again = Sequential.load(tmp_path / "model.safetensors")
        assert again(x).tobytes() == model(x).tobytes()
        assert list(again.parameters) == list(model.parameters)


def state_names(model):
    slots = {f"{slot}/{name}" for slot in ("momentum", "velocity") for name in model.parameters}
    return {"iterations", "learning_rate", *slots}


def test_a_summary_has_every_layers_shape_and_parameters():
    lines = []
    model = small_model()
    model.layers[0].trainable = False
    model.summary(lines.append)
    assert lines[0] == 'Model: "sequential"'
    assert lines[2].split() == ["Layer", "(type)", "Output", "Shape", "Param", "#"]
    rows = lines[4:8]
    assert [row.split()[0] for row in rows] == ["embedding", "lstm", "lstm_1", "dense"]
    assert rows[1].split()[1:] == ["(LSTM)", "(None,", "None,", "3)", str(4 * 3 * (4 + 3 + 1))]
    assert model.count_params() == 40 + 96 + 84 + 8
    assert lines[-3:] == [
        "Total params: 228",
        "Trainable params: 188",
        "Non-trainable params: 40",
    ]
    assert len({len(row) for row in rows}) == 1


def test_a_summary_before_the_model_is_built_says_so():
    lines = []
    Sequential([Dense(2), Dense(1)]).summary(lines.append)
    assert [line.split() for line in lines[4:6]] == [
        ["dense", "(Dense)", "?", "0", "(unbuilt)"],
        ["dense_1", "(Dense)", "?", "0", "(unbuilt)"],
    ]
    assert lines[-3] == "Total params: 0"
    Sequential().summary(lines.append)


def test_weights_can_be_taken_and_put_back():
    model, other = small_model(), small_model()
    x = np.arange(6).reshape(2, 3)
    assert model.predict(x).tobytes() != other.predict(x).tobytes()
    other.set_weights(model.get_weights())
    assert model.predict(x).tobytes() == other.predict(x).tobytes()
    with pytest.raises(ValueError, match="expected 9 arrays, got 1"):
        model.set_weights([1])
    weights = model.get_weights()
    weights[-1] = np.zeros(3)
    with pytest.raises(ValueError, match=r"shape \(2,\) for dense.bias, got \(3,\)"):
        model.set_weights(weights)


def test_a_frozen_layer_stays_as_it_is():
    model = Sequential([Embedding(10, 4), LSTM(3, trainable=False), Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.arange(6).reshape(2, 3), np.array([0, 1])
    model.build((None, None))
    before = {name: p.copy() for name, p in model.parameters.items()}
    model.train_on_batch(x, y)
    changed = {name for name, p in model.parameters.items() if not np.array_equal(p, before[name])}
    assert changed == {"embedding.weight", "dense.weight", "dense.bias"}
    model.layers[0].trainable = model.layers[2].trainable = False
    assert model.train_on_batch(x, y) == model.train_on_batch(x, y)


def test_frozen_layers_before_the_first_trained_one_keep_nothing_of_a_pass():
    model = small_model()
    model.layers[0].trainable = model.layers[1].trainable = False
    model.compile("sgd", "mse")
    x = np.arange(6).reshape(2, 3)
    for trainable in (True, False):
        model.layers[2].trainable = model.layers[3].trainable = trainable
        model.train_on_batch(x, np.zeros((2, 2)))
        copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))  # not of what the core keeps
        assert copied.predict(x).tobytes() == model.predict(x).tobytes()


def test_a_layer_of_ones_own_is_a_small_class():
    class Square(layers.Layer):
        def forward(self, x, *, training=False):
            self._x = x
            return x * x

        def backward(self, dy, *, need_dx=True):
            return 2 * self._x * dy

    model = Sequential([Dense(3, dtype="float64"), Square(), Dense(1, dtype="float64")])
    x = normal(4, 2, dtype="float64")
    y = model(x, training=True)
    model.backward(np.ones_like(y))
    hidden = x @ model.layers[0].parameters["weight"].T
    dhidden = 2 * hidden * model.layers[2].parameters["weight"]
    assert np.allclose(model.gradients["dense.weight"], dhidden.T @ x)
