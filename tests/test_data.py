"""Batches: of arrays, of sequences of different lengths, and of endless ones."""

import numpy as np
import pytest

import fastrnn
from fastrnn.data import ArrayBatches, Batch, RaggedBatches, as_batch, continuous_batches


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


# ---- arrays --------------------------------------------------------------------------------------


def test_array_batches_cover_every_row_once():
    x, y = np.arange(10), np.arange(10) * 2
    plain = list(ArrayBatches(x, y, 4))
    assert [len(batch) for batch, _ in plain] == [4, 4, 2]
    assert len(ArrayBatches(x, y, 4)) == 3
    assert np.concatenate([batch for batch, _ in plain]).tolist() == x.tolist()
    shuffled = ArrayBatches(x, y, 4, shuffle=True)
    orders = [np.concatenate([batch for batch, _ in shuffled]).tolist() for _ in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == x.tolist()
    assert orders[0] != orders[1]
    assert all(np.array_equal(b, 2 * a) for a, b in shuffled)


def test_sample_weights_go_with_their_rows():
    x = np.arange(10)
    batches = ArrayBatches(x, x, 4, shuffle=True, sample_weight=x * 3)
    assert all(np.array_equal(w, 3 * a) for a, _, w in batches)
    first, last = batches.split(0.3)
    assert first.x.tolist() == list(range(7))
    assert last.sample_weight.tolist() == [21, 24, 27]
    assert not last.shuffle


# ---- sequences -----------------------------------------------------------------------------------


def sequences(count=3000):
    """Of lengths as those of texts are: most short, some long."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.lognormal(3, 0.8, count).astype(int) + 1, 400)
    return [np.full(n, i) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("order", ["shuffled", "by length", "as given"])
def test_ragged_batches_cover_every_sequence_once(order):
    x = sequences(100)
    batches = RaggedBatches(x, np.arange(100), 8, order, sample_weight=np.arange(100) * 2)
    assert len(batches) == len(list(batches)) == 13
    seen = []
    for batch in batches:
        mask = np.ones(batch.x.shape, bool) if batch.mask is None else batch.mask
        for row, exists, label, weight in zip(
            batch.x, mask, batch.y, batch.sample_weight, strict=True
        ):
            assert row[exists].tolist() == x[label].tolist()
            assert not row[~exists].any()
            assert weight == 2 * label
            seen.append(label)
    assert sorted(seen) == list(range(100))
    if order == "as given":
        assert seen == sorted(seen)


def padding_of(batches):
    return 1 - sum(map(len, sequences())) / sum(batch.x.size for batch in batches)


def test_sequences_of_about_one_length_share_a_batch_and_little_is_padded():
    x, y = sequences(), np.zeros(3000)
    as_given = padding_of(RaggedBatches(x, y, 32, "as given"))
    shuffled = padding_of(RaggedBatches(x, y, 32))
    by_length = padding_of(RaggedBatches(x, y, 32, "by length"))
    assert as_given > 0.5
    # The tail of the longest sequences fills no batch with its like.
    assert by_length < shuffled < 0.12


def test_shuffled_sequences_meet_others_in_each_epoch():
    batches = RaggedBatches(sequences(), np.arange(3000), 32)
    epochs = [[frozenset(batch.y.tolist()) for batch in batches] for _ in range(2)]
    assert not set(epochs[0]) & set(epochs[1])
    lengths = [len(sequences()[min(rows)]) for rows in epochs[0]]
    assert lengths != sorted(lengths)


def test_targets_of_steps_are_padded_with_their_sequences():
    x = sequences(20)
    y = [np.stack([row, -row], axis=1) for row in x]
    for batch in RaggedBatches(x, y, 4):
        assert batch.y.shape == (*batch.x.shape, 2)
        assert np.array_equal(batch.y[..., 0], batch.x)


def test_as_many_numbers_for_each_sequence_are_targets_of_the_sequence():
    x, y = [[1, 2, 3], [4, 5], [6]], [[0, 1], [1, 0], [1, 1]]
    (batch,) = RaggedBatches(x, y, 4, "as given")
    assert batch.y.tolist() == y
    assert as_batch((x, y)).y.tolist() == y


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1, 2], []], [0, 1]), r"x\[1\]: expected at least one step"),
        (([[1, 2], [3]], [0]), "y: expected 2 rows"),
        (([[1, 2], [3]], [[0, 1], [1, 0, 0]]), r"y\[1\]: expected 1 steps, as x\[1\] has, got 3"),
        (([[1.0, np.nan], [3]], [0, 1]), r"x\[0\]: expected finite numbers, got nan in row 1"),
        (([[1, 2], ["a"]], [0, 1]), r"x\[1\]: expected numbers"),
        (([[[1, 2]], [[1, 2, 3]]], [0, 1]), "x: expected steps of one shape"),
        ((np.arange(3), [0, 1, 2]), "x: expected a list of sequences"),
        (([], []), "at least one row"),
        (([[1, 2], [3]], [0, 1], 2, "random"), "order: expected one of .* got 'random'"),
    ],
)
def test_sequences_that_do_not_fit_are_named(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        RaggedBatches(*arguments)


# ---- one batch -----------------------------------------------------------------------------------


def test_a_batch_is_made_of_what_generators_yield():
    x, y = np.ones((2, 3)), np.zeros(2)
    assert as_batch((x, y)).sample_weight is None
    assert as_batch([x, y, [1, 2]]).sample_weight.tolist() == [1, 2]
    assert as_batch((x,)).y is None
    given = Batch(x, y, reset=np.array([1]))
    assert as_batch(given).reset.tolist() == [1]
    made = as_batch(([[1, 2], [3]], [[4, 5], [6]], [[7, 8], [9]]))
    assert made.x.tolist() == [[1, 2], [3, 0]]
    assert made.y.tolist() == [[4, 5], [6, 0]]
    assert made.sample_weight.tolist() == [[7, 8], [9, 0]]
    assert made.mask.tolist() == [[True, True], [True, False]]


# ---- endless sequences ---------------------------------------------------------------------------


def test_continuous_batches_continue_each_other_row_by_row():
    batches = continuous_batches(np.arange(31), batch_size=3, steps=4)
    seen = list(batches)
    assert len(batches) == len(seen) == 3
    assert [x.shape for x, _ in seen] == [(3, 4), (3, 4), (3, 2)]
    rows = np.concatenate([x for x, _ in seen], axis=1)
    assert rows.tolist() == np.arange(30).reshape(3, 10).tolist()
    assert all(np.array_equal(y, x + 1) for x, y in seen)
    with pytest.raises(ValueError, match="at least 4"):
        continuous_batches([1, 2, 3], 3, 1)
    with pytest.raises(ValueError, match="one dimension"):
        continuous_batches(np.ones((2, 3)), 1, 1)


def test_several_sequences_are_read_row_by_row_each_to_its_end():
    documents = [np.arange(100 * i, 100 * i + n) for i, n in enumerate((13, 4, 2, 9, 21, 6), 1)]
    read = {}
    row_reads = [None, None]
    for batch in continuous_batches(documents, batch_size=2, steps=5):
        assert batch.x.shape == batch.y.shape == batch.mask.shape
        assert batch.x.shape[1] <= 5
        for row in range(2):
            exists = batch.mask[row]
            if row in batch.reset:
                row_reads[row] = batch.x[row, 0] // 100 if exists.any() else None
            assert exists.tolist() == sorted(exists.tolist(), reverse=True)
            if exists.any():
                read.setdefault(row_reads[row], []).extend(batch.x[row, exists].tolist())
                assert np.array_equal(batch.y[row, exists], batch.x[row, exists] + 1)
    assert {i: documents[i - 1][:-1].tolist() for i in read} == read
    assert len(read) == len(documents)


def test_several_sequences_of_floats_stay_floats():
    series = [np.arange(n, dtype=np.float32) + 0.5 for n in (4, 6)]
    x, y = next((b.x, b.y) for b in continuous_batches(series, batch_size=2, steps=3))
    assert x.dtype == y.dtype == np.float32
    assert x.tolist() == [[0.5, 1.5, 2.5]] * 2
    assert y.tolist() == [[1.5, 2.5, 3.5]] * 2
    with pytest.raises(TypeError, match="ids: expected sequences of one type, got float64 and int"):
        continuous_batches([[1, 2], [0.5, 1.5]], 1, 5)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([[1, 2], [3]], r"ids\[1\]"),
        ([[[1, 2]], [[3, 4]]], r"ids\[0\]"),
        ([[1, 2], []], r"ids\[1\]"),
    ],
)
def test_sequences_that_cannot_be_predicted_are_named(documents, words):
    with pytest.raises(ValueError, match=words):
        list(continuous_batches(documents, 1, 5))
