"""``fastrnn demo``: a character-level language model trained for about a minute.

The model reads one character after another and gives each next one a probability. The default text
is the English language reference that every Python carries. Its last tenth is held out: the
validation loss is the mean of -log p(character) over it, in nats. It is read as 16 contiguous parts
side by side, each from a state of zeros, and each character counts once (the first and a rest of
fewer than 16 do not); the cold starts make the figure a little worse than one pass would.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastrnn import _extras, random
from fastrnn._typing import Integers
from fastrnn.callbacks import Callback, Logs
from fastrnn.data import ContinuousBatches
from fastrnn.layers import GRU, LSTM, RNN, Dense, Dropout, Embedding
from fastrnn.losses import SparseCategoricalCrossentropy
from fastrnn.model import Sequential
from fastrnn.optimizers import Adam


@dataclass(frozen=True)
class _Recipe:
    """What trains a cell well: found with a hidden size of 256 on 2 to 5 million characters."""

    layer: type[RNN] | type[LSTM] | type[GRU]
    learning_rate: float
    dropout: float


_RECIPES = {
    "rnn": _Recipe(RNN, 3e-3, 0.05),
    "lstm": _Recipe(LSTM, 6e-3, 0.1),
    "gru": _Recipe(GRU, 4e-3, 0.1),
}
# Many small steps learn more in a minute than few large ones, and cost little more: 16 rows and
# 32 steps got 1.17, 32 rows and 64 steps 1.27 (LSTM, 2 million characters).
_BATCH_SIZE = 16
_STEPS = 32
_EMBEDDING = 64
_WARM_UP = 0.03
_VALIDATION_PARTS = 16
_VALIDATION_STEPS = 512
_FEWEST_CHARACTERS = 200
_MOST_VALIDATION_CHARACTERS = 100_000


@dataclass(frozen=True)
class Result:
    """What `run` got."""

    validation_loss: float
    """Nats per character, of the model in ``folder``."""
    characters: int
    """How many were trained on."""
    seconds: float
    sample: str
    folder: Path


def read_text(path: Path | None) -> str:
    """Return the text of a file in UTF-8, or of Python's language reference."""
    if path is None:
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8 ({error})") from None


def run(
    text: str,
    *,
    cell: str = "lstm",
    hidden_size: int = 256,
    num_layers: int = 1,
    seconds: float = 60.0,
    seed: int = 0,
    out: Path | None = None,
) -> Result:
    """Train, print what happens, and write the model and the loss curve to ``out``.

    Raises
    ------
    ValueError
        If the text has fewer than 200 characters, or ``seconds`` is not finite or not above 0.
    """
    if not 0.0 < seconds < math.inf:
        raise ValueError(f"seconds: expected a finite number above 0, got {seconds}")
    if len(text) < _FEWEST_CHARACTERS:
        raise ValueError(
            f"text: expected at least {_FEWEST_CHARACTERS} characters, got {len(text)}"
        )
    folder = Path(tempfile.mkdtemp(prefix="fastrnn-demo-")) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    random.set_seed(seed)

    vocabulary = sorted(set(text))
    number = {character: i for i, character in enumerate(vocabulary)}
    ids = np.array([number[character] for character in text], np.int64)
    held_out = min(len(ids) // 10, _MOST_VALIDATION_CHARACTERS)
    train = _batches(ids[:-held_out], _BATCH_SIZE, _STEPS)
    validation = _batches(ids[-held_out:], _VALIDATION_PARTS, _VALIDATION_STEPS)

    recipe = _RECIPES[cell]
    model = Sequential(
        [
            Embedding(len(vocabulary), _EMBEDDING),
            Dropout(recipe.dropout),
            recipe.layer(
                hidden_size,
                num_layers=num_layers,
                stack_dropout=recipe.dropout,
                return_sequences=True,
                stateful=True,
            ),
            Dropout(recipe.dropout),
            Dense(len(vocabulary), activation="softmax"),
        ]
    )
    model.build((None, None))
    model.compile(Adam(global_clipnorm=1.0), SparseCategoricalCrossentropy())
    model.metadata = {"vocabulary": json.dumps(vocabulary)}
    print(
        f"{cell} of {num_layers} x {hidden_size}, {model.count_params():,} parameters; "
        f"{len(ids) - held_out:,} characters to train on, {held_out:,} held out\n"
        f"results go to {folder}",
        flush=True,
    )
    pace = _Pace(seconds, recipe.learning_rate, train, validation, folder)
    model.fit(train, epochs=sys.maxsize, callbacks=[pace], verbose=0)
    if not pace.rows:  # Ctrl-C came before the first batch was done
        raise KeyboardInterrupt

    model = Sequential.load(folder / "model.safetensors")
    sample = generate(model, "The " if set("The ") <= set(vocabulary) else text[0], 400)
    print(
        f"held-out loss {pace.best:.3f} nats per character (best of {len(pace.rows)} validations) "
        f"after {pace.characters:,} characters in {pace.elapsed:.1f} s, "
        f"{pace.characters / pace.elapsed:,.0f} characters/s\n\n{sample}\n"
    )
    for line in _write_curve(pace.rows, folder):
        print(line)
    return Result(pace.best, pace.characters, pace.elapsed, sample, folder)


def generate(model: Sequential, start: str, length: int, temperature: float = 0.7) -> str:
    """Return ``start`` and ``length`` characters that the model goes on with.

    Each is drawn with probabilities p^(1 / temperature), scaled to a sum of 1; a temperature below
    1 prefers likely ones.
    """
    vocabulary = json.loads(model.metadata["vocabulary"])
    rng = random.generator()
    model.reset_states()
    ids: Integers = np.array([[vocabulary.index(character) for character in start]])
    text = start
    for _ in range(length):
        p = model(ids)[0, -1].astype(np.float64) ** (1.0 / temperature)
        drawn = int(rng.choice(len(p), p=p / p.sum()))
        text += vocabulary[drawn]
        ids = np.array([[drawn]])
    return text


class _Pace(Callback):
    """Sets the learning rate by the time, validates now and then, keeps the best, stops."""

    def __init__(
        self,
        seconds: float,
        learning_rate: float,
        train: ContinuousBatches,
        validation: ContinuousBatches,
        folder: Path,
    ) -> None:
        self.seconds = seconds
        self.learning_rate = learning_rate
        self.train = train
        self.validation = validation
        self.folder = folder
        self.best = math.inf
        self.elapsed = 0.0
        self.characters = 0
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._validation_seconds = 0.0
        self._next_validation = seconds / 20

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._start = time.perf_counter()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm  # type: ignore[import-untyped]

            form = "{bar} {n:.0f}/{total:.0f} s {postfix}"
            self._bar = tqdm(total=self.seconds, bar_format=form, dynamic_ncols=True)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        assert self.model.optimizer is not None
        done = min(1.0, self.elapsed / self.seconds)
        self.model.optimizer.learning_rate = self.learning_rate * _schedule(done)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        assert logs is not None
        self._losses.append(logs["loss"])
        data = self.train
        self.characters += data.batch_size * min(data.steps, data.length - batch * data.steps)
        self.elapsed = time.perf_counter() - self._start
        # The last validation belongs to the time, too.
        if self.elapsed >= self.seconds - self._validation_seconds:
            self.model.stop_training = True
        elif self.elapsed >= self._next_validation:
            self._validate()
        if self._bar is not None and self._bar.update(self.elapsed - self._bar.n):
            self._bar.set_postfix_str(self._status(), refresh=False)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._losses:
            self._validate()
        if self._bar is not None:
            self._bar.close()

    def _validate(self) -> None:
        assert self.model.optimizer is not None
        began = time.perf_counter()
        loss = self.model.evaluate(self.validation)
        if loss < self.best or not self.rows:
            self.best = loss
            self.model.save(self.folder / "model.safetensors")
        now = time.perf_counter()
        self.elapsed, self._validation_seconds = now - self._start, now - began
        # On a long text validation takes long: at most a tenth of the time goes into it.
        self._next_validation = self.elapsed + max(self.seconds / 20, 10 * self._validation_seconds)
        self.rows.append(
            {
                "seconds": round(self.elapsed, 3),
                "characters": self.characters,
                "train_loss": sum(self._losses) / len(self._losses),
                "validation_loss": loss,
                "learning_rate": self.model.optimizer.learning_rate,
            }
        )
        self._losses.clear()
        if self._bar is None:
            print(f"{self.elapsed:6.1f} s: {self._status()}", flush=True)

    def _status(self) -> str:
        recent = self._losses[-50:]
        train = sum(recent) / len(recent) if recent else self.rows[-1]["train_loss"]
        validation = f"{self.rows[-1]['validation_loss']:.3f}" if self.rows else "-"
        pace = self.characters / self.elapsed
        return f"train {train:.3f} validation {validation} nats/char, {pace:,.0f} chars/s"


def _schedule(done: float) -> float:
    """Return the learning rate's factor after the fraction ``done``: warm-up, half a cosine."""
    if done < _WARM_UP:
        return done / _WARM_UP
    return 0.5 * (1.0 + math.cos(math.pi * (done - _WARM_UP) / (1.0 - _WARM_UP)))


def _batches(ids: Integers, rows: int, steps: int) -> ContinuousBatches:
    """Cut ``ids`` into ``rows`` rows, or fewer where they would be shorter than a batch."""
    return ContinuousBatches(ids, max(1, min(rows, (len(ids) - 1) // steps)), steps)


def _write_curve(rows: list[dict[str, float]], folder: Path) -> list[str]:
    """Write loss.csv and, with matplotlib, loss.png; return a line about each file."""
    with open(folder / "loss.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    lines = [f"model       {folder / 'model.safetensors'}", f"loss curve  {folder / 'loss.csv'}"]
    try:
        figures = _extras.require("matplotlib.figure", "plot")
    except ImportError as error:
        return [*lines, f"no loss.png: {error}"]
    figure = figures.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="seconds", ylabel="nats per character", title="Loss of the character model"
    )
    seconds = [row["seconds"] for row in rows]
    axes.plot(seconds, [row["train_loss"] for row in rows], label="training")
    axes.plot(seconds, [row["validation_loss"] for row in rows], label="held out")
    axes.legend()
    figure.savefig(folder / "loss.png", dpi=120)
    return [*lines, f"            {folder / 'loss.png'}"]
