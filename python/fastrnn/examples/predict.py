"""``fastrnn predict``: what a model that ``fastrnn sentiment`` trained makes of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
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
        given: Iterable[str] = texts or _lines()
        # Someone who types wants an answer to each line.
        at_once = 1 if not texts and sys.stdin.isatty() else _AT_ONCE
        for some in _several(given, at_once, "text" if texts else "line"):
            x = pad_sequences(tokenizer.texts_to_sequences(some), maxlen=maxlen)
            for text, p in zip(some, model.predict(x, batch_size=at_once)[:, 0], strict=True):
                shown = text.encode(errors="replace").decode()  # it may be no UTF-8
                click.echo(f"{p:.4f}\t{'positive' if p > 0.5 else 'negative'}\t{shown}")


def _lines() -> Iterator[str]:
    """Yield the standard input's lines; they may be of any bytes."""
    for line in sys.stdin.buffer:
        yield line.decode(sys.stdin.encoding, "surrogateescape").rstrip("\r\n")


def _several(texts: Iterable[str], count: int, what: str) -> Iterator[list[str]]:
    """Yield so many texts at a time; an empty one is an error, after those that came before it."""
    some: list[str] = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            if some:
                yield some
            raise ValueError(f"{what} {number}: expected words, got an empty text")
        some.append(text)
        if len(some) == count:
            yield some
            some = []
    if some:
        yield some
