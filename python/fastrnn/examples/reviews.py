"""Film reviews and whether they are positive, in the forms in which they are public.

The Large Movie Review Dataset (Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL
2011): its folder ``aclImdb`` or its archive, CSV files made of it, or Keras's ``imdb.npz``.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from fastrnn import _extras, random
from fastrnn._typing import Array, Integers

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"

Labelled: TypeAlias = Iterable[tuple[Any, int]]

_LABELS = {"pos": 1, "positive": 1, "1": 1, "neg": 0, "negative": 0, "0": 0}
_HELD_OUT = 0.2
_HERE = (
    "Where they are already, say so: --data PATH takes the folder aclImdb, its tar.gz, a CSV file "
    "of text,label or Keras's imdb.npz"
)


@dataclass(frozen=True)
class Reviews:
    """Texts, or lists of ids, and their labels: 1 for a positive review, 0 for a negative one."""

    train: list[Any]
    train_labels: Integers
    test: list[Any]
    test_labels: Integers

    @property
    def are_ids(self) -> bool:
        """Whether the reviews are ids rather than texts."""
        return not isinstance(self.train[0], str)


def read(path: Path | None, test: Path | None = None) -> Reviews:
    """Read reviews.

    Parameters
    ----------
    path : Path, optional
        The folder ``aclImdb``, its tar.gz, a CSV file with the columns ``text`` and ``label`` (also
        .gz or .xz), a folder with one such file for training ("train" in its name) and one for
        testing, or Keras's ``imdb.npz``. Without it the archive is downloaded once (84 MB).
    test : Path, optional
        A CSV file to test on, where ``path`` is one; else a fifth of it, drawn at random, is.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or is something else.
    """
    path = download() if path is None else path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir() and not (path / "train").is_dir():
        path, test = _one(path, "train"), test or _one(path, "test")
    if path.is_dir():
        return _reviews(path, *(lambda part=part: _folder(path, part) for part in PARTS))
    if path.suffix == ".npz":
        arrays = _npz(path)
        return _reviews(path, *(lambda part=part: arrays[part] for part in PARTS))
    if _csv_suffix(path):
        if test is not None:
            return _reviews(path, lambda: _csv(path), lambda: _csv(test))
        return _split(path, list(_csv(path)))
    parts = _archive(path)
    return _reviews(path, *(lambda part=part: parts[part] for part in PARTS))


PARTS = ("train", "test")


def download() -> Path:
    """Return the archive, from the cache or the web.

    Raises
    ------
    ImportError
        Without `pooch`; the message names the ``pip install`` line.
    OSError
        If it is not in the cache and the web cannot be reached.
    """
    try:
        pooch = _extras.require("pooch", "data")
    except ImportError as error:
        raise ImportError(f"{error}, to download the reviews. {_HERE}") from error
    try:
        return Path(
            pooch.retrieve(
                URL, f"sha256:{SHA256}", path=pooch.os_cache("fastrnn"), progressbar=True
            )
        )
    except Exception as error:  # whatever stands between us and the server
        raise OSError(
            f"The reviews could not be downloaded from {URL} ({error}). {_HERE}"
        ) from error


def _reviews(path: Path, train: Callable[[], Labelled], test: Callable[[], Labelled]) -> Reviews:
    parts: list[Any] = []
    for name, labelled in zip(PARTS, (train, test), strict=True):
        rows = list(labelled())
        if len({label for _, label in rows}) < 2:
            raise ValueError(f"{path}: expected positive and negative reviews to {name} with")
        parts += [[x for x, _ in rows], np.array([label for _, label in rows])]
    return Reviews(*parts)


def _split(path: Path, rows: list[tuple[str, int]]) -> Reviews:
    """Hold a part of the reviews out, drawn at random."""
    order = random.generator().permutation(len(rows))
    held = int(len(rows) * _HELD_OUT)
    return _reviews(
        path, lambda: (rows[i] for i in order[held:]), lambda: (rows[i] for i in order[:held])
    )


# ---- aclImdb -------------------------------------------------------------------------------------


def _folder(path: Path, part: str) -> Iterator[tuple[str, int]]:
    for label in ("neg", "pos"):
        for file in sorted((path / part / label).glob("*.txt")):
            yield file.read_text(encoding="utf-8"), _LABELS[label]


def _archive(path: Path) -> dict[str, list[tuple[str, int]]]:
    """Read the texts out of the archive, in the order of the folder."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    found: dict[tuple[str, ...], str] = {}
    try:
        with tarfile.open(path) as archive:
            for member in tqdm(archive, f"Reading {path.name}", unit=" files", disable=None):
                place = tuple(member.name.split("/")[-3:])
                if len(place) == 3 and place[0] in PARTS and place[1] in ("neg", "pos"):
                    file = archive.extractfile(member)
                    if file is not None and place[2].endswith(".txt"):
                        found[place] = file.read().decode("utf-8")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a tar archive of aclImdb ({error})") from None
    parts: dict[str, list[tuple[str, int]]] = {part: [] for part in PARTS}
    for part, label, name in sorted(found):
        parts[part].append((found[part, label, name], _LABELS[label]))
    return parts


# ---- CSV -----------------------------------------------------------------------------------------


def _csv_suffix(path: Path) -> bool:
    return ".csv" in path.suffixes[-2:]


def _one(folder: Path, part: str) -> Path:
    files = [file for file in sorted(folder.glob("*.csv*")) if part in file.name]
    if len(files) != 1:
        raise ValueError(
            f"{folder}: expected the folders train and test of aclImdb, or one CSV file with "
            f"{part!r} in its name, got {[file.name for file in files]}"
        )
    return files[0]


def _csv(path: Path) -> Iterator[tuple[str, int]]:
    openers: dict[str, Callable[..., IO[str]]] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix, open)
    csv.field_size_limit(2**24)  # the default of 131,072 bytes is less than the longest review
    try:
        # Excel puts a mark before the first column's name, which -sig leaves out.
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames is None or not {"text", "label"} <= set(rows.fieldnames):
                raise ValueError(
                    f"{path}: expected columns text and label, got {rows.fieldnames or []}"
                )
            for row in rows:
                label = (row["label"] or "").strip().lower()
                if label not in _LABELS:
                    raise ValueError(
                        f"{path}, line {rows.line_num}: expected a label of {sorted(_LABELS)}, got "
                        f"{row['label']!r}"
                    )
                if not (row["text"] or "").strip():
                    raise ValueError(f"{path}, line {rows.line_num}: expected a text, got none")
                yield row["text"], _LABELS[label]
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a whole CSV file in UTF-8 ({error})") from None


# ---- Keras's imdb.npz ----------------------------------------------------------------------------

START, UNKNOWN, FIRST = 1, 2, 3
"""What Keras's load_data puts first, what it puts for rare words, and adds to a word's rank."""


def _npz(path: Path) -> dict[str, Labelled]:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                name: _array(archive, f"{name}.npy")
                for name in ("x_train", "y_train", "x_test", "y_test")
            }
    except (zipfile.BadZipFile, KeyError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{path}: expected Keras's imdb.npz ({error})") from None
    for part in PARTS:
        texts, labels = (np.shape(arrays[f"{kind}_{part}"])[:1] for kind in "xy")
        if texts != labels or not texts:
            raise ValueError(
                f"{path}: expected as many labels as reviews to {part} with, got shapes {labels} "
                f"of y_{part} and {texts} of x_{part}"
            )
    return {
        part: [
            ([START, *(rank + FIRST for rank in ranks)], int(label))
            for ranks, label in zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
        ]
        for part in PARTS
    }


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """Read an array of numbers or lists; a pickle may make nothing else."""
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(name) as file:
        *_, dtype = read_header[np.lib.format.read_magic(file)](file)
        if dtype.hasobject:
            return np.asarray(_ArraysOnly(file).load())
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file))


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.partition(".")[0] == "numpy" and name in allowed:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")
