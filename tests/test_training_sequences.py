"""Training on sequences of different lengths, and on those that go on from batch to batch."""

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, SGD, Dense, Embedding, Sequential
from fastrnn.data import Batch, continuous_batches
from toys import ragged, tagger, toy_model


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


# ---- sequences of different lengths --------------------------------------------------------------


def test_sequences_of_different_lengths_train_as_each_alone():
    x = ragged()
    y = np.array([row[0] % 2 for row in x])
    model = toy_model()
    p = model.predict(x, batch_size=8)
    assert p.shape == (40, 1)
    alone = np.concatenate([model.predict(row[None]) for row in x])
    assert p.tobytes() == alone.tobytes()
    losses = -np.log(np.where(y[:, None], p, 1 - p))
    assert model.evaluate(x, y, batch_size=8)[0] == pytest.approx(losses.mean(), rel=1e-5)
    history = model.fit(x, y, epochs=30, batch_size=8, validation_split=0.2, verbose=0).history
    assert history["loss"][-1] < 0.2 < history["loss"][0]


def test_a_target_for_each_step_of_sequences_counts_each_step_once():
    x = ragged()
    y = [row % 3 for row in x]
    model = tagger()
    outputs = model.predict(x, batch_size=8)
    assert [p.shape for p in outputs] == [(len(row), 3) for row in x]
    assert all(
        p.tobytes() == model.predict(row[None])[0].tobytes()
        for p, row in zip(outputs, x, strict=True)
    )
    chosen = np.concatenate([p[np.arange(len(t)), t] for p, t in zip(outputs, y, strict=True)])
    right = np.concatenate([p.argmax(-1) == t for p, t in zip(outputs, y, strict=True)])
    for size in (1, 8, 40):
        loss, accuracy = model.evaluate(x, y, batch_size=size)
        assert loss == pytest.approx(-np.log(chosen).mean(), rel=1e-5)
        assert accuracy == pytest.approx(right.mean())
    weights = [np.linspace(0, 1, len(row)) for row in x]
    weighted = model.evaluate(x, y, sample_weight=weights)[0]
    expected = -(np.concatenate(weights) * np.log(chosen)).mean()
    assert weighted == pytest.approx(expected, rel=1e-5)
    history = model.fit(x, y, epochs=30, batch_size=8, verbose=0).history
    assert history["accuracy"][-1] > 0.95


def test_a_padded_batch_with_its_mask_is_the_sequences():
    x = ragged(8)
    y = [row % 3 for row in x]
    steps = max(map(len, x))
    padded, targets = np.zeros((8, steps), int), np.full((8, steps), -1)
    for b, (row, target) in enumerate(zip(x, y, strict=True)):
        padded[b, : len(row)], targets[b, : len(row)] = row, target
    mask = np.arange(steps) < np.array([len(row) for row in x])[:, None]
    results = []
    for given in ((x, y), (Batch(padded, targets, mask=mask),)):
        fastrnn.set_seed(0)
        model = tagger()
        figures = model.train_on_batch(*given)
        results.append((figures, [w.tobytes() for w in model.get_weights()]))
    assert results[0] == results[1]


def test_what_stands_at_masked_steps_may_be_nan():
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    mask = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    figures = []
    for filled in (0.0, np.nan):
        fastrnn.set_seed(0)
        model = Sequential([GRU(5), Dense(1)])
        model.compile("adam", "mse")
        batch = Batch(np.where(mask[..., None], x, filled), np.ones(4), mask=mask)
        history = model.fit([batch], epochs=2, verbose=0).history
        figures.append((history, model.predict_on_batch(batch).tobytes()))
    assert figures[0] == figures[1]
    with pytest.raises(ValueError, match="x: expected finite numbers, got nan in row 1"):
        model.train_on_batch(Batch(np.where(mask[..., None], x, np.nan), np.ones(4), mask=~mask))


@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        ("sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy"),
        ("categorical_crossentropy", "auc"),
        ("binary_crossentropy", "precision"),
        ("huber", "mae"),
    ],
)
@pytest.mark.parametrize("class_weight", [None, {0: 2.0, 2: 0.5}])
def test_targets_of_masked_steps_may_be_nan(loss, metric, class_weight):
    ids = np.random.default_rng(0).integers(0, 10, (4, 5))
    mask = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    y = np.eye(3)[ids % 3] if loss != "sparse_categorical_crossentropy" else (ids % 3) * 1.0
    places = mask if y.ndim == 2 else mask[..., None]
    figures = []
    for filled in (y, np.nan, -7.5):
        fastrnn.set_seed(0)
        model = tagger()
        model.compile("adam", loss, [metric])
        batch = Batch(ids, np.where(places, y, filled), mask=mask)
        history = model.fit([batch], epochs=2, class_weight=class_weight, verbose=0).history
        figures.append((history, model.evaluate([batch])))
    assert figures[0] == figures[1] == figures[2]


def test_features_may_be_ragged_too():
    x = [np.random.default_rng(len(row)).normal(size=(len(row), 3)) for row in ragged(20)]
    model = Sequential([GRU(5), Dense(2)])
    model.compile("adam", "mse")
    model.fit(x, np.zeros((20, 2)), epochs=2, verbose=0)
    assert model.predict(x).shape == (20, 2)


# ---- sequences that go on from batch to batch ----------------------------------------------------


def test_a_stateful_model_is_evaluated_as_on_one_sequence_and_its_training_state_kept():
    ids = np.random.default_rng(0).integers(0, 5, size=101)
    model = Sequential(
        [
            Embedding(5, 4),
            GRU(6, return_sequences=True, stateful=True),
            Dense(5, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    losses = [model.evaluate(continuous_batches(ids, 2, steps)) for steps in (7, 50)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    x, y = next(iter(continuous_batches(ids, 2, 10)))
    model.train_on_batch(x, y)
    before = model.get_states()
    model.evaluate(continuous_batches(ids, 4, 7))
    assert all(a is b for a, b in zip(before, model.get_states(), strict=True))


def test_fit_begins_each_epoch_of_a_stateful_model_with_zeros():
    ids = np.random.default_rng(0).integers(0, 5, size=41)
    model = Sequential(
        [
            Embedding(5, 4),
            LSTM(6, return_sequences=True, stateful=True),
            Dense(5, activation="softmax"),
        ]
    )
    # With a learning rate of 0 every epoch is the same.
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    losses = model.fit(continuous_batches(ids, 2, 10), epochs=3, verbose=0).history["loss"]
    assert losses[0] == losses[1] == losses[2]
    assert losses[0] == pytest.approx(model.evaluate(continuous_batches(ids, 2, 20)), rel=1e-6)


def test_with_steps_per_epoch_a_state_goes_on_until_the_data_begins_anew():
    ids = np.random.default_rng(0).integers(0, 5, size=41) % 3
    batches, model = list(continuous_batches(ids, 2, 5)), tagger(stateful=True)
    # With a learning rate of 0 every pass is the same.
    model.compile(SGD(0.0), "sparse_categorical_crossentropy")
    one_pass = [model.train_on_batch(*batch) for batch in batches]
    history = model.fit(batches, epochs=2, steps_per_epoch=6, verbose=0).history
    expected = np.reshape(one_pass * 3, (2, 6)).mean(axis=1)
    assert len(batches) == 4
    assert history["loss"] == pytest.approx(expected, rel=1e-6)
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)


def test_a_row_is_reset_where_a_batch_says_so():
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 10, n) for n in (13, 4, 8, 9, 21)]
    model = Sequential(
        [
            Embedding(10, 4),
            GRU(6, return_sequences=True, stateful=True),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    loss = model.evaluate(continuous_batches(documents, batch_size=2, steps=5))
    of_steps = [
        -np.log(p[np.arange(len(d) - 1), d[1:]])
        for d in documents
        for p in [_alone(model, d[None, :-1])]
    ]
    assert loss == pytest.approx(np.concatenate(of_steps).mean(), rel=1e-5)


def test_the_rows_to_reset_may_be_a_list():
    x = np.random.default_rng(0).integers(1, 10, (4, 5))
    model = tagger(stateful=True)
    figures = []
    for reset in ([3], np.array([3])):
        model.reset_states()
        model.test_on_batch(x, x % 3)
        figures.append(model.test_on_batch(Batch(x, x % 3, reset=reset)))
    assert figures[0] == figures[1]
    model.fit([Batch(x, x % 3, reset=[3]), Batch(x, x % 3, reset=[])], verbose=0)
    assert model.predict_on_batch(Batch(x, reset=[0, 1])).shape == (4, 5, 3)
    with pytest.raises(TypeError, match="rows: expected a list of ints, got 2"):
        model.reset_states(2)
    for reset, words in ((3, "reset: expected an array"), ([0.5], "reset: expected whole")):
        with pytest.raises(ValueError, match=words):
            model.train_on_batch(Batch(x, x % 3, reset=reset))


def _alone(model, ids):
    model.reset_states()
    output = model.predict(ids)[0]
    model.reset_states()
    return output
