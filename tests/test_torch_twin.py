"""The bench's twin of a model in PyTorch: where nothing is drawn it learns the same."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

import fastrnn
from fastrnn import GRU, LSTM, RNN, Adam, Bidirectional, Dense, Dropout, Embedding, Sequential
from fastrnn.data import Batch, ContinuousBatches, as_batch
from fastrnn.examples import digits as digits_example
from fastrnn.examples import forecast as forecast_example
from fastrnn.examples import language_model as language_model_example
from fastrnn.losses import MeanSquaredError
from fastrnn.training import train_step

pytest.importorskip("torch")
import torch

import train_in_torch
from torch_twin import Twin

rng = np.random.default_rng(0)  # not drawn from in tests, whose order is not always the same
IDS = rng.integers(1, 20, (12, 9))
IDS[:, :4] *= rng.random((12, 4)) < 0.5  # padding, and holes
FRAMES = rng.standard_normal((12, 9, 5)).astype(np.float32)
LENGTHS = np.arange(9) < rng.integers(1, 10, 12)[:, None]
BINARY, CLASSES = rng.integers(0, 2, 12), rng.integers(0, 3, 12)
TEXT = rng.integers(0, 20, 100)


def sentiment(cell):
    model = Sequential(
        [Embedding(20, 6, mask_zero=True), Bidirectional(cell(7)), Dense(1, "sigmoid")]
    )
    model.build((None, 9))
    return model, "binary_crossentropy", [Batch(IDS, BINARY)]


def digits(cell):
    model = Sequential([cell(7, return_sequences=True), cell(6), Dropout(0.0), Dense(3, "softmax")])
    model.build((None, None, 5))
    return model, "sparse_categorical_crossentropy", [Batch(FRAMES, CLASSES, mask=LENGTHS)]


def forecast(cell):
    model = Sequential([cell(7), Dense(2)])
    model.build((None, None, 5))
    return model, "mse", [Batch(FRAMES, FRAMES[:, 0, :2])]


def language_model(cell):
    stack = cell(7, num_layers=2, return_sequences=True, stateful=True)
    model = Sequential([Embedding(20, 6), stack, Dense(20, "softmax")])
    model.build((None, None))
    batches = map(as_batch, ContinuousBatches(TEXT, 4, 6))
    return model, "sparse_categorical_crossentropy", list(batches)


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
@pytest.mark.parametrize("example", [sentiment, digits, forecast, language_model])
def test_a_twin_learns_what_the_model_learns(example, cell):
    fastrnn.set_seed(0)
    model, loss, batches = example(cell)
    # A large epsilon: by a small one Adam divides the rounding of gradients that are all but 0.
    model.compile(Adam(0.01, epsilon=1e-3, global_clipnorm=0.5), loss)
    twin = Twin(model)
    for batch in [*batches, *batches]:
        theirs = float(twin.train_step(batch))
        ours = train_step(model, batch).loss.value
        # float32, and six steps at most
        assert theirs == pytest.approx(ours, rel=2e-5)
    weights = model.get_weights()
    twin.hand_back()
    for theirs, ours in zip(model.get_weights(), weights, strict=True):
        # 6e-8 at most on one machine: the last bits of weights below 1, after steps of some 1e-3
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    ("layers", "adam", "loss", "words"),
    [
        ([LSTM(3, dropout=0.5), Dense(2)], {}, "mse", "'lstm': expected dropout=0.0, got 0.5"),
        ([GRU(3, go_backwards=True), Dense(2)], {}, "mse", "'gru': expected go_backwards=False"),
        ([RNN(3, activation="relu"), Dense(2)], {}, "mse", "'rnn': expected activation='tanh'"),
        ([RNN(3, use_bias=False), Dense(2)], {}, "mse", "'rnn': expected use_bias=True"),
        ([Bidirectional(LSTM(3), merge_mode="sum"), Dense(2)], {}, "mse", "merge_mode='concat'"),
        ([LSTM(3, trainable=False), Dense(2)], {}, "mse", "'lstm': expected trainable=True"),
        ([LSTM(3), Dense(2, "tanh")], {}, "mse", "'dense': expected activation='linear'"),
        ([LSTM(3), Dense(4, "tanh"), Dense(2)], {}, "mse", "expected activation='linear'"),
        ([LSTM(3), Dense(1)], {}, "binary_crossentropy", "a model that ends in sigmoid"),
        ([LSTM(3), Dense(2)], {}, "mae", "loss: MeanAbsoluteError has no twin"),
        ([LSTM(3), Dense(2)], {}, MeanSquaredError("sum"), "loss: expected reduction="),
        ([LSTM(3), Dense(2)], {"clipnorm": 1.0}, "mse", "optimizer: expected clipnorm=None, got 1"),
        (
            [LSTM(3), Dense(2)],
            {"weight_decay": 0.5},
            "mse",
            "optimizer: expected weight_decay=None",
        ),
    ],
)
def test_what_is_not_translated_is_refused(layers, adam, loss, words):
    model = Sequential(layers)
    model.build((None, None, 5))
    model.compile(Adam(**adam), loss)
    with pytest.raises(ValueError, match=words):
        Twin(model)


def test_an_optimizer_that_is_more_than_adam_is_refused():
    model, loss, _ = forecast(LSTM)
    model.compile(fastrnn.AdamW(), loss)
    with pytest.raises(ValueError, match="optimizer: expected Adam, got AdamW"):
        Twin(model)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sample_weight": np.ones(12)}, "batch: sample_weight has no twin"),
        ({"reset": np.arange(2)}, "batch: reset has no twin"),
        ({"mask": LENGTHS}, "mask: a loss of each step"),
    ],
)
def test_batches_that_are_not_translated_are_refused(more, words):
    model = Sequential([LSTM(3, return_sequences=True), Dense(5)])
    model.build((None, None, 5))
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=words):
        Twin(model).train_step(Batch(FRAMES, FRAMES, **more))


# ---- the examples' commands ----------------------------------------------------------------------


@pytest.fixture
def in_torch(monkeypatch, tmp_path):
    """Run an example as train_in_torch.py does; its figures, a list for each name."""
    threads = torch.get_num_threads()

    def run(example, module, *arguments):
        given = [example, *map(str, arguments), "--epochs", "1", "--out", str(tmp_path / "out")]
        with monkeypatch.context() as patch:
            patch.setattr(module, "train", module.train)  # which the command replaces
            result = CliRunner().invoke(train_in_torch.main, given, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return history(tmp_path / "out")

    yield run
    torch.set_num_threads(threads)


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def test_a_language_model_trained_in_torch_has_fastrnns_figures(in_torch, tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("the cat sat on the mat\n" * 30)
    arguments = ("--data", tmp_path, "--hidden", 8, "--words", 7, "--steps", 7, "--dropout", 0)
    theirs = in_torch("language-model", language_model_example, *arguments)
    given = [*map(str, arguments), "--epochs", "1", "--out", str(tmp_path / "ours")]
    CliRunner().invoke(language_model_example.command, given, catch_exceptions=False)
    ours = history(tmp_path / "ours")
    assert set(theirs) - set(ours) == {"val_accuracy"}
    # float32, and a step for each of two batches, of which the second is shorter
    assert {name: theirs[name] for name in ours} == {
        name: pytest.approx(values, rel=1e-5) for name, values in ours.items()
    }


def test_a_forecast_trained_in_torch_watches_its_validation(in_torch, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast_example, "SPLIT", (60, 30, 30))
    rows = "".join(f"{i},{i % 7}\n" for i in range(130))
    (tmp_path / "ETTh1.csv").write_text("date,OT\n" + rows)
    arguments = ("--data", tmp_path / "ETTh1.csv", "--hidden", 4, "--past", 8, "--ahead", 2)
    figures = in_torch("forecast", forecast_example, *arguments)
    assert set(figures) == {"epoch", "loss", "val_loss", "val_mae"}


def test_digits_trained_in_torch_are_as_long_as_they_are(in_torch, tmp_path):
    lengths = 3 + np.arange(40) % 6
    np.savez(
        tmp_path / "frames.npz",
        features=np.sin(np.arange(lengths.sum() * 5.0)).reshape(-1, 5),
        offsets=np.cumsum([0, *lengths]),
        label=np.arange(40) % 10,
        index=np.arange(40) // 4,
    )
    arguments = ("--data", tmp_path / "frames.npz", "--hidden", 4)
    figures = in_torch("digits", digits_example, *arguments)
    assert set(figures) == {"epoch", "loss", "val_loss", "val_accuracy"}
