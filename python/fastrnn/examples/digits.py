"""``fastrnn digits``: which digit was spoken? On the Free Spoken Digit Dataset."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from fastrnn._typing import Array, Integers
from fastrnn.examples.command import CELLS, cell_option, finish, options, train
from fastrnn.layers import Bidirectional, Dense, Dropout
from fastrnn.model import Sequential
from fastrnn.optimizers import Adam
from fastrnn.optimizers.schedules import CosineDecay

TESTED = 5  # recordings 0 .. 4 of each digit and speaker are for testing, as the data set says
BANDS = 26


@dataclass(frozen=True)
class Recordings:
    """Log-mel frames [T_i, bands] of each recording, its digit and its number."""

    frames: list[Array]
    digits: Integers
    numbers: Integers


def read(path: Path) -> Recordings:
    """Read the data set's folder ``recordings``, or frames that were made of it (.npz).

    Raises
    ------
    OSError, ValueError
        If it is something else.
    """
    if path.is_dir():
        folder = path / "recordings" if (path / "recordings").is_dir() else path
        files = sorted(folder.glob("[0-9]_*_*.wav"))
        if not files:
            raise ValueError(f"{path}: expected recordings such as 7_jackson_32.wav, got none")
        parts = [file.stem.split("_") for file in files]
        return Recordings(
            [log_mel(*read_wav(file)) for file in files],
            np.array([int(digit) for digit, *_ in parts]),
            np.array([int(number) for *_, number in parts]),
        )
    try:
        with np.load(path) as file:
            frames = np.split(file["features"].astype(np.float32), file["offsets"][1:-1])
            return Recordings(frames, file["label"].astype(int), file["index"].astype(int))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: expected the folder recordings, or an .npz with features, offsets, label and "
            f"index ({error})"
        ) from None


def read_wav(path: Path) -> tuple[Array, int]:
    """Return the samples, within +-1, and how many of them a second has."""
    try:
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError(f"{path}: expected one channel of 16 bits")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            return samples / 32768.0, file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: expected a WAV file ({error})") from None


def log_mel(samples: Array, rate: int) -> Array:
    """Return the logarithm of the power in 26 bands of the mel scale: frames [T, 26] float32.

    A frame is 25 ms long, under Hann's window, and the next one begins 10 ms later.
    """
    size, step = rate // 40, rate // 100
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::step] * np.hanning(size)
    bins = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, bins)) ** 2
    # Triangles between points that are evenly spaced in mel(f) = 2595 log10(1 + f / 700).
    top = 2595 * np.log10(1 + rate / 2 / 700)
    points = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(bins, 1 / rate)[:, None]
    rising = (frequency - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - frequency) / (points[2:] - points[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    return np.log(power @ filters + 1e-6).astype(np.float32)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="The data set's folder recordings, or an .npz of log-mel frames.",
)
@cell_option
@click.option(
    "--hidden",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Hidden size of each direction.",
)
@options(out="fastrnn-digits", epochs=20)
def command(folder: Path, data: Path, cell: str, hidden: int, epochs: int) -> None:
    """Train a model that tells spoken digits apart.

    Recordings are as long as they are: nothing is cut, and padding costs nothing. The
    learning rate falls to nothing over all --epochs: where a training is gone on with to have more
    of them, it follows the longer course from where it stands, on which the rate is higher again.
    """
    given = read(data)
    tested = given.numbers < TESTED
    trained = np.flatnonzero(~tested)
    every = np.concatenate([given.frames[i] for i in trained])
    mean, deviation = every.mean(axis=0), every.std(axis=0)
    frames = [(each - mean) / deviation for each in given.frames]
    x, x_test = ([frames[i] for i in np.flatnonzero(part)] for part in (~tested, tested))
    y, y_test = given.digits[~tested], given.digits[tested]

    model = Sequential(
        [Bidirectional(CELLS[cell](hidden)), Dropout(0.3), Dense(10, activation="softmax")]
    )
    model.build((None, None, every.shape[1]))
    rate = CosineDecay(3e-3, decay_steps=epochs * -(-len(x) // 32))
    model.compile(Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.metadata = {
        "task": "digits",
        "mean": json.dumps(mean.tolist()),
        "deviation": json.dumps(deviation.tolist()),
    }
    click.echo(
        f"{len(x):,} recordings to train on, {len(x_test):,} to test on; "
        f"{model.count_params():,} parameters"
    )
    history = train(
        model, x, y, folder, batch_size=32, epochs=epochs, validation_data=(x_test, y_test)
    )
    finish(model, history, folder)
    right = (model.predict(x_test).argmax(axis=-1) == y_test).sum()
    click.echo(f"Test accuracy {right / len(y_test):.4f}: {right} of {len(y_test)} recordings")
