"""Reviews are read from every form in which they are public, and what is wrong is named."""

import codecs
import csv
import gzip
import io
import lzma
import pickle
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest

import fastrnn
from fastrnn.examples import reviews

ROWS = [("a fine film", 1), ('dull, "very" dull', 0), ("so\nmoving", 1), ("bad é", 0)]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def csv_text(rows=ROWS, header=("id", "label", "text"), labels=("neg", "pos")):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows((i, labels[label], text) for i, (text, label) in enumerate(rows))
    return out.getvalue().encode()


def folder_of(path):
    for part in ("train", "test"):
        for name, label in (("neg", 0), ("pos", 1), ("unsup", None)):
            (path / part / name).mkdir(parents=True)
            chosen = [text for text, each in ROWS if each == label] or ["no label"]
            for i, text in enumerate(chosen):
                (path / part / name / f"{i}_7.txt").write_text(f"{part} {text}", "utf-8")
    return path


def assert_are_the_rows(found, prefix=""):
    expected = {(prefix + text, label) for text, label in ROWS}
    assert set(zip(found.train, found.train_labels.tolist(), strict=True)) == expected
    assert not found.are_ids


def test_the_folder_and_its_archive_hold_the_same_reviews_in_one_order(tmp_path):
    folder = folder_of(tmp_path / "aclImdb")
    archive = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        # In another order than the folder's.
        for path in sorted(folder.rglob("*.txt"), reverse=True):
            file.add(path, path.relative_to(tmp_path))
    by_folder, by_archive = reviews.read(folder), reviews.read(archive)
    assert_are_the_rows(by_folder, "train ")
    assert by_folder.train == by_archive.train
    assert by_folder.test == by_archive.test
    assert by_folder.test[0].startswith("test ")
    assert by_folder.train_labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.csv", bytes),
        ("a.csv.gz", gzip.compress),
        ("a.csv.xz", lzma.compress),
        ("a.csv", codecs.BOM_UTF8.__add__),  # as Excel saves it
    ],
)
def test_a_csv_file_may_be_packed_and_have_other_columns(tmp_path, name, pack):
    path, test = tmp_path / name, tmp_path / "test.csv"
    path.write_bytes(pack(csv_text()))
    test.write_bytes(csv_text(ROWS[:2], labels=("0", "1")))
    found = reviews.read(path, test)
    assert_are_the_rows(found)
    assert found.test == [text for text, _ in ROWS[:2]]
    assert found.test_labels.tolist() == [1, 0]


def test_a_folder_may_hold_a_csv_file_for_each_part(tmp_path):
    (tmp_path / "my_train.csv.gz").write_bytes(gzip.compress(csv_text()))
    (tmp_path / "my_test.csv").write_bytes(csv_text(ROWS[:2]))
    found = reviews.read(tmp_path)
    assert_are_the_rows(found)
    assert len(found.test) == 2


def test_of_one_csv_file_a_fifth_is_held_out(tmp_path):
    path = tmp_path / "all.csv"
    rows = [(f"{text} {i}", label) for i in range(25) for text, label in ROWS]
    path.write_bytes(csv_text(rows))
    found = reviews.read(path)
    assert (len(found.train), len(found.test)) == (80, 20)
    assert sorted(found.train + found.test) == sorted(text for text, _ in rows)


def keras_npz(path, x=([1, 5, 2], [7]), y=(0, 1)):
    """As Keras's imdb.npz: arrays of lists of ranks, pickled."""
    arrays = {
        f"{kind}_{part}": np.array(values, dtype=object if kind == "x" else np.int64)
        for part in ("train", "test")
        for kind, values in (("x", list(map(list, x))), ("y", y))
    }
    np.savez(path, **arrays)
    return path


def test_kerass_file_is_read_as_kerass_load_data_reads_it(tmp_path):
    found = reviews.read(keras_npz(tmp_path / "imdb.npz"))
    assert found.are_ids
    assert found.train == [[1, 4, 8, 5], [1, 10]]
    assert found.train_labels.tolist() == [0, 1]


def test_a_pickle_that_makes_anything_but_arrays_is_refused(tmp_path):
    path = keras_npz(tmp_path / "imdb.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    members["x_train.npy"] = header.getvalue() + pickle.dumps(Evil())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"print is no array"):
        reviews.read(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", csv_text(header=("id", "sentiment", "text")), "expected columns text and label"),
        ("a.csv", b"", "expected columns text and label"),
        ("a.csv", csv_text(labels=("neg", "great")), "line 2: expected a label of .*'great'"),
        ("a.csv", csv_text([*ROWS, ("  ", 1)]), "line 7: expected a text"),
        ("a.csv", csv_text(ROWS[:1]), "expected positive and negative"),
        ("a.csv", "label,text\npos,é\n".encode("latin-1"), "whole CSV file in UTF-8"),
        ("a.csv.xz", lzma.compress(csv_text())[:-9], "whole CSV file"),
        ("a.csv.gz", b"no gzip", "whole CSV file"),
        ("a.npz", b"no zip", r"expected Keras's imdb\.npz"),
        ("a.tar.gz", b"no archive", "expected a tar archive"),
        ("a.tar.gz", gzip.compress(b"no archive", mtime=0), "expected a tar archive"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        reviews.read(path)


def test_other_npz_files_and_empty_folders_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(ValueError, match=r"expected Keras's imdb\.npz"):
        reviews.read(tmp_path / "other.npz")
    numbers = dict.fromkeys(("x_train", "x_test", "y_test"), np.ones((4, 3), int))
    np.savez(tmp_path / "imdb.npz", y_train=np.ones(5, int), **numbers)
    with pytest.raises(ValueError, match=r"imdb\.npz: expected as many labels as reviews to train"):
        reviews.read(tmp_path / "imdb.npz")
    with pytest.raises(ValueError, match="'train' in its name, got"):
        reviews.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        reviews.read(tmp_path / "missing")


# ---- the download --------------------------------------------------------------------------------


def test_without_a_path_the_archive_is_downloaded_with_its_checksum(tmp_path, monkeypatch):
    asked = []

    def retrieve(url, known_hash, **options):
        asked.append((url, known_hash))
        return str(tmp_path / "archive")

    package = types.SimpleNamespace(retrieve=retrieve, os_cache=lambda name: tmp_path / name)
    monkeypatch.setitem(sys.modules, "pooch", package)
    assert reviews.download() == tmp_path / "archive"
    assert asked == [(reviews.URL, f"sha256:{reviews.SHA256}")]


def test_without_pooch_too_it_is_said_how_to_give_a_path(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'fastrnn\[data\]'.*--data PATH takes"):
        reviews.read(None)


def test_offline_it_is_said_how_to_give_a_path(monkeypatch):
    def retrieve(*arguments, **options):
        raise ConnectionError("no route to host")

    package = types.SimpleNamespace(retrieve=retrieve, os_cache=lambda name: name)
    monkeypatch.setitem(sys.modules, "pooch", package)
    with pytest.raises(OSError, match=r"no route to host.*--data PATH takes the folder aclImdb"):
        reviews.read(None)
