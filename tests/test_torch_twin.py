"""The bench's twin of a model in PyTorch: where nothing is drawn it learns the same."""

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, Adam, Bidirectional, Dense, Dropout, Embedding, Sequential
from fastrnn.data import Batch, ContinuousBatches, as_batch
from fastrnn.training import train_step

pytest.importorskip("torch")
from torch_twin import Twin

rng = np.random.default_rng(0)
IDS = rng.integers(1, 20, (12, 9))
IDS[:, :4] *= rng.random((12, 4)) < 0.5  # padding, and holes
FRAMES = rng.standard_normal((12, 9, 5)).astype(np.float32)
LENGTHS = np.arange(9) < rng.integers(1, 10, 12)[:, None]


def sentiment(cell):
    model = Sequential(
        [Embedding(20, 6, mask_zero=True), Bidirectional(cell(7)), Dense(1, "sigmoid")]
    )
    model.build((None, 9))
    return model, "binary_crossentropy", [Batch(IDS, rng.integers(0, 2, 12))]


def digits(cell):
    model = Sequential([cell(7, return_sequences=True), cell(6), Dropout(0.0), Dense(3, "softmax")])
    model.build((None, None, 5))
    y = rng.integers(0, 3, 12)
    return model, "sparse_categorical_crossentropy", [Batch(FRAMES, y, mask=LENGTHS)]


def forecast(cell):
    model = Sequential([cell(7), Dense(2)])
    model.build((None, None, 5))
    return model, "mse", [Batch(FRAMES, FRAMES[:, 0, :2])]


def language_model(cell):
    stack = cell(7, num_layers=2, return_sequences=True, stateful=True)
    model = Sequential([Embedding(20, 6), stack, Dense(20, "softmax")])
    model.build((None, None))
    batches = map(as_batch, ContinuousBatches(rng.integers(0, 20, 100), 4, 6))
    return model, "sparse_categorical_crossentropy", list(batches)


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
@pytest.mark.parametrize("example", [sentiment, digits, forecast, language_model])
def test_a_twin_learns_what_the_model_learns(example, cell):
    fastrnn.set_seed(0)
    model, loss, batches = example(cell)
    model.compile(Adam(0.01, epsilon=1e-12, global_clipnorm=0.5), loss)
    twin = Twin(model)
    for batch in [*batches, *batches]:
        theirs = float(twin.train_step(batch))
        ours = train_step(model, batch).loss.value
        # float32, and six steps at most
        assert theirs == pytest.approx(ours, rel=2e-5)
    weights = model.get_weights()
    twin.hand_back()
    for theirs, ours in zip(model.get_weights(), weights, strict=True):
        # On the mean: Adam divides by the gradient's size, so that where it is all but 0 its error
        # is as large as a step (0.01).
        assert np.abs(theirs - ours).mean() < 2e-5
