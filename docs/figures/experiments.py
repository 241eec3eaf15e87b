"""What the pictures of docs/tutorial.md show, measured: docs/img/tutorial_*.json.

``python docs/figures/experiments.py --data aclImdb`` needs less than half an hour on two cores;
then docs/figures/pictures.py draws. ``--data`` takes what `fastrnn sentiment --data` takes; without
it the public archive is downloaded once. The trained models are kept in the folder ``--runs`` and
used again by the next run.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np

import fastrnn
from fastrnn import functional, runtime
from fastrnn.callbacks import CSVLogger, ModelCheckpoint
from fastrnn.examples import reviews
from fastrnn.examples.sentiment import build
from fastrnn.layers import LSTM, Dense, Dropout, Embedding
from fastrnn.optimizers import Adam
from fastrnn.text import Tokenizer, pad_sequences

IMAGES = Path(__file__).parents[1] / "img"
VOCABULARY, READ = 10_000, 50  # words: known, and read of a review's end
# What is trained: the cell, how the LSTM's biases begin, and whether the learning curve is shown.
MODELS = {
    "lstm": ("lstm", "forget 1", True),
    "gru": ("gru", "", True),
    "rnn": ("rnn", "", True),
    "lstm, forget bias 0": ("lstm", "forget 0", False),
    "lstm, chrono": ("lstm", "chrono", False),
}
SHORT = 2  # epochs after which the gradients and the gates are looked at: before all overfit
FURTHER = 100  # words: read by the gates' model, and through which gradients are followed
FOLLOWED = 256  # reviews

REVIEW = (
    "the film looks great and the actors are fine but the story is dull and in the end i was "
    "bored and wanted my money back"
)


@dataclass(frozen=True)
class Data:
    """The reviews as lists of word ids."""

    tokenizer: Tokenizer
    train: list[list[int]]
    train_labels: Any
    test: list[list[int]]
    test_labels: Any


def load(path: Path | None) -> Data:
    """Read and tokenize the reviews as `fastrnn sentiment` does."""
    given = reviews.read(path)
    if given.are_ids:
        raise ValueError(f"{path}: expected texts, since the gates' picture needs the words")
    tokenizer = Tokenizer(num_words=VOCABULARY)
    tokenizer.fit_on_texts(given.train)
    train, test = map(tokenizer.texts_to_sequences, (given.train, given.test))
    return Data(tokenizer, train, given.train_labels, test, given.test_labels)


# ---- the models ----------------------------------------------------------------------------------


def tutorial_model(cell: str, biases: str) -> fastrnn.Sequential:
    """Return the model of `fastrnn sentiment`, untrained.

    ``biases`` are the LSTM's initial ones: "chrono" is Tallec and Ollivier's (2018), whose units
    begin by keeping their cell state for 1 to FURTHER steps.
    """
    fastrnn.set_seed(0)
    model = build(VOCABULARY, cell, bidirectional=False, mask=False)
    model.build((None, READ))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, LSTM):
            i, f, _, _ = layer.parameters["bias_ih_l0"].reshape(4, -1)  # views
            if biases == "forget 0":
                f[:] = 0
            elif biases == "chrono":
                f[:] = np.log(rng.uniform(1, FURTHER - 1, f.shape))
                i[:] = -f
    return model


def small_model() -> fastrnn.Sequential:
    """Return a model with so few units that each can be seen; the padding is masked."""
    fastrnn.set_seed(0)
    embedding = Embedding(VOCABULARY, 100, mask_zero=True)
    model = fastrnn.Sequential([embedding, LSTM(16), Dropout(0.5), Dense(1, activation="sigmoid")])
    model.build((None, FURTHER))
    return model


def trained(
    model: fastrnn.Sequential,
    data: Data,
    epochs: int,
    folder: Path,
    *,
    maxlen: int = READ,
    learning_rate: float = 0.001,
) -> list[dict[str, float]]:
    """Train the model as the tutorial does, and load what it was after SHORT epochs.

    Returns
    -------
    list of dict
        Each epoch's figures. Both come from ``folder`` where the training has been done before.
    """
    curve, short = folder / "history.csv", folder / f"{SHORT}.safetensors"
    if not short.exists() or len(_rows(curve)) < epochs:
        folder.mkdir(parents=True, exist_ok=True)
        model.compile(Adam(learning_rate), "binary_crossentropy", metrics=["accuracy"])
        saved = ModelCheckpoint(str(folder / "{epoch}.safetensors"), save_weights_only=True)
        model.fit(
            pad_sequences(data.train, maxlen=maxlen),
            data.train_labels,
            epochs=epochs,
            batch_size=32,
            validation_data=(pad_sequences(data.test, maxlen=maxlen), data.test_labels),
            callbacks=[saved, CSVLogger(curve)],
            verbose=2,
        )
    model.set_weights(fastrnn.Sequential.load(short).get_weights())
    return _rows(curve)[:epochs]


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


# ---- gradients against distance ------------------------------------------------------------------


def gradients_back(model: fastrnn.Sequential, cell: str, ids: Any) -> list[dict[str, float]]:
    """Follow the loss's gradient back through the second recurrent layer of the tutorial's model.

    Returns
    -------
    list of dict
        For each distance k the median and the quartiles, over the reviews ``ids`` [B, T], of
        |dL/dh_{T-k}| by |dL/dh_T|. The output's sigmoid only scales dL/dh_T, which the ratio drops.
    """
    embedding, first, _, second, _, dense = model.layers
    x = np.ascontiguousarray(first(embedding(ids)).swapaxes(0, 1))
    forward = getattr(functional, f"{cell}_forward")
    backward = getattr(functional, f"{cell}_backward")
    state: Any = None
    caches = []
    for x_t in x:
        _, state, cache = forward(x_t[None], second.parameters, state)
        caches.append(cache)
    weight = dense.parameters["weight"]
    dh = np.broadcast_to(weight, (1, len(ids), weight.size)).copy()
    dstate: Any = (dh, np.zeros_like(dh)) if cell == "lstm" else dh
    norms = [_norms(dstate)]
    for cache in reversed(caches[1:]):
        _, dstate, _ = backward(cache, None, dstate, need_dx=False)
        norms.append(_norms(dstate))
    quartiles = np.percentile(np.array(norms) / norms[0], [25, 50, 75], axis=1).T
    return [dict(zip(("low", "median", "high"), map(float, row), strict=True)) for row in quartiles]


def _norms(dstate: Any) -> Any:
    dh = dstate[0] if isinstance(dstate, tuple) else dstate
    return np.linalg.norm(dh[0].astype(np.float64), axis=-1)


# ---- gates over a review -------------------------------------------------------------------------


def gates_over(model: fastrnn.Sequential, tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """Return the gates of the small model's LSTM at every word, and what the model says so far.

    The library hands out h and c. The gates follow from them without a loop, since at any step
    their arguments depend on x_t and h_{t-1} alone.
    """
    embedding, lstm, _, dense = model.layers
    words = text.split()
    ids = np.array(tokenizer.texts_to_sequences([text]))
    if ids.shape[1] != len(words):
        raise ValueError(f"text: expected words that the model knows, got {text!r}")
    x = embedding(ids)[0]
    p = lstm.parameters
    h, _, _, c = functional.lstm_forward(x, p, training=False, return_cells=True)
    h_before = np.concatenate([np.zeros_like(h[:1]), h[:-1]])
    a = x @ p["weight_ih_l0"].T + h_before @ p["weight_hh_l0"].T + p["bias_ih_l0"]
    i, f, g, o = np.split(a, 4, axis=-1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    c_before = np.concatenate([np.zeros_like(c[:1]), c[:-1]])
    np.testing.assert_allclose(f * c_before + i * g, c, rtol=0, atol=1e-5)
    weight = dense.parameters["weight"][0]
    order = np.argsort(-weight)
    shown = {"i": i, "f": f, "o": o, "c": c}
    return {
        "words": words,
        "probability": _sigmoid(h @ weight + dense.parameters["bias"]).tolist(),
        "weight": weight[order].tolist(),
        **{name: value[:, order].T.tolist() for name, value in shown.items()},
    }


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# ---- all of it -----------------------------------------------------------------------------------


def measure(data: Data, epochs: int, runs: Path, images: Path) -> None:
    """Train what has not been trained yet and write the three JSON files."""
    small = small_model()
    history = trained(small, data, SHORT, runs / "small", maxlen=FURTHER, learning_rate=0.003)
    gates = {"test_accuracy": history[SHORT - 1]["val_accuracy"]}
    _write(images / "tutorial_gates.json", gates | gates_over(small, data.tokenizer, REVIEW))

    long = [ids for ids in data.test if len(ids) >= FURTHER][:FOLLOWED]
    followed = pad_sequences(long, maxlen=FURTHER)
    curves, gradients = {}, {}
    for name, (cell, biases, shown) in MODELS.items():
        model = tutorial_model(cell, biases)
        before = gradients_back(model, cell, followed)
        history = trained(model, data, epochs if shown else SHORT, runs / name)
        if shown:
            curves[name] = history
        gradients[name] = {
            "before": before,
            "after": gradients_back(model, cell, followed),
            "test_accuracy": history[SHORT - 1]["val_accuracy"],
        }
        _write(images / "tutorial_curves.json", {"curves": curves})
        _write(images / "tutorial_gradients.json", {"gradients": gradients})


def _write(path: Path, content: dict[str, Any]) -> None:
    source = {
        "made_by": "docs/figures/experiments.py",
        "date": date.today().isoformat(),
        "fastrnn": fastrnn.__version__,
        "isa": runtime.get_isa(),
        "seed": 0,
        "data": "Large Movie Review Dataset (Maas et al. 2011)",
    }
    text = json.dumps(source | _rounded(content), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="The reviews.")
@click.option("--epochs", type=click.IntRange(min=SHORT), default=10, show_default=True)
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default="fastrnn-tutorial",
    show_default=True,
    help="The folder of the trained models.",
)
def main(data: Path | None, epochs: int, runs: Path) -> None:
    """Measure what the tutorial's pictures show."""
    measure(load(data), epochs, runs, IMAGES)


if __name__ == "__main__":
    main()
