"""A training that was stopped and gone on with gives the bits of one that never was."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, SGD, Adam, Dense, Dropout, Embedding, Sequential, io
from fastrnn.callbacks import (
    BackupAndRestore,
    Callback,
    EarlyStopping,
    LambdaCallback,
    ReduceLROnPlateau,
)
from fastrnn.losses import MeanAbsoluteError, MeanSquaredError
from subprocesses import output_of

RNG = np.random.default_rng(0)
X = RNG.integers(1, 10, (48, 6))
Y = (X[:, 0] < 5).astype(int)
RAGGED = [RNG.integers(1, 10, RNG.integers(1, 9)) for _ in range(48)]


class Stop(Exception):
    pass


class StopAfter(Callback):
    """Raises, sends Ctrl-C or stops the training in the middle of an epoch."""

    def __init__(self, steps, how):
        self.steps, self.how = steps, how

    def on_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.steps:
            if self.how == "error":
                raise Stop
            if self.how == "ctrl-c":
                signal.raise_signal(signal.SIGINT)
            self.model.stop_training = self.how == "stop_training"


def model_and_callbacks(x, optimizer=None):
    model = Sequential(
        [
            Embedding(10, 8),
            LSTM(8, return_sequences=True, dropout=0.1),
            Dropout(0.3, seed=5),
            GRU(6),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer or Adam(0.05, clipnorm=1.0), "binary_crossentropy", ["accuracy"])
    callbacks = [
        ReduceLROnPlateau("loss", patience=1, min_delta=0.02, factor=0.5),
        EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ]
    return model, callbacks


def train(x, path=None, *, epochs=6, extra=(), seed=1, optimizer=None, **options):
    fastrnn.set_seed(seed)
    model, callbacks = model_and_callbacks(x, optimizer)
    if path is not None:
        callbacks.append(BackupAndRestore(path, **options))
    history = model.fit(
        x, Y, batch_size=8, epochs=epochs, validation_split=0.25,
        callbacks=[*callbacks, *extra], verbose=0,
    )  # fmt: skip
    return model, history, [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize("x", [X, RAGGED], ids=["array", "ragged"])
@pytest.mark.parametrize("how", ["error", "ctrl-c", "stop_training"])
def test_a_training_stopped_within_an_epoch_goes_on_with_the_same_bits(x, how, tmp_path):
    _, whole, expected = train(x)
    path = tmp_path / "checkpoint"
    stop = StopAfter(12, how)  # within epoch 3 of 5 steps each
    if how == "error":
        with pytest.raises(Stop):
            train(x, path, extra=[stop])
    else:
        _, history, _ = train(x, path, extra=[stop])
        assert history.partial
    assert path.exists() == (how != "stop_training")
    if how == "stop_training":  # That is an end as any other.
        return
    # Another process has another seed, and random numbers drawn before.
    model, history, actual = train(x, path, seed=99)
    assert actual == expected
    assert history.history == whole.history
    assert history.epoch == whole.epoch
    assert model.optimizer.iterations == 5 * len(whole.epoch)
    assert not path.exists()


def test_every_split_of_the_epochs_gives_the_same_bits(tmp_path):
    _, whole, expected = train(X)
    for split in range(1, 6):
        path = tmp_path / str(split)
        train(X, path, epochs=split, delete_checkpoint=False)
        _, history, actual = train(X, path, seed=99)
        assert actual == expected
        assert history.history == whole.history


class Counts(Callback):
    """Remembers something from the first batch on, as a kind of number."""

    def __init__(self, kind):
        self.kind, self.seen = kind, {}

    def on_batch_end(self, batch, logs=None):
        self.seen["batches"] = self.kind(self.seen.get("batches", 0) + 1)

    def get_state(self):
        return self.seen

    def set_state(self, state):
        self.seen = dict(state)


def test_a_callback_may_have_nothing_to_remember_at_first(tmp_path):
    path, counts = tmp_path / "checkpoint", Counts(int)
    train(X, path, epochs=2, extra=[Counts(int)], delete_checkpoint=False)
    _, history, _ = train(X, path, epochs=3, extra=[counts])
    assert history.epoch == [0, 1, 2]
    assert counts.seen == {"batches": 3 * 5}  # 36 rows


def test_a_state_that_json_cannot_hold_is_named(tmp_path):
    words = r"Counts.get_state: expected what JSON can hold, or arrays, got .*5.* for 'batches'"
    with pytest.raises(TypeError, match=words):
        train(X, tmp_path / "checkpoint", extra=[Counts(np.int64)])


def test_a_training_that_came_to_its_end_is_not_gone_on_with(tmp_path):
    path = tmp_path / "checkpoint"
    stop = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True))
    fastrnn.set_seed(1)
    model, callbacks = model_and_callbacks(X)
    arguments = {"batch_size": 8, "epochs": 6, "validation_split": 0.25, "verbose": 0}
    backup = BackupAndRestore(path, delete_checkpoint=False)
    model.fit(X, Y, callbacks=[*callbacks, stop, backup], **arguments)
    weights = [w.tobytes() for w in model.get_weights()]
    history = model.fit(X, Y, callbacks=[*callbacks, stop, backup], **arguments)
    assert history.epoch == [0]
    assert [w.tobytes() for w in model.get_weights()] == weights


def test_the_checkpoint_is_a_model_file_too(tmp_path):
    path = tmp_path / "checkpoint"
    train(X, path, epochs=2, delete_checkpoint=False)
    loaded = Sequential.load(path)
    assert loaded.optimizer.iterations == 10
    assert loaded.loss is not None
    assert loaded.predict(X).shape == (48, 1)


def test_a_loss_that_is_a_function_can_be_gone_on_with(tmp_path):
    def squared(y, p):
        return (p[:, 0] - y) ** 2, 2 * (p - np.asarray(y)[:, None])

    results = []
    for parts in ([4], [2, 4]):
        for epochs in parts:
            fastrnn.set_seed(7)
            model = Sequential([Dense(1)])
            model.compile(SGD(0.01, 0.9), squared)
            backup = BackupAndRestore(tmp_path / "c", delete_checkpoint=epochs == 4)
            model.fit(X, Y, epochs=epochs, callbacks=[backup], verbose=0)
        results.append([w.tobytes() for w in model.get_weights()])
    assert results[0] == results[1]


# ---- kill -9 -------------------------------------------------------------------------------------

PROGRAM = textwrap.dedent("""
    import hashlib, sys, time
    import numpy as np
    import fastrnn
    from fastrnn import LSTM, Dense, Dropout, Embedding, Sequential
    from fastrnn.callbacks import BackupAndRestore, LambdaCallback

    path, pause = sys.argv[1], float(sys.argv[2])
    fastrnn.set_seed(3)
    x = np.random.default_rng(0).integers(1, 10, (64, 6))
    model = Sequential([Embedding(10, 8), LSTM(8), Dropout(0.3), Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    slow = LambdaCallback(on_batch_end=lambda *_: time.sleep(pause))
    tell = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, flush=True))
    backup = BackupAndRestore(path, delete_checkpoint=False)
    history = model.fit(
        x, x[:, 0] < 5, batch_size=8, epochs=6, callbacks=[backup, slow, tell], verbose=0
    )
    digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights()))
    print(digest.hexdigest(), history.history["loss"])
""")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_process_is_gone_on_with_by_the_next_one(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = [sys.executable, str(program)]

    def result_of(path):
        shown = subprocess.run([*run, path, "0"], capture_output=True, text=True, check=True)
        return shown.stdout.splitlines()

    expected = result_of(tmp_path / "whole")
    checkpoint = tmp_path / "killed"
    for epoch in ("0", "2"):
        pipes = {"stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([*run, checkpoint, "0.05"], **pipes) as process:
            try:
                while process.stdout.readline().strip() != epoch:
                    assert process.poll() is None
                time.sleep(0.15)  # some batches of the next epoch
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        # What a process killed while it writes leaves behind does no harm.
        (tmp_path / f".killed.{process.pid}.tmp").write_bytes(b"half")
    shown = result_of(checkpoint)
    assert shown[-1] == expected[-1]
    assert "0" not in shown[:-1]


# ---- files that do not fit -----------------------------------------------------------------------


def test_a_broken_or_foreign_checkpoint_is_an_error_and_stays(tmp_path):
    path = tmp_path / "checkpoint"
    train(X, path, epochs=2, delete_checkpoint=False)
    good = path.read_bytes()
    model, _, _ = train(X)
    arrays, metadata = io.load_arrays(path)
    progress = metadata.pop("progress")

    def refused(words):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=words):
            train(X, path)
        assert path.read_bytes() == before

    for keep in (0, 100, -1):
        path.write_bytes(good[:keep])
        refused("not a whole safetensors file")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        model.fit(X, Y, callbacks=[BackupAndRestore(path)], verbose=1)  # with a bar to close
    path.write_bytes(b"something else")
    refused("not a whole safetensors file")
    io.save_arrays(path, {"x": np.ones(2)})
    refused("not a model")
    model.save(path)
    refused("a model without the state of its training")
    io.save_arrays(path, arrays, {**metadata, "progress": progress[:-1]})
    refused("the training in it cannot be used")
    missing = {name: array for name, array in arrays.items() if "velocity/dense" not in name}
    del missing["optimizer/iterations"]
    io.save_arrays(path, missing, {**metadata, "progress": progress})
    refused("'iterations' is missing")
    slot = next(name for name in arrays if name.endswith("/dense.weight"))
    io.save_arrays(path, {**arrays, slot: arrays[slot][:, :-1]}, {**metadata, "progress": progress})
    refused(rf"{slot}: expected float32 of shape \(1, 6\), got float32 of shape \(1, 5\)")


def test_a_checkpoint_of_another_training_is_named(tmp_path):
    path = tmp_path / "checkpoint"
    train(X, path, epochs=2, delete_checkpoint=False)
    with pytest.raises(
        ValueError, match=r'another optimizer; it was .*"Adam".*, now it is .*"SGD"'
    ):
        train(X, path, optimizer=SGD(0.1))
    with pytest.raises(ValueError, match=r'another optimizer; it was .*"clipnorm": 1.0.*: 2.0'):
        train(X, path, optimizer=Adam(0.05, clipnorm=2.0))
    with pytest.raises(ValueError, match="another list of callbacks"):
        train(X, path, extra=[EarlyStopping("loss")])
    model = Sequential([Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="another model"):
        model.fit(X, Y, callbacks=[BackupAndRestore(path)], verbose=0)


def test_the_learning_rate_may_be_another_the_loss_and_the_vocabulary_not(tmp_path):
    path = tmp_path / "checkpoint"

    def train(rate=0.1, loss="mse", vocabulary="a" * 400 + "b"):
        model = Sequential([Dense(1)])
        model.compile(Adam(rate), loss)
        model.metadata = {"vocabulary": vocabulary}
        backup = BackupAndRestore(path, delete_checkpoint=False)
        return model.fit(X, Y, epochs=1, callbacks=[backup], verbose=0)

    train()
    for other in (MeanAbsoluteError(), MeanSquaredError(reduction="sum")):
        with pytest.raises(ValueError, match=r"another loss; it was .*MeanSquaredError"):
            train(loss=other)
    with pytest.raises(ValueError, match=r'another vocabulary \(metadata .*a*b".*a*c"'):
        train(vocabulary="a" * 400 + "c")
    assert train(rate=0.2).epoch == [0]


# ---- one seed, two processes ---------------------------------------------------------------------


def test_two_processes_with_one_seed_and_other_threads_give_the_same_bits(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    code = f"""
import runpy, sys
sys.argv = ["program", {str(tmp_path)!r} + "/" + str(__import__("os").getpid()), "0"]
runpy.run_path({str(tmp_path / "program.py")!r})
"""
    shown = [output_of(code, FASTRNN_NUM_THREADS=n).splitlines()[-1] for n in ("1", "2", "3")]
    assert shown[0] == shown[1] == shown[2]
    assert os.listdir(tmp_path)
