"""Small models and tasks to train them on."""

import numpy as np

from fastrnn import LSTM, Adam, Dense, Embedding, Sequential


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
