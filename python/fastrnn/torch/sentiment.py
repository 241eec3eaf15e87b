"""An example: is a film review positive? A PyTorch model, on one machine or on many.

In one process, in one for each processor (torchrun gives every process one thread), or on several
machines::

    python -m fastrnn.torch.sentiment train.csv test.csv
    torchrun --nproc-per-node 2 -m fastrnn.torch.sentiment train.csv test.csv
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \
        -m fastrnn.torch.sentiment train.csv test.csv

The files are CSV with the columns ``text`` and ``label`` (0 or 1), also as .gz or .xz; those of the
Large Movie Review Dataset (Maas et al., ACL 2011), for example. All but two lines of this file are
PyTorch as it always is: the import, and `accelerate`.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, DistributedSampler

import fastrnn.torch

Review = tuple[Tensor, float]  # word ids [T], label

COUNT = click.IntRange(min=1)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
UNREADABLE = EOFError, OSError, ValueError, csv.Error, lzma.LZMAError, zlib.error


class Classifier(nn.Module):
    """Word vectors, an LSTM in both directions, and a sigmoid's argument from its last states."""

    def __init__(self, words: int, size: int = 100) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, size)
        self.lstm = nn.LSTM(size, size, bidirectional=True)
        self.head = nn.Linear(2 * size, 1)

    def forward(self, reviews: PackedSequence) -> Tensor:
        """Return [B] for B reviews of any lengths."""
        vectors = PackedSequence(self.embedding(reviews.data), *reviews[1:])
        _, (hn, _) = self.lstm(vectors)
        scores: Tensor = self.head(torch.cat([hn[0], hn[1]], dim=1))
        return scores[:, 0]


@click.command()
@click.argument("train", type=FILE)
@click.argument("test", type=FILE)
@click.option("--epochs", type=COUNT, default=2, show_default=True)
@click.option("--batch-size", type=COUNT, default=32, show_default=True, help="Of each process.")
@click.option(
    "--words", type=COUNT, default=10_000, show_default=True, help="The most frequent ones."
)
@click.option(
    "--maxlen", type=COUNT, default=200, show_default=True, help="Words read of a review's end."
)
@click.option("--plain", is_flag=True, help="Leave the LSTM to torch.nn, to compare.")
def main(
    train: Path, test: Path, epochs: int, batch_size: int, words: int, maxlen: int, plain: bool
) -> None:
    """Train on the CSV file TRAIN and evaluate on the CSV file TEST after every epoch."""
    if "RANK" in os.environ:  # torchrun started us
        distributed.init_process_group("gloo")
    else:
        store = distributed.HashStore()  # type: ignore[attr-defined]
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        train_and_evaluate(train, test, epochs, batch_size, words, maxlen, plain)
        # A thread of gloo's that still holds tensors of the last collective when Python ends aborts
        # the process (pytorch/pytorch#179291). A barrier's are none of Python's; for those before,
        # on a busy machine, the thread needs a moment.
        distributed.barrier()
        time.sleep(0.2)
    finally:
        distributed.destroy_process_group()


def train_and_evaluate(
    train: Path, test: Path, epochs: int, batch_size: int, words: int, maxlen: int, plain: bool
) -> None:
    """Train one process's part, and print what the first process finds."""
    first = distributed.get_rank() == 0
    vocabulary = most_frequent(train, words)
    data = [read(path, vocabulary, maxlen) for path in (train, test)]
    torch.manual_seed(0)
    model = Classifier(words)
    if not plain:
        report = fastrnn.torch.accelerate(model)
        if first:
            click.echo(report)
    trained = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(trained.parameters())
    loaders = [loader(part, batch_size) for part in data]
    for epoch in range(epochs):
        start = time.perf_counter()
        loss, _ = run(trained, loaders[0], epoch, optimizer)
        seconds = time.perf_counter() - start
        _, accuracy = run(model, loaders[1], epoch)
        if first:
            click.echo(
                f"epoch {epoch + 1}: loss {loss:.4f}, test accuracy {accuracy:.4f}, "
                f"{len(data[0]) / seconds:,.0f} reviews/s"
            )


def run(
    model: nn.Module,
    batches: DataLoader[Review],
    epoch: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> tuple[float, float]:
    """Return the mean loss and the accuracy, over all processes; train if there is an optimiser."""
    batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    model.train(optimizer is not None)
    sums = torch.zeros(3)  # of the losses, the right answers, the reviews
    for reviews, labels in batches:
        with torch.set_grad_enabled(optimizer is not None):
            scores = model(reviews)
            loss = nn.functional.binary_cross_entropy_with_logits(scores, labels)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = ((scores > 0) == (labels > 0.5)).sum()
        sums += torch.stack([loss.detach() * len(labels), right, torch.tensor(len(labels))])
    distributed.all_reduce(sums)
    return (sums[0] / sums[2]).item(), (sums[1] / sums[2]).item()


def loader(reviews: list[Review], batch_size: int) -> DataLoader[Review]:
    """Deal the reviews out to the processes, in a new order every epoch."""
    return DataLoader(
        reviews,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=DistributedSampler(reviews),  # type: ignore[arg-type]
        collate_fn=collate,
    )


def collate(reviews: list[Review]) -> tuple[PackedSequence, Tensor]:
    """Pack reviews of any lengths; nothing is padded."""
    return (
        pack_sequence([ids for ids, _ in reviews], enforce_sorted=False),
        torch.tensor([label for _, label in reviews]),
    )


def rows(path: Path) -> Iterator[tuple[list[str], float]]:
    """Yield the words and the label of every review of a CSV file."""
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not {"text", "label"} <= set(reader.fieldnames or []):
                raise ValueError(f"expected columns text and label, got {reader.fieldnames or []}")
            for row in reader:
                text = (row["text"] or "").lower().replace("<br />", " ")
                yield re.findall(r"[a-z0-9']+", text), number(row["label"], reader.line_num)
    except UNREADABLE as error:
        raise click.ClickException(f"{path}: {error}") from error


def number(label: str | None, line: int) -> float:
    """Return 0.0 or 1.0."""
    try:
        found = float(label or "")
    except ValueError:
        found = -1.0
    if found not in (0.0, 1.0):
        raise ValueError(f"line {line}: expected a label of 0 or 1, got {label!r}")
    return found


def most_frequent(path: Path, words: int) -> dict[str, int]:
    """Number the most frequent words of a file; 0 is left for all others."""
    counts = Counter(word for review, _ in rows(path) for word in review)
    return {word: i for i, (word, _) in enumerate(counts.most_common(words - 1), start=1)}


def read(path: Path, vocabulary: dict[str, int], maxlen: int) -> list[Review]:
    """Return the word ids and the label of every review that has words."""
    reviews = [
        (torch.tensor([vocabulary.get(word, 0) for word in words[-maxlen:]]), label)
        for words, label in rows(path)
        if words
    ]
    if not reviews:
        raise click.ClickException(f"{path}: expected at least one review that has words, got none")
    return reviews


if __name__ == "__main__":
    main()
