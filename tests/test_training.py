"""The training loop: fit, evaluate, predict, one batch, Ctrl-C; and bad input at its doors."""

import signal
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, SGD, Adam, Dense, Dropout, Embedding, Sequential
from fastrnn.callbacks import Callback, LambdaCallback
from fastrnn.data import Batch, continuous_batches
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


def tagger(**options):
    """A model with an output for each step."""
    model = Sequential(
        [
            Embedding(10, 8),
            LSTM(8, return_sequences=True, **options),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile(Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def ragged(count=40, longest=9):
    rng = np.random.default_rng(1)
    return [rng.integers(1, 10, rng.integers(1, longest + 1)) for _ in range(count)]


# ---- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_a_model_learns_to_remember_the_first_id(cell):
    x, y = toy_task()
    model = toy_model(cell)
    history = model.fit(x, y, epochs=20, batch_size=32, validation_split=0.25, verbose=0)
    assert history is model.history
    assert history.epoch == list(range(20))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < 0.2 < history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.9
    assert ((model.predict(x)[:, 0] > 0.5) == y).mean() > 0.9
    assert (history.complete, history.interrupted, history.partial) == (True, False, False)


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


def test_a_frozen_layer_stays_as_it_was():
    x, y = toy_task(32)
    model = toy_model()
    model.build((None, None))
    model.layers[0].trainable = False
    before = {name: p.copy() for name, p in model.parameters.items()}
    model.fit(x, y, verbose=0)
    changed = {name for name, p in model.parameters.items() if not np.array_equal(p, before[name])}
    assert changed == {name for name in before if not name.startswith("embedding")}


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


def test_validation_data_may_have_weights():
    x, y = toy_task(40)
    weights = np.linspace(0, 1, 40)
    model = toy_model(optimizer=SGD(0.0))
    history = model.fit(x, y, validation_data=(x, y, weights), verbose=0).history
    expected = model.evaluate(x, y, sample_weight=weights, return_dict=True)
    assert history["val_loss"][0] == expected["loss"]
    assert expected["loss"] < model.evaluate(x, y, return_dict=True)["loss"]


def test_fit_takes_batches_and_says_when_a_generator_is_used_up():
    x, y = toy_task(20)
    model = toy_model()
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    history = model.fit(batches, epochs=2, validation_data=batches, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert model.evaluate(batches) == model.evaluate(x, y, batch_size=10)
    with pytest.raises(ValueError, match="no batches in epoch 2; a generator serves one pass"):
        model.fit((batch for batch in batches), epochs=2, verbose=0)
    # What was trained in the first epoch is not lost.
    assert model.history.epoch == [0]
    assert not model.history.complete


def test_steps_per_epoch_go_on_where_the_last_epoch_ended():
    x, y = toy_task(50)
    seen = []

    def batches():
        for start in range(0, 50, 10):
            seen.append(start)
            yield x[start : start + 10], y[start : start + 10]

    model = toy_model()
    history = model.fit(batches(), epochs=2, steps_per_epoch=2, verbose=0)
    assert history.epoch == [0, 1]
    assert seen == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="only 2 of 3 batches in epoch 2"):
        model.fit(batches(), epochs=2, steps_per_epoch=3, verbose=0)


def test_steps_of_arrays_begin_again_after_their_end():
    x, y = toy_task(30)
    model = toy_model()
    model.fit(x, y, batch_size=10, epochs=3, steps_per_epoch=5, verbose=0)
    assert model.optimizer.iterations == 15
    assert model.evaluate(x, y, batch_size=10, steps=2) == model.evaluate(x[:20], y[:20])


def test_fit_begins_at_the_initial_epoch():
    history = toy_model().fit(*toy_task(20), epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


# ---- weights -------------------------------------------------------------------------------------


def steps_with(**options):
    x, y = toy_task(32)
    fastrnn.set_seed(0)
    model = toy_model(optimizer=SGD(0.5))
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, **options)
    return [w.tobytes() for w in model.get_weights()]


def test_class_weights_are_sample_weights_by_class():
    _, y = toy_task(32)
    by_class = steps_with(class_weight={1: 3.0})
    assert by_class == steps_with(sample_weight=np.where(y == 1, 3.0, 1.0))
    assert by_class != steps_with()
    both = steps_with(class_weight={1: 3.0}, sample_weight=np.where(y == 1, 2.0, 1.0))
    assert both == steps_with(sample_weight=np.where(y == 1, 6.0, 1.0))


def test_class_weights_go_by_the_greatest_of_one_hot_targets_and_by_each_step():
    x = np.random.default_rng(0).integers(0, 10, (6, 4))
    labels = x % 3
    results = []
    for y, loss, weights in (
        (labels, "sparse_categorical_crossentropy", {"class_weight": {0: 2, 2: 0.5}}),
        (np.eye(3)[labels], "categorical_crossentropy", {"class_weight": {0: 2, 2: 0.5}}),
        (
            labels,
            "sparse_categorical_crossentropy",
            {"sample_weight": np.array([2, 1, 0.5])[labels]},
        ),
    ):
        fastrnn.set_seed(0)
        model = tagger()
        model.compile("sgd", loss)
        results.append(model.train_on_batch(x, y, **weights))
    assert results[0] == results[2]
    assert results[1] == pytest.approx(results[0], rel=1e-6)


def test_a_sample_of_weight_0_changes_nothing():
    x, y = toy_task(20)
    weights, runs = np.r_[np.ones(10), np.zeros(10)], []
    for rubbish in (x, (x + 3) % 10):
        fastrnn.set_seed(0)
        model = toy_model(optimizer="sgd")
        model.train_on_batch(np.r_[x[:10], rubbish[10:]], y, sample_weight=weights)
        runs.append([w.tobytes() for w in model.get_weights()])
    assert runs[0] == runs[1]


def test_metrics_ignore_sample_weights_and_weighted_metrics_do_not():
    x, y = toy_task(40)
    weights = np.where(y == 1, 1.0, 0.0)
    model = toy_model()
    model.compile("sgd", "binary_crossentropy", ["accuracy"], ["accuracy", "mae"])
    figures = model.evaluate(x, y, sample_weight=weights, return_dict=True)
    right = (model.predict(x)[:, 0] > 0.5) == y
    assert list(figures) == ["loss", "accuracy", "accuracy_1", "mae"]
    assert figures["accuracy"] == right.mean()
    assert figures["accuracy_1"] == pytest.approx(right[y == 1].mean())


# ---- evaluate and predict ------------------------------------------------------------------------


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


def test_predictions_do_not_depend_on_the_batches_bit_for_bit():
    x, _ = toy_task(50)
    model = toy_model()
    whole = model.predict(x, batch_size=50)
    assert model.predict(x, batch_size=7).tobytes() == whole.tobytes()
    assert model.predict(x[:7].tolist()).tobytes() == whole[:7].tobytes()
    assert model.predict(iter([x[:30], (x[30:],)])).tobytes() == whole.tobytes()
    assert model.predict(iter([x[:30], x[30:]]), steps=1).tobytes() == whole[:30].tobytes()
    assert model.predict_on_batch(x[:5]).tobytes() == whole[:5].tobytes()


def test_one_batch_is_trained_tested_and_predicted():
    x, y = toy_task(20)
    model = toy_model()
    tested = model.test_on_batch(x, y)
    assert tested == model.evaluate(x, y)
    assert model.train_on_batch(x, y, return_dict=True) == dict(
        zip(("loss", "accuracy"), tested, strict=True)
    )
    assert model.test_on_batch(x, y)[0] < tested[0]
    assert model.test_on_batch(Batch(x, y)) == model.test_on_batch(x, y)


# ---- sequences of different lengths --------------------------------------------------------------


def test_sequences_of_different_lengths_train_as_each_alone():
    x = ragged()
    y = np.array([row[0] % 2 for row in x])
    model = toy_model()
    p = model.predict(x, batch_size=8)
    assert p.shape == (40, 1)
    alone = np.concatenate([model.predict(row[None]) for row in x])
    assert p.tobytes() == alone.tobytes()
    losses = -np.log(np.where(y[:, None], p, 1 - p))
    assert model.evaluate(x, y, batch_size=8)[0] == pytest.approx(losses.mean(), rel=1e-5)
    history = model.fit(x, y, epochs=30, batch_size=8, validation_split=0.2, verbose=0).history
    assert history["loss"][-1] < 0.2 < history["loss"][0]


def test_a_target_for_each_step_of_sequences_counts_each_step_once():
    x = ragged()
    y = [row % 3 for row in x]
    model = tagger()
    outputs = model.predict(x, batch_size=8)
    assert [p.shape for p in outputs] == [(len(row), 3) for row in x]
    assert all(
        p.tobytes() == model.predict(row[None])[0].tobytes()
        for p, row in zip(outputs, x, strict=True)
    )
    chosen = np.concatenate([p[np.arange(len(t)), t] for p, t in zip(outputs, y, strict=True)])
    right = np.concatenate([p.argmax(-1) == t for p, t in zip(outputs, y, strict=True)])
    for size in (1, 8, 40):
        loss, accuracy = model.evaluate(x, y, batch_size=size)
        assert loss == pytest.approx(-np.log(chosen).mean(), rel=1e-5)
        assert accuracy == pytest.approx(right.mean())
    weights = [np.linspace(0, 1, len(row)) for row in x]
    weighted = model.evaluate(x, y, sample_weight=weights)[0]
    expected = -(np.concatenate(weights) * np.log(chosen)).mean()
    assert weighted == pytest.approx(expected, rel=1e-5)
    history = model.fit(x, y, epochs=30, batch_size=8, verbose=0).history
    assert history["accuracy"][-1] > 0.95


def test_a_padded_batch_with_its_mask_is_the_sequences():
    x = ragged(8)
    y = [row % 3 for row in x]
    steps = max(map(len, x))
    padded, targets = np.zeros((8, steps), int), np.full((8, steps), -1)
    for b, (row, target) in enumerate(zip(x, y, strict=True)):
        padded[b, : len(row)], targets[b, : len(row)] = row, target
    mask = np.arange(steps) < np.array([len(row) for row in x])[:, None]
    results = []
    for given in ((x, y), (Batch(padded, targets, mask=mask),)):
        fastrnn.set_seed(0)
        model = tagger()
        figures = model.train_on_batch(*given)
        results.append((figures, [w.tobytes() for w in model.get_weights()]))
    assert results[0] == results[1]


def test_features_may_be_ragged_too():
    x = [np.random.default_rng(len(row)).normal(size=(len(row), 3)) for row in ragged(20)]
    model = Sequential([GRU(5), Dense(2)])
    model.compile("adam", "mse")
    model.fit(x, np.zeros((20, 2)), epochs=2, verbose=0)
    assert model.predict(x).shape == (20, 2)


# ---- bad input at the doors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": np.zeros(3)}, "y: expected 20 rows"),
        ({"x": np.zeros((0, 8)), "y": np.zeros(0)}, "at least one row"),
        ({"x": [[1, 2], [3]], "y": [0, 1, 0]}, "y: expected 2 rows"),
        ({"x": [[1, 2], []], "y": [0, 1]}, r"x\[1\]: expected at least one step"),
        ({"x": [[1, 2], ["a"]], "y": [0, 1]}, r"x\[1\]: expected numbers"),
        ({"x": [[1, 2], [[3]]], "y": [0, 1]}, "x: expected steps of one shape"),
        ({"x": [[1, 2], [3]], "y": [[0, 1], [0, 1, 1]]}, r"y\[1\]: expected 1 steps, as x\[1\]"),
        ({"x": np.array([["a"]]), "y": [0]}, "x: expected numbers"),
        ({"x": np.full((20, 6), np.nan)}, "x: expected finite numbers, got nan in row 0"),
        ({"y": np.r_[np.zeros(19), np.nan]}, "y: expected targets in 0..1"),
        ({"y": np.full(20, 2)}, "y: expected targets in 0..1"),
        ({"x": np.full((20, 6), 10)}, r"ids: expected 0 \.\. 9, got 10"),
        ({"x": np.full((20, 6), -1)}, r"ids: expected 0 \.\. 9, got -1"),
        ({"sample_weight": np.ones(3)}, "sample_weight: expected 20 rows"),
        ({"sample_weight": np.full(20, np.nan)}, "sample_weight: expected finite"),
        ({"class_weight": [1, 2]}, "class_weight: expected a dict"),
        ({"class_weight": {0: "a"}}, "class_weight"),
        ({"y": None}, "batch: expected"),
        ({"x": 3, "y": None}, "x: expected batches"),
        ({"y": None, "sample_weight": np.ones(20)}, "sample_weight: goes with arrays"),
        ({"y": None, "validation_split": 0.5}, "validation_split: needs arrays"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"verbose": 3}, "verbose"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"validation_data": (np.zeros((3, 6)), np.zeros(2))}, "y: expected 3 rows"),
        ({"callbacks": [3]}, "callbacks"),
    ],
)
def test_wrong_arguments_of_fit_are_named_and_nothing_is_lost(arguments, words):
    x, y = toy_task(20)
    model = toy_model()
    model.fit(x, y, verbose=0)
    before = [w.tobytes() for w in model.get_weights()]
    with pytest.raises((IndexError, TypeError, ValueError), match=words):
        model.fit(**{"x": x, "y": y, "verbose": 0, **arguments})
    assert [w.tobytes() for w in model.get_weights()] == before
    model.fit(x, y, verbose=0)


def test_wrong_batches_are_named():
    x, y = toy_task(20)
    model = toy_model()
    for batch, words in (
        ((x, y[:3]), "y: expected 20 rows"),
        ((x, y, y, y), "got 4 values"),
        (x, "got ndarray"),
        ((np.full((20, 6), np.inf), y), "x: expected finite numbers"),
        ((x,), "y: expected targets"),
        (Batch(x, y, mask=np.ones((20, 6))), "mask: expected bool"),
        (Batch(x, y, mask=np.ones((20, 5), bool)), "mask: expected shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            model.fit([batch], verbose=0)
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        model.predict(np.full((3, 6), np.nan))
    with pytest.raises(ValueError, match="at least one batch"):
        model.predict(iter([]))
    with pytest.raises(ValueError, match="no batches"):
        model.evaluate([])


def test_labels_outside_the_classes_are_refused():
    model = tagger()
    x, _ = toy_task(4)
    for y in (np.full((4, 6), 3), np.full((4, 6), -1)):
        with pytest.raises(ValueError, match=r"y: expected labels in 0 \.\. 2"):
            model.fit(x, y, verbose=0)


def test_a_model_that_is_not_compiled_says_so():
    model = Sequential([Dense(1)])
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(RuntimeError, match="compile"):
        model.evaluate(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="loss"):
        model.compile("sgd")


# ---- the end of a training, and what is shown ----------------------------------------------------


def test_stop_training_ends_it_after_the_batch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    model = toy_model()
    history = model.fit(*toy_task(), epochs=3, callbacks=[Stop()], verbose=0)
    assert history.epoch == [0]
    assert not history.interrupted
    assert history.partial
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


def test_evaluate_and_predict_take_verbose_as_keras_does(capsys):
    x, y = toy_task()
    model = toy_model()
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.evaluate(x, y)  # no terminal: nothing
    assert capsys.readouterr() == ("", "")
    model.evaluate(x, y, 32, 1)
    model.predict(x, 32, 1)
    shown = capsys.readouterr()
    assert not shown.out
    assert "Evaluation: 100%" in shown.err
    assert "accuracy" in shown.err
    assert "Prediction: 100%" in shown.err
    model.evaluate(x, y, verbose=2)
    shown = capsys.readouterr()
    assert shown.out.startswith("Evaluation: loss ")
    assert not shown.err
    with pytest.raises(ValueError, match="verbose: expected 0, 1, 2 or 'auto', got 3"):
        model.predict(x, verbose=3)


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
    assert history.partial
    assert not history.complete
    assert model.optimizer.iterations == 11
    assert history.epoch == [0, 1]
    assert len(history.history["val_loss"]) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_fit_at_once():
    ended = []
    tell = LambdaCallback(on_train_end=lambda logs=None: ended.append(True))
    with pytest.raises(KeyboardInterrupt):
        toy_model().fit(*toy_task(), callbacks=[PressCtrlC(3, times=2), tell], verbose=0)
    assert ended
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
from fastrnn.callbacks import Callback

class PressLater(Callback):
    def on_train_begin(self, logs=None):
        signal.setitimer(signal.ITIMER_REAL, 0.3)

model = Sequential([LSTM(32), Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy")
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
x = np.random.default_rng(0).normal(size=(64, 50, 8))
history = model.fit(x, x[:, 0, 0] > 0, epochs=100000, callbacks=[PressLater()], verbose=0)
print("history kept", history.interrupted, len(history.epoch) > 0)
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "history kept True True"


# ---- sequences that go on from batch to batch ----------------------------------------------------


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


def test_a_row_is_reset_where_a_batch_says_so():
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 10, n) for n in (13, 4, 8, 9, 21)]
    model = Sequential(
        [
            Embedding(10, 4),
            GRU(6, return_sequences=True, stateful=True),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    loss = model.evaluate(continuous_batches(documents, batch_size=2, steps=5))
    of_steps = [
        -np.log(p[np.arange(len(d) - 1), d[1:]])
        for d in documents
        for p in [_alone(model, d[None, :-1])]
    ]
    assert loss == pytest.approx(np.concatenate(of_steps).mean(), rel=1e-5)


def _alone(model, ids):
    model.reset_states()
    output = model.predict(ids)[0]
    model.reset_states()
    return output
