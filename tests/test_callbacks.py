"""Callbacks: their hooks, and what each of the given ones does."""

import builtins
import csv
import math

import numpy as np
import pytest

import fastrnn
from fastrnn import SGD, Dense, Sequential
from fastrnn.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from fastrnn.optimizers.schedules import ExponentialDecay


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5]


def line(rate=0.1):
    model = Sequential([Dense(1)])
    model.compile(SGD(rate), "mse", metrics=["mae"])
    return model


def fit(model, *callbacks, epochs=1, **options):
    options = {"batch_size": 10, "verbose": 0, "callbacks": callbacks, **options}
    return model.fit(X, Y, epochs=epochs, **options)


class Pretend(Callback):
    """Puts made figures into the logs, before the callbacks that watch them."""

    def __init__(self, **figures):
        self.figures = figures

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.figures.items()})


class Recorder(Callback):
    """The names of the hooks that were called."""

    def __init__(self):
        self.calls = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            self.calls.append(name.removeprefix("on_"))
        return super().__getattribute__(name)


# ---- hooks ---------------------------------------------------------------------------------------


def test_callbacks_are_called_at_the_turning_points():
    recorder, model = Recorder(), line()
    fit(model, recorder, validation_data=(X[:5], Y[:5]))
    batch = ["train_batch_begin", "batch_begin", "train_batch_end", "batch_end"]
    assert recorder.calls == [
        *("train_begin", "epoch_begin", *batch, *batch),
        *("test_begin", "test_batch_begin", "test_batch_end", "test_end"),
        *("epoch_end", "train_end"),
    ]
    recorder.calls.clear()
    model.evaluate(X, Y, callbacks=[recorder])
    assert recorder.calls == ["test_begin", "test_batch_begin", "test_batch_end", "test_end"]
    recorder.calls.clear()
    model.predict(X, callbacks=[recorder])
    assert recorder.calls == [
        *("predict_begin", "predict_batch_begin", "predict_batch_end", "predict_end")
    ]


def test_a_callback_that_did_not_begin_is_not_told_of_the_end():
    stopping, model = EarlyStopping("loss", restore_best_weights=True), line()
    fit(model, stopping)
    model.set_weights([np.ones((1, 3)), np.ones(1)])
    begun, other = Recorder(), Recorder()
    with pytest.raises(ValueError, match="'val_loss'"):
        fit(model, begun, EarlyStopping("val_loss"), stopping, other)
    assert (begun.calls, other.calls) == (["train_begin", "train_end"], [])
    assert all(np.all(weight == 1) for weight in model.get_weights())


def test_a_callback_from_functions_is_called_with_the_hooks_arguments():
    seen = []
    tell = LambdaCallback(
        on_epoch_begin=lambda epoch, logs=None: seen.append(epoch),
        on_batch_end=lambda batch, logs: seen.append((batch, list(logs))),
    )
    fit(line(), tell)
    assert seen == [0, (0, ["loss", "mae"]), (1, ["loss", "mae"])]
    with pytest.raises(TypeError, match="on_lunch: expected one of the hooks on_train_begin"):
        LambdaCallback(on_lunch=print)


def test_the_logs_of_a_batch_are_the_figures_so_far():
    seen, model = [], line(rate=0.0)

    class Look(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs)

        on_test_batch_end = on_train_batch_end

    fit(model, Look(), shuffle=False, batch_size=8, validation_data=(X[:3], Y[:3]))
    rows = [X[:8], X[:16], X, X[:3]]
    expected = [model.evaluate(x, Y[: len(x)], batch_size=8, return_dict=True) for x in rows]
    assert seen == expected


def test_an_evaluation_within_an_epoch_leaves_the_epochs_figures_alone():
    figures, others = [], []
    for evaluates in (False, True):
        fastrnn.set_seed(0)
        model = Sequential([Dense(1, activation="sigmoid")])
        model.compile(SGD(0.1), "binary_crossentropy", ["mae", fastrnn.metrics.AUC()])

        def evaluate(batch, logs, model=model, evaluates=evaluates):
            if evaluates:
                model.test_on_batch(X[:3], Y[:3] > 0)
                others.append(model.evaluate(X[:7], Y[:7] > 0, return_dict=True))

        callback = LambdaCallback(on_train_batch_end=evaluate)
        options = {"batch_size": 5, "callbacks": callback, "verbose": 0, "epochs": 2}
        figures.append(model.fit(X, Y > 0, **options).history)
    assert figures[0] == figures[1]
    # Outside of an epoch the metrics can be looked at afterwards.
    assert others[-1] == model.evaluate(X[:7], Y[:7] > 0, return_dict=True)
    assert [metric.result() for metric in model.metrics] == list(others[-1].values())[1:]


def test_hooks_may_be_written_without_defaults_as_keras_calls_them():
    """Keras hands every hook its logs, empty ones too."""
    seen = []

    class Own(Callback):
        def on_train_begin(self, logs):
            seen.append(logs)

        def on_epoch_begin(self, epoch, logs):
            seen.append(logs)

        def on_train_batch_begin(self, batch, logs):
            seen.append(logs)

        def on_test_begin(self, logs):
            seen.append(logs)

        def on_predict_batch_end(self, batch, logs):
            seen.append(logs)

        def on_train_end(self, logs):
            seen.append(logs)

    model = line()
    fit(model, Own(), validation_data=(X, Y))
    model.predict(X, callbacks=[Own()])
    assert seen == [{}] * 7


def test_what_a_callback_adds_to_the_logs_stands_in_the_history():
    history = fit(line(), Pretend(weather=[1.0, 2.0]), epochs=2)
    assert history.history["weather"] == [1.0, 2.0]


# ---- early stopping ------------------------------------------------------------------------------


def test_early_stopping_waits_and_puts_the_best_parameters_back(capsys):
    weights, model = [], line()
    keep = LambdaCallback(on_epoch_end=lambda *_: weights.append(model.get_weights()[0]))
    stop = EarlyStopping("val_loss", patience=2, restore_best_weights=True, verbose=1)
    losses = [5.0, 3.0, 4.0, 3.5, 1.0]
    history = fit(model, Pretend(val_loss=losses), keep, stop, epochs=5)
    assert history.epoch == [0, 1, 2, 3]
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (3.0, 1, 3)
    assert np.array_equal(model.get_weights()[0], weights[1])
    assert history.complete
    assert "Epoch 4: early stopping" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "figures", "epochs"),
    [
        ({"monitor": "loss"}, {"loss": [3, 2, 2.5, 1]}, 3),
        ({"monitor": "val_mae"}, {"val_mae": [3, 2, 2.5, 1]}, 3),
        ({"monitor": "up", "mode": "max"}, {"up": [1, 2, 1.5, 3]}, 3),
        ({"monitor": "loss", "min_delta": 0.5}, {"loss": [3, 2.8, 2.2, 1]}, 2),
        ({"monitor": "loss", "patience": 2}, {"loss": [3, 4, 5, 1]}, 3),
        ({"monitor": "loss", "baseline": 2.0, "patience": 2}, {"loss": [3, 4, 5, 1]}, 2),
        ({"monitor": "loss", "start_from_epoch": 2}, {"loss": [1, 2, 3, 4]}, 4),
    ],
)
def test_early_stopping_stops_after_as_many_epochs_as_keras(options, figures, epochs):
    history = fit(line(), Pretend(**figures), EarlyStopping(**options), epochs=4)
    assert len(history.epoch) == epochs


@pytest.mark.parametrize("callback", [EarlyStopping, ReduceLROnPlateau])
def test_a_figure_that_is_not_there_is_named(callback):
    with pytest.raises(ValueError, match=r"watches 'val_loss', but there are only \['loss'"):
        fit(line(), callback())


def test_whether_more_is_better_must_be_known():
    with pytest.raises(ValueError, match="mode: whether more of 'up' is better is not known"):
        fit(line(), Pretend(up=[1, 2]), EarlyStopping("up"), epochs=2)
    with pytest.raises(ValueError, match="mode: expected"):
        EarlyStopping(mode="best")


def test_a_loss_of_nan_ends_the_training(capsys):
    model = line(rate=1e200)
    with np.errstate(all="ignore"):
        history = fit(model, TerminateOnNaN(), epochs=50)
    assert len(history.epoch) < 50
    assert not math.isfinite(history.history["loss"][-1])
    assert "training ends" in capsys.readouterr().out


def test_a_model_that_diverges_is_stopped_whatever_it_measures():
    model = Sequential([Dense(1, activation="sigmoid")])
    model.compile("sgd", "mse", metrics=["auc", "precision", "recall", "accuracy"])
    model.build((None, 3))
    model.set_weights([np.full((1, 3), np.nan), np.zeros(1)])
    history = model.fit(X, Y > 0, epochs=5, verbose=0, callbacks=[TerminateOnNaN()])
    assert history.epoch == [0]
    assert math.isnan(history.history["auc"][0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(patience="2"), "patience: expected an int, got '2'"),
        (lambda: EarlyStopping(patience=-1), "patience: expected 0 or more, got -1"),
        (lambda: EarlyStopping(baseline="a"), "baseline: expected a number, got 'a'"),
        (lambda: EarlyStopping(start_from_epoch=-1), "start_from_epoch: expected 0 or more"),
        (lambda: EarlyStopping(3), "monitor: expected a figure's name, got 3"),
        (lambda: ReduceLROnPlateau(patience=0.5), "patience: expected an int, got 0.5"),
        (lambda: ReduceLROnPlateau(cooldown="a"), "cooldown: expected an int, got 'a'"),
        (lambda: LearningRateScheduler(3), "schedule: expected a function of the epoch, got 3"),
        (lambda: LambdaCallback(on_epoch_end=3), "on_epoch_end: expected a function, got 3"),
        (lambda: ModelCheckpoint("m", initial_value_threshold="a"), "initial_value_threshold: exp"),
    ],
)
def test_a_callbacks_wrong_arguments_are_named_when_it_is_made(make, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: EarlyStopping(), "monitor: EarlyStopping watches 'val_loss'"),
        (lambda path: ReduceLROnPlateau("val_loss"), "monitor: ReduceLROnPlateau watches 'val_l"),
        (lambda path: ModelCheckpoint(path, "val_lss", save_best_only=True), "monitor: .*val_lss"),
        (lambda path: ModelCheckpoint(path / "{val_loss}"), "filepath: .* asks for 'val_loss'"),
        (lambda path: EarlyStopping("learning_rate"), "monitor: .*'learning_rate'"),
    ],
)
def test_a_figure_that_will_not_be_there_is_named_before_the_first_epoch(make, words, tmp_path):
    model = line()
    with pytest.raises(ValueError, match=words):
        fit(model, make(tmp_path))
    assert model.optimizer.iterations == 0


def test_a_figure_that_other_callbacks_add_may_be_watched(tmp_path):
    rate = LearningRateScheduler(lambda epoch, rate: rate)
    fit(line(), rate, EarlyStopping("learning_rate"), ModelCheckpoint(tmp_path / "m"), epochs=2)
    fit(line(), Pretend(up=[1, 2]), EarlyStopping("up", mode="max"), epochs=2)
    adds = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(up=1))
    fit(line(), adds, EarlyStopping("up", mode="max"), epochs=2)


@pytest.mark.parametrize("callback", [ModelCheckpoint, BackupAndRestore])
def test_a_layer_that_cannot_be_saved_is_an_error_before_the_first_epoch(callback, tmp_path):
    model = Sequential([Dense(1, kernel_initializer=lambda shape, rng: np.ones(shape))])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="layer 'dense' cannot be saved: kernel_initializer: a f"):
        fit(model, callback(tmp_path / "m"))
    assert model.optimizer.iterations == 0


# ---- a validation after some epochs --------------------------------------------------------------


@pytest.mark.parametrize(("freq", "epochs"), [(2, [1, 3]), ([1, 4], [0, 3]), (9, [])])
def test_a_validation_may_be_made_after_some_epochs(freq, epochs, tmp_path):
    tests, epoch = [], []
    note = LambdaCallback(
        on_epoch_begin=lambda number, logs: epoch.append(number),
        on_test_begin=lambda logs: tests.append(epoch[-1]),
    )
    stop = EarlyStopping(patience=5)
    best = ModelCheckpoint(tmp_path / "best{epoch}", save_best_only=True)
    every = ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.0f}")
    table = CSVLogger(tmp_path / "log.csv")
    callbacks = [note, stop, best, every, table, ReduceLROnPlateau()]
    options = dict(validation_data=(X, Y), validation_freq=freq, epochs=4)
    history = fit(line(), *callbacks, **options)
    assert tests == epochs
    assert len(history.history.get("val_loss", [])) == len(epochs)
    assert len(list(tmp_path.glob("best*"))) == len(epochs)
    assert len(list(tmp_path.glob("?-nan"))) == 4 - len(epochs)
    with open(tmp_path / "log.csv", newline="") as file:
        found = [row["val_loss"] != "NA" for row in csv.DictReader(file)]
    assert found == [number in epochs for number in range(4)]
    assert len(fit(line(), **options).history["loss"]) == 4


def test_a_wrong_frequency_of_validation_is_named():
    for freq, words in ((0, "1 or more"), ("a", "an int, got 'a'"), ([0], "1 or more")):
        with pytest.raises((TypeError, ValueError), match=f"^validation_freq: expected {words}"):
            fit(line(), validation_data=(X, Y), validation_freq=freq)


# ---- learning rates ------------------------------------------------------------------------------


def test_the_learning_rate_is_set_before_each_epoch():
    rates, model = [], line()
    note = LambdaCallback(on_batch_end=lambda *_: rates.append(model.optimizer.learning_rate))
    schedule = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    history = fit(model, schedule, note, epochs=3)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    assert history.history["learning_rate"] == [0.1, 0.05, 0.025]
    history = fit(line(), LearningRateScheduler(lambda epoch: 0.01 * (epoch + 1)), epochs=2)
    assert history.history["learning_rate"] == [0.01, 0.02]
    history = fit(line(), LearningRateScheduler(ExponentialDecay(0.5, 1, 0.1)), epochs=2)
    assert history.history["learning_rate"] == pytest.approx([0.5, 0.05])
    with pytest.raises(TypeError, match="the rate that schedule returned"):
        fit(line(), LearningRateScheduler(lambda epoch, rate: "slow"))
    model = line(ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="follows a schedule"):
        fit(model, LearningRateScheduler(lambda epoch, rate: 0.1))


def test_the_learning_rate_falls_on_a_plateau_and_rests_for_the_cooldown(capsys):
    losses = [3, 3, 3, 3, 3, 3, 2, 2, 2]
    reduce = ReduceLROnPlateau("loss", factor=0.1, patience=2, cooldown=1, min_lr=0.005, verbose=1)
    model = line()
    history = fit(model, Pretend(loss=losses), reduce, epochs=9)
    rates = history.history["learning_rate"]
    # Two epochs are waited for after the first, which is the best; the one of rest counts again at
    # its end, as in Keras.
    assert rates == pytest.approx([0.1] * 3 + [0.01] * 2 + [0.005] * 4)
    assert model.optimizer.learning_rate == 0.005
    assert "from 0.1 to 0.01" in capsys.readouterr().out
    model = line(ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(TypeError, match="follows a schedule"):
        fit(model, reduce)
    assert not model.optimizer.iterations


# ---- files ---------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_each_epoch_or_only_when_better(tmp_path):
    model = line()
    every = ModelCheckpoint(tmp_path / "a" / "{epoch:02d}-{loss:.0f}.safetensors")
    best = ModelCheckpoint(tmp_path / "best", "loss", save_best_only=True, save_weights_only=True)
    losses = [5.0, 3.0, 4.0]
    weights = []
    keep = LambdaCallback(on_epoch_end=lambda *_: weights.append(model.get_weights()[0]))
    fit(model, Pretend(loss=losses), keep, every, best, epochs=3)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["01-5.safetensors", "02-3.safetensors", "03-4.safetensors"]
    loaded = Sequential.load(tmp_path / "best")
    assert np.array_equal(loaded.get_weights()[0], weights[1])
    assert loaded.optimizer is None
    whole = Sequential.load(tmp_path / "a" / "03-4.safetensors")
    assert whole.optimizer.iterations == 6
    assert whole.evaluate(X, Y) == model.evaluate(X, Y)


def test_a_checkpoint_can_be_written_after_some_batches(tmp_path):
    fit(line(), ModelCheckpoint(tmp_path / "{epoch}-{loss:.3f}", save_freq=3), epochs=3)
    assert sorted(p.name[0] for p in tmp_path.iterdir()) == ["2", "3"]


def test_a_checkpoint_that_cannot_be_written_is_an_error_before_the_first_epoch(tmp_path):
    model = line()
    model.compile("sgd", lambda y, p: ((p[:, 0] - y) ** 2, 2 * (p - y[:, None])))
    with pytest.raises(ValueError, match="a function cannot be saved"):
        fit(model, ModelCheckpoint(tmp_path / "m"))
    assert model.optimizer.iterations == 0
    fit(model, ModelCheckpoint(tmp_path / "m", save_weights_only=True))
    assert (tmp_path / "m").exists()
    with pytest.raises(ValueError, match=r"asks for 'val_loss', but there are only epoch and"):
        fit(line(), ModelCheckpoint(tmp_path / "{val_loss}"))


def test_the_csv_file_has_a_line_for_each_epoch_at_once(tmp_path):
    path = tmp_path / "log.csv"
    lines = []
    read = LambdaCallback(on_epoch_end=lambda *_: lines.append(path.read_text().count("\n")))
    history = fit(line(), CSVLogger(path), read, epochs=3)
    assert lines == [2, 3, 4]
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]
    fit(line(), CSVLogger(path, append=True), epochs=2)
    assert path.read_text().count("loss") == 1
    assert path.read_text().count("\n") == 6
    fit(line(), CSVLogger(path, separator=";"))
    assert path.read_text().startswith("epoch;loss;mae")


class FakeWriter:
    """What the callback uses of tensorboardX.SummaryWriter."""

    made = {}  # noqa: RUF012

    def __init__(self, folder):
        self.scalars, self.closed = [], False
        FakeWriter.made[folder.rsplit("/", 1)[1]] = self

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


def test_tensorboard_gets_the_figures_side_by_side(tmp_path, monkeypatch):
    import sys
    import types

    package = types.SimpleNamespace(SummaryWriter=FakeWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", package)
    fit(line(), TensorBoard(tmp_path, update_freq=2), epochs=2, validation_data=(X, Y))
    train, validation = FakeWriter.made["train"], FakeWriter.made["validation"]
    assert train.scalars == [
        *(("batch_loss", 2), ("batch_mae", 2), ("epoch_loss", 0), ("epoch_mae", 0)),
        *(("batch_loss", 4), ("batch_mae", 4), ("epoch_loss", 1), ("epoch_mae", 1)),
    ]
    assert validation.scalars == [
        *(("epoch_loss", 0), ("epoch_mae", 0), ("epoch_loss", 1), ("epoch_mae", 1))
    ]
    assert train.closed
    assert validation.closed


def test_tensorboard_writes_files_with_the_real_package(tmp_path):
    pytest.importorskip("tensorboardX")
    fit(line(), TensorBoard(tmp_path), epochs=2)
    assert list((tmp_path / "train").glob("events*"))


@pytest.mark.parametrize(
    ("extra", "use"),
    [
        ("tensorboard", lambda: fit(line(), TensorBoard("unused"))),
        ("plot", lambda: fit(line()).plot()),
    ],
)
def test_a_missing_package_names_its_pip_line(extra, use, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] in ("tensorboardX", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return real(name, *arguments, **options)

    monkeypatch.setattr("importlib.import_module", lambda name: without(name))
    with pytest.raises(ImportError, match=rf"pip install 'fastrnn\[{extra}\]'"):
        use()


# ---- the history ---------------------------------------------------------------------------------


def test_the_history_plots_training_and_validation(tmp_path):
    pytest.importorskip("matplotlib")
    history = fit(line(), epochs=3, validation_split=0.5)
    figure = history.plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "mae"]
    curves = figure.axes[0].get_lines()
    assert [curve.get_label() for curve in curves] == ["training", "validation"]
    assert curves[1].get_ydata().tolist() == history.history["val_loss"]
    figure.savefig(tmp_path / "curve.png")
    some = fit(line(), epochs=5, validation_split=0.5, validation_freq=2).plot()
    assert some.axes[0].get_lines()[1].get_xdata().tolist() == [2, 4]
    assert math.isclose(curves[0].get_xdata()[0], 1)
    with pytest.raises(ValueError, match="at least one epoch"):
        fastrnn.callbacks.History().plot()
