"""``fastrnn sentiment``: is a film review positive? The tutorial's model on real reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from fastrnn.examples import reviews
from fastrnn.examples.command import CELLS, cell_option, finish, options, train
from fastrnn.layers import Bidirectional, Dense, Dropout, Embedding
from fastrnn.layers.base import Layer
from fastrnn.model import Sequential
from fastrnn.text import Tokenizer, pad_sequences


def build(words: int, cell: str, bidirectional: bool, mask: bool) -> Sequential:
    """Return the tutorial's model: two recurrent layers over word vectors."""

    def recurrent(units: int, **arguments: Any) -> Layer:
        layer = CELLS[cell](units, **arguments)
        return Bidirectional(layer) if bidirectional else layer

    return Sequential(
        [
            Embedding(words, 100, mask_zero=mask),
            recurrent(100, return_sequences=True),
            Dropout(0.5),
            recurrent(50),
            Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ]
    )


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The folder aclImdb, its tar.gz, a CSV file of text,label (also .gz, .xz), a "
    "folder with two of them, or Keras's imdb.npz; default: downloaded once (84 MB).",
)
@click.option(
    "--test",
    type=click.Path(path_type=Path),
    help="A CSV file to test on; default: a fifth of --data, where that is a CSV file.",
)
@cell_option
@click.option(
    "--words",
    type=click.IntRange(min=3),
    default=10_000,
    show_default=True,
    help="How many ids there are: the most frequent words.",
)
@click.option(
    "--maxlen",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many words of a review's end are read.",
)
@click.option("--bidirectional", is_flag=True, help="Read in both directions.")
@click.option("--mask", is_flag=True, help="Skip the padding of short reviews.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@options(out="fastrnn-sentiment", epochs=10)
def command(
    folder: Path,
    data: Path | None,
    test: Path | None,
    cell: str,
    words: int,
    maxlen: int,
    bidirectional: bool,
    mask: bool,
    batch_size: int,
    epochs: int,
) -> None:
    """Train a model that tells positive film reviews from negative ones.

    Evaluates it on test reviews after each epoch, and leaves the model (for `fastrnn predict`) and
    the curve in the output folder.
    """
    given = reviews.read(data, test)
    metadata = {"task": "sentiment", "maxlen": str(maxlen)}
    if given.are_ids:
        # As Keras's imdb.load_data(num_words) does; there is no list of the words.
        x, x_test = (
            [[i if i < words else reviews.UNKNOWN for i in ids] for ids in part]
            for part in (given.train, given.test)
        )
    else:
        tokenizer = Tokenizer(num_words=words)
        tokenizer.fit_on_texts(given.train)
        x, x_test = map(tokenizer.texts_to_sequences, (given.train, given.test))
        metadata["tokenizer"] = tokenizer.compact().to_json()

    model = build(words, cell, bidirectional, mask)
    model.build((None, maxlen))
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.metadata = metadata
    click.echo(
        f"{len(x):,} reviews to train on, {len(x_test):,} to test on; "
        f"{model.count_params():,} parameters"
    )
    tested = pad_sequences(x_test, maxlen=maxlen), given.test_labels
    history = train(
        model,
        pad_sequences(x, maxlen=maxlen),
        given.train_labels,
        folder,
        batch_size=batch_size,
        epochs=epochs,
        validation_data=tested,
    )
    finish(model, history, folder)
    accuracy = history.history["val_accuracy"]
    click.echo(
        f"Test accuracy {accuracy[-1]:.4f} after epoch {history.epoch[-1] + 1}, at its best "
        f"{max(accuracy):.4f} after epoch {history.epoch[int(np.argmax(accuracy))] + 1}"
    )
