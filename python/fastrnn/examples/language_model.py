"""``fastrnn language-model``: which word comes next? On WikiText-2 or the Penn Treebank."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import click
import numpy as np

from fastrnn._typing import Integers
from fastrnn.callbacks import Callback, Logs
from fastrnn.data import ContinuousBatches
from fastrnn.examples.command import CELLS, cell_option, finish, options, train
from fastrnn.layers import Dense, Dropout, Embedding
from fastrnn.model import Sequential
from fastrnn.optimizers import Adam
from fastrnn.optimizers.schedules import CosineDecay

END, UNKNOWN = "<eos>", "<unk>"


class Perplexity(Callback):
    """Shows exp(loss): the number of words among which the model is as unsure as by a die."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add it to the figures."""
        for kind in ("", "val_"):
            if logs is not None and f"{kind}loss" in logs:
                logs[f"{kind}perplexity"] = math.exp(min(logs[f"{kind}loss"], 700.0))


def read(folder: Path) -> dict[str, list[str]]:
    """Return the words of the three parts, each line's end as a word.

    Raises
    ------
    OSError, ValueError
        If a part's file is missing or is no text.
    """
    words = {}
    for part in ("train", "valid", "test"):
        files = [
            file
            for file in sorted(folder.iterdir())
            if part in file.name.split(".")[:2] and file.suffix in (".txt", ".tokens")
        ]
        if len(files) != 1:
            raise ValueError(
                f"{folder}: expected one file {part}.txt, wiki.{part}.tokens or ptb.{part}.txt, "
                f"got {[file.name for file in files]}"
            )
        try:
            lines = files[0].read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{files[0]}: expected text in UTF-8 ({error})") from None
        words[part] = [word for line in lines if line.strip() for word in (*line.split(), END)]
    return words


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with train, valid and test as text: WikiText-2's "
    "wiki.train.tokens ... or the Penn Treebank's ptb.train.txt ...",
)
@cell_option
@click.option(
    "--words",
    type=click.IntRange(min=2),
    default=10_000,
    show_default=True,
    help="Size of the vocabulary: the most frequent words.",
)
@click.option(
    "--hidden",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Hidden size, and that of the word vectors.",
)
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of recurrent layers.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=35,
    show_default=True,
    help="Words of a row in a batch, T: so far gradients go back.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Rows that are read side by side, B.",
)
@click.option(
    "--dropout", type=click.FloatRange(min=0, max=1, max_open=True), default=0.2, show_default=True
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-3,
    show_default=True,
    help="At first; it falls to nothing along half a cosine.",
)
@options(out="fastrnn-language-model", epochs=6)
def command(
    folder: Path,
    data: Path,
    cell: str,
    words: int,
    hidden: int,
    layers: int,
    steps: int,
    batch_size: int,
    dropout: float,
    learning_rate: float,
    epochs: int,
) -> None:
    """Train a word-level language model and tell its perplexity.

    The text is cut into rows that are read side by side; each batch goes on where the last one
    ended, with the state it left (truncated backpropagation through time). The learning rate falls
    to nothing over all --epochs: where a training is gone on with to have more of them, it follows
    the longer course from where it stands, on which the rate is higher again.
    """
    text = read(data)
    counts = Counter(text["train"])
    counts.pop(UNKNOWN, None)
    vocabulary = [UNKNOWN, *(word for word, _ in counts.most_common(words - 1))]
    number = {word: i for i, word in enumerate(vocabulary)}
    ids: dict[str, Integers] = {
        part: np.array([number.get(word, 0) for word in text[part]]) for part in text
    }
    batches = {part: ContinuousBatches(ids[part], batch_size, steps) for part in ids}

    model = Sequential(
        [
            Embedding(len(vocabulary), hidden),
            Dropout(dropout),
            CELLS[cell](
                hidden,
                num_layers=layers,
                stack_dropout=dropout,
                return_sequences=True,
                stateful=True,
            ),
            Dropout(dropout),
            Dense(len(vocabulary), activation="softmax"),
        ]
    )
    model.build((None, None))
    rate = CosineDecay(learning_rate, decay_steps=epochs * len(batches["train"]))
    model.compile(Adam(rate, global_clipnorm=1.0), "sparse_categorical_crossentropy")
    model.metadata = {"task": "language-model", "vocabulary": json.dumps(vocabulary)}
    click.echo(
        f"{len(ids['train']):,} words to train on, {len(vocabulary):,} different; "
        f"{model.count_params():,} parameters"
    )
    history = train(
        model,
        batches["train"],
        None,
        folder,
        epochs=epochs,
        validation_data=batches["valid"],
        callbacks=[Perplexity()],
    )
    finish(model, history, folder)
    perplexity = history.history["val_perplexity"][-1]
    tested = math.exp(model.evaluate(batches["test"]))
    click.echo(f"Perplexity {perplexity:.1f} on the validation text, {tested:.1f} on the test text")
