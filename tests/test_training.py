"""Losses, optimisers and the training loop."""

import signal
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, SGD, Adam, Dense, Dropout, Embedding, Sequential
from fastrnn.callbacks import Callback
from fastrnn.data import ArrayBatches, continuous_batches
from fastrnn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy
from subprocesses import run_python


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def toy_task(rows=256, steps=6):
    """Ids, and whether the first of them is below 5: it has to be remembered."""
    x = np.random.default_rng(0).integers(0, 10, size=(rows, steps))
    return x, (x[:, 0] < 5).astype(int)


def toy_model(cell=LSTM, optimizer=None, **kwargs):
    model = Sequential([Embedding(10, 8), cell(16, **kwargs), Dense(1, activation="sigmoid")])
    model.compile(optimizer or Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    return model


# ---- losses --------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
LOSSES = {
    "sparse, logits": (
        SparseCategoricalCrossentropy(from_logits=True),
        RNG.integers(0, 4, size=(3, 5)),
        RNG.normal(size=(3, 5, 4)),
    ),
    "sparse": (
        SparseCategoricalCrossentropy(),
        RNG.integers(0, 4, size=6),
        RNG.dirichlet(np.ones(4), size=6),
    ),
    "binary, logits": (
        BinaryCrossentropy(from_logits=True),
        RNG.uniform(size=(6, 1)),
        RNG.normal(size=(6, 1)),
    ),
    "binary": (BinaryCrossentropy(), RNG.integers(0, 2, size=6), RNG.uniform(0.1, 0.9, (6, 1))),
}


def expected_loss(name, y, p):
    if "logits" in name:
        p = (
            np.exp(p) / np.exp(p).sum(-1, keepdims=True)
            if "sparse" in name
            else 1 / (1 + np.exp(-p))
        )
    if "sparse" in name:
        p = np.take_along_axis(p, y[..., None], -1)[..., 0] / p.sum(-1)
        return -np.log(p).mean()
    y = y.reshape(p.shape)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_equation_and_its_gradient_the_finite_difference(name):
    loss, y, predictions = LOSSES[name]
    value, gradient = loss.value_and_gradient(y, predictions)
    assert value == pytest.approx(expected_loss(name, y, predictions), rel=1e-12)
    assert loss(y, predictions) == value
    numeric = np.empty_like(predictions)
    for i in range(predictions.size):
        around = []
        for step in (1e-6, -1e-6):
            moved = predictions.copy()
            moved.flat[i] += step
            around.append(expected_loss(name, y, moved))
        numeric.flat[i] = (around[0] - around[1]) / 2e-6
    assert np.allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", [SparseCategoricalCrossentropy, BinaryCrossentropy])
def test_losses_of_extreme_predictions_are_finite(loss):
    y = np.array([0, 1])
    for from_logits, low, high in ((True, -1e4, 1e4), (False, 0.0, 1.0)):
        p = np.array([[low, high], [high, low]], "float32")
        value, gradient = loss(from_logits).value_and_gradient(
            y if loss is SparseCategoricalCrossentropy else np.array([[1, 0], [0, 1]]), p
        )
        assert np.isfinite(value)
        assert value > 10
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (SparseCategoricalCrossentropy(), [0, 4]),
        (SparseCategoricalCrossentropy(), [-1, 0]),
        (SparseCategoricalCrossentropy(), [0.5, 1]),
        (SparseCategoricalCrossentropy(), [0, 1, 2]),
        (SparseCategoricalCrossentropy(), ["a", "b"]),
        (BinaryCrossentropy(), np.full((2, 4), 1.5)),
        (BinaryCrossentropy(), np.full((2, 4), np.nan)),
        (BinaryCrossentropy(), np.zeros((2, 3))),
    ],
)
def test_wrong_targets_are_refused(loss, y):
    with pytest.raises((TypeError, ValueError), match=r"^(y|labels)\b"):
        loss(y, np.full((2, 4), 0.25))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_model_that_ends_in_the_losses_activation_trains_as_one_on_logits(activation):
    x, y = toy_task(32)
    weights = []
    for fused in (True, False):
        fastrnn.set_seed(0)
        kind = SparseCategoricalCrossentropy if activation == "softmax" else BinaryCrossentropy
        last = Dense(3 if activation == "softmax" else 1, activation=activation if fused else None)
        model = Sequential([Embedding(10, 8), GRU(4), last])
        model.compile(SGD(0.1), kind(from_logits=not fused), metrics=["accuracy"])
        figures = [model.train_on_batch(x, y) for _ in range(3)]
        weights.append((figures, [w.tobytes() for w in model.get_weights()]))
    assert weights[0] == weights[1]


# ---- optimisers ----------------------------------------------------------------------------------


def steps_of(optimizer, steps=3):
    """Parameters after a few steps, and the gradients that they were taken with."""
    rng = np.random.default_rng(0)
    parameters = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)}
    gradients = [{n: rng.normal(size=p.shape) for n, p in parameters.items()} for _ in range(steps)]
    start = {name: p.copy() for name, p in parameters.items()}
    for gradient in gradients:
        optimizer.apply(parameters, gradient)
    return start, gradients, parameters


def sgd_step(p, g, v, t, momentum, nesterov):
    v[...] = momentum * v - 0.1 * g
    return p + (momentum * v - 0.1 * g if nesterov else v)


def adam_step(p, g, moments, t):
    m, v = moments
    m[...] = 0.9 * m + 0.1 * g
    v[...] = 0.999 * v + 0.001 * g * g
    return p - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_kerass(momentum, nesterov):
    start, gradients, actual = steps_of(SGD(0.1, momentum, nesterov))
    for name, p in start.items():
        v = np.zeros_like(p)
        for t, gradient in enumerate(gradients, 1):
            p = sgd_step(p, gradient[name], v, t, momentum, nesterov)
        assert np.allclose(actual[name], p, rtol=1e-13, atol=1e-14)


def test_adam_is_its_paper():
    start, gradients, actual = steps_of(Adam(0.1))
    for name, p in start.items():
        moments = np.zeros((2, *p.shape))
        for t, gradient in enumerate(gradients, 1):
            p = adam_step(p, gradient[name], moments, t)
        assert np.allclose(actual[name], p, rtol=1e-12)


def test_gradients_longer_than_the_clip_are_scaled_down_to_it():
    start, gradients, actual = steps_of(SGD(1.0, global_clipnorm=0.5), steps=1)
    norm = np.sqrt(sum((g**2).sum() for g in gradients[0].values()))
    for name, p in actual.items():
        assert np.allclose(start[name] - p, gradients[0][name] * 0.5 / norm)
    start, gradients, actual = steps_of(SGD(1.0, clipnorm=0.5), steps=1)
    for name, p in actual.items():
        assert np.linalg.norm(start[name] - p) == pytest.approx(0.5)
    start, gradients, actual = steps_of(SGD(1.0, global_clipnorm=1e6), steps=1)
    assert np.allclose(start["a"] - actual["a"], gradients[0]["a"])


def test_the_norm_is_clipped_over_parameters_of_both_types():
    parameters = {"a": np.zeros(3, "float32"), "b": np.zeros(4, "float64")}
    gradients = {"a": np.full(3, 2, "float32"), "b": np.ones(4)}
    SGD(1.0, global_clipnorm=1.0).apply(parameters, gradients)
    assert np.allclose(parameters["a"], -2 / 4)
    assert np.allclose(parameters["b"], -1 / 4)


@pytest.mark.parametrize("make", [lambda: SGD(0.1, 0.9), lambda: Adam(0.1), lambda: SGD(0.1)])
def test_an_optimiser_goes_on_from_its_state_dict(make):
    optimizer = make()
    _, _, parameters = steps_of(optimizer)
    other = make()
    other.load_state_dict(optimizer.state_dict())
    copy = {name: p.copy() for name, p in parameters.items()}
    gradients = {name: np.ones_like(p) for name, p in parameters.items()}
    optimizer.apply(parameters, gradients)
    other.apply(copy, gradients)
    assert all(copy[name].tobytes() == p.tobytes() for name, p in parameters.items())
    assert other.iterations == 4
    with pytest.raises(ValueError, match="third"):
        other.load_state_dict({"iterations": np.array(1), "third/a": np.zeros(1)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Adam(-1), "learning_rate"),
        (lambda: Adam(float("nan")), "learning_rate"),
        (lambda: Adam(beta_1=1.0), "beta_1"),
        (lambda: SGD(momentum=1.5), "momentum"),
        (lambda: SGD(clipnorm=-1), "clipnorm"),
        (lambda: SGD(clipnorm=1, global_clipnorm=1), "got both"),
        (lambda: toy_model(optimizer="adagrad"), "optimizer"),
        (lambda: Sequential().compile("sgd", "hinge"), "loss"),
        (lambda: Sequential().compile("sgd", "binary_crossentropy", ["f1"]), "metrics"),
    ],
)
def test_a_wrong_setting_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_a_model_learns_to_remember_the_first_id(cell):
    x, y = toy_task()
    model = toy_model(cell)
    history = model.fit(x, y, epochs=20, batch_size=32, validation_split=0.25, verbose=0)
    assert history.epoch == list(range(20))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < 0.2 < history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.9
    assert ((model.predict(x)[:, 0] > 0.5) == y).mean() > 0.9


def test_two_runs_with_one_seed_are_equal_bit_for_bit():
    x, y = toy_task(64)
    runs = []
    for seed in (3, 3, 4):
        fastrnn.set_seed(seed)
        model = Sequential(
            [
                Embedding(10, 8),
                LSTM(8, num_layers=2, stack_dropout=0.2),
                Dropout(0.3),
                Dense(2, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, epochs=2, verbose=0).history
        runs.append((history, [w.tobytes() for w in model.get_weights()]))
    assert runs[0] == runs[1] != runs[2]


def test_evaluate_is_the_mean_over_all_rows_whatever_the_batches():
    x, y = toy_task(50)
    model = toy_model()
    whole = model.evaluate(x, y, batch_size=50, return_dict=True)
    parts = model.evaluate(x, y, batch_size=7, return_dict=True)
    assert parts == pytest.approx(whole, rel=1e-6)
    assert model.evaluate(x, y, batch_size=50) == [whole["loss"], whole["accuracy"]]
    p = model.predict(x, batch_size=7)[:, 0]
    assert whole["accuracy"] == ((p > 0.5) == y).mean()
    assert whole["loss"] == pytest.approx(-np.log(np.where(y, p, 1 - p)).mean(), rel=1e-5)


def test_validation_split_leaves_the_end_out_of_training():
    x, y = toy_task(40)
    seen = []
    model = toy_model()
    fit_on = model.layers[0].forward

    def forward(ids, *, training=False):
        if training:
            seen.extend(ids.tolist())
        return fit_on(ids, training=training)

    model.layers[0].forward = forward
    model.fit(x, y, validation_split=0.25, verbose=0)
    assert sorted(seen) == sorted(x[:30].tolist())
    assert seen != x[:30].tolist()


def test_fit_takes_batches_and_says_when_a_generator_is_used_up():
    x, y = toy_task(20)
    model = toy_model()
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    history = model.fit(batches, epochs=2, validation_data=batches, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert model.evaluate(batches) == model.evaluate(x, y, batch_size=10)
    with pytest.raises(ValueError, match="no batches in epoch 2"):
        model.fit((batch for batch in batches), epochs=2, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": np.zeros(3)}, "y: expected 20 rows"),
        ({"x": np.zeros((0, 8)), "y": np.zeros(0)}, "at least one row"),
        ({"x": [[1, 2], [3]], "y": [0, 1]}, "ragged"),
        ({"x": np.array([["a"]]), "y": [0]}, "x: expected numbers"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"verbose": 3}, "verbose"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"callbacks": [3]}, "callbacks"),
    ],
)
def test_wrong_arguments_of_fit_are_named(arguments, words):
    x, y = toy_task(20)
    with pytest.raises((TypeError, ValueError), match=words):
        toy_model().fit(**{"x": x, "y": y, "verbose": 0, **arguments})


def test_a_model_that_is_not_compiled_says_so():
    model = Sequential([Dense(1)])
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(RuntimeError, match="compile"):
        model.evaluate(np.zeros((2, 3)), np.zeros(2))


class Recorder(Callback):
    """The names of the hooks that were called."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            self.calls.append(name.removeprefix("on_"))
        return super().__getattribute__(name)


def test_callbacks_are_called_at_the_turning_points():
    x, y = toy_task(20)
    recorder = Recorder()
    toy_model().fit(
        x, y, batch_size=10, epochs=1, validation_data=(x, y), callbacks=[recorder], verbose=0
    )
    batch = ["train_batch_begin", "train_batch_end"]
    assert recorder.calls == [
        *("train_begin", "epoch_begin", *batch, *batch),
        *("test_begin", "test_end", "epoch_end", "train_end"),
    ]


def test_stop_training_ends_it_after_the_batch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    model = toy_model()
    history = model.fit(*toy_task(), epochs=3, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
    assert not history.interrupted
    assert model.optimizer.iterations == 2


def test_without_a_terminal_fit_prints_one_line_an_epoch(capsys):
    toy_model().fit(*toy_task(), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert "loss 0." in lines[0]
    assert "accuracy 0." in lines[0]


def test_a_progress_bar_shows_the_epochs_figures(capsys):
    toy_model().fit(*toy_task(), epochs=2, verbose=1)
    shown = capsys.readouterr()
    assert not shown.out
    assert "Epoch 2/2" in shown.err
    assert "8/8" in shown.err
    assert "accuracy" in shown.err


# ---- Ctrl-C --------------------------------------------------------------------------------------


class PressCtrlC(Callback):
    def __init__(self, batch, times=1):
        self.batch, self.times = batch, times

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations == self.batch:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_epoch_after_the_batch_and_keeps_the_history():
    x, y = toy_task()
    model = toy_model()
    history = model.fit(
        x, y, epochs=5, callbacks=[PressCtrlC(10)], validation_data=(x, y), verbose=0
    )
    assert history.interrupted
    assert model.optimizer.iterations == 11
    assert history.epoch == [0, 1]
    assert len(history.history["val_loss"]) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_fit_at_once():
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        toy_model().fit(*toy_task(), callbacks=[PressCtrlC(3, times=2), recorder], verbose=0)
    assert recorder.calls[-1] == "train_end"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_keyboard_interrupt_from_the_data_ends_the_epoch_too():
    x, y = toy_task(20)

    def batches():
        yield x, y
        raise KeyboardInterrupt

    history = toy_model().fit(batches(), epochs=3, verbose=0)
    assert history.interrupted
    assert history.epoch == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
def test_ctrl_c_from_outside_ends_training_cleanly():
    code = """
import signal
import numpy as np
from fastrnn import LSTM, Dense, Sequential
model = Sequential([LSTM(32), Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy")
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.3)
x = np.random.default_rng(0).normal(size=(64, 50, 8))
history = model.fit(x, x[:, 0, 0] > 0, epochs=100000, verbose=0)
print("history kept", history.interrupted, len(history.epoch) > 0)
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "history kept True True"


# ---- data ----------------------------------------------------------------------------------------


def test_array_batches_cover_every_row_once():
    x, y = np.arange(10), np.arange(10) * 2
    plain = list(ArrayBatches(x, y, 4))
    assert [len(batch) for batch, _ in plain] == [4, 4, 2]
    assert len(ArrayBatches(x, y, 4)) == 3
    assert np.concatenate([batch for batch, _ in plain]).tolist() == x.tolist()
    shuffled = ArrayBatches(x, y, 4, shuffle=True)
    orders = [np.concatenate([batch for batch, _ in shuffled]).tolist() for _ in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == x.tolist()
    assert orders[0] != orders[1]
    assert all(np.array_equal(b, 2 * a) for a, b in shuffled)


def test_continuous_batches_continue_each_other_row_by_row():
    batches = continuous_batches(np.arange(31), batch_size=3, steps=4)
    seen = list(batches)
    assert len(batches) == len(seen) == 3
    assert [x.shape for x, _ in seen] == [(3, 4), (3, 4), (3, 2)]
    rows = np.concatenate([x for x, _ in seen], axis=1)
    assert rows.tolist() == np.arange(30).reshape(3, 10).tolist()
    assert all(np.array_equal(y, x + 1) for x, y in seen)
    with pytest.raises(ValueError, match="at least 4"):
        continuous_batches([1, 2, 3], 3, 1)
    with pytest.raises(ValueError, match="one dimension"):
        continuous_batches([[1, 2, 3]], 1, 1)


def test_a_stateful_model_is_evaluated_as_on_one_sequence_and_its_training_state_kept():
    ids = np.random.default_rng(0).integers(0, 5, size=101)
    model = Sequential(
        [
            Embedding(5, 4),
            GRU(6, return_sequences=True, stateful=True),
            Dense(5, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    losses = [model.evaluate(continuous_batches(ids, 2, steps)) for steps in (7, 50)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    x, y = next(iter(continuous_batches(ids, 2, 10)))
    model.train_on_batch(x, y)
    before = model.get_states()
    model.evaluate(continuous_batches(ids, 4, 7))
    assert all(a is b for a, b in zip(before, model.get_states(), strict=True))


def test_fit_begins_each_epoch_of_a_stateful_model_with_zeros():
    ids = np.random.default_rng(0).integers(0, 5, size=41)
    model = Sequential(
        [
            Embedding(5, 4),
            LSTM(6, return_sequences=True, stateful=True),
            Dense(5, activation="softmax"),
        ]
    )
    # With a learning rate of 0 every epoch is the same.
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    losses = model.fit(continuous_batches(ids, 2, 10), epochs=3, verbose=0).history["loss"]
    assert losses[0] == losses[1] == losses[2]
    assert losses[0] == pytest.approx(model.evaluate(continuous_batches(ids, 2, 20)), rel=1e-6)
