"""The end of a training, by itself or by Ctrl-C, and what is shown of it."""

import signal
import sys

import pytest

import fastrnn
from fastrnn.callbacks import Callback, LambdaCallback
from subprocesses import run_python
from toys import toy_model, toy_task


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


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
