"""``fastrnn predict``: what a model that ``fastrnn sentiment`` trained makes of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click

from fastrnn.examples.command import clear_errors
from fastrnn.model import Sequential
from fastrnn.text import Tokenizer, pad_sequences, tokenizer_from_json

_AT_ONCE = 256


def load(path: Path) -> tuple[Sequential, Tokenizer, int]:
    """Return a model, its tokenizer and how many words it reads.

    Raises
    ------
    OSError, ValueError
        If it is not a model that ``fastrnn sentiment`` trained on texts.
    """
    model = Sequential.load(path)
    if model.metadata.get("task") != "sentiment":
        raise ValueError(f"{path}: expected a model that `fastrnn sentiment` trained")
    if "tokenizer" not in model.metadata:
        raise ValueError(f"{path}: the model was trained on ids, its words are not known")
    return model, tokenizer_from_json(model.metadata["tokenizer"]), int(model.metadata["maxlen"])


@click.command()
@click.option(
    "--model",
    "path",
    required=True,
    help="The model that `fastrnn sentiment` wrote.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.argument("texts", nargs=-1)
def command(path: Path, texts: tuple[str, ...]) -> None:
    """Say how likely each of TEXTS is positive: a line of probability, verdict and text for each.

    Without TEXTS they are read from the standard input, one a line.
    """
    with clear_errors():
        model, tokenizer, maxlen = load(path)
        given: Iterable[str] = texts or (line.rstrip("\n") for line in sys.stdin)
        # Someone who types wants an answer to each line.
        at_once = 1 if not texts and sys.stdin.isatty() else _AT_ONCE
        for some in _several(_checked(given), at_once):
            x = pad_sequences(tokenizer.texts_to_sequences(some), maxlen=maxlen)
            for text, p in zip(some, model.predict(x, batch_size=at_once)[:, 0], strict=True):
                click.echo(f"{p:.4f}\t{'positive' if p > 0.5 else 'negative'}\t{text}")


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise ValueError(f"text {number}: expected words, got an empty text")
        yield text


def _several(texts: Iterator[str], count: int) -> Iterator[list[str]]:
    while some := list(islice(texts, count)):
        yield some
