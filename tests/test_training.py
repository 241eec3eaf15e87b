"""The training loop: fit, evaluate, predict, one batch."""

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, SGD, Dense, Dropout, Embedding, Sequential
from fastrnn.data import Batch
from toys import tagger, toy_model, toy_task


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


# ---- fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_a_model_learns_to_remember_the_first_id(cell):
    x, y = toy_task()
    model = toy_model(cell)
    history = model.fit(x, y, epochs=20, batch_size=32, validation_split=0.25, verbose=0)
    assert history is model.history
    assert history.epoch == list(range(20))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.history["loss"][-1] < 0.2 < history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.9
    assert ((model.predict(x)[:, 0] > 0.5) == y).mean() > 0.9
    assert (history.complete, history.interrupted, history.partial) == (True, False, False)


def test_two_runs_with_one_seed_are_equal_bit_for_bit():
    x, y = toy_task(64)
    runs = []
    for seed in (3, 3, 4):
        fastrnn.set_seed(seed)
        model = Sequential(
            [
                Embedding(10, 8),
                LSTM(8, num_layers=2, stack_dropout=0.2),
                Dropout(0.3),
                Dense(2, activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, epochs=2, verbose=0).history
        runs.append((history, [w.tobytes() for w in model.get_weights()]))
    assert runs[0] == runs[1] != runs[2]


def test_a_frozen_layer_stays_as_it_was():
    x, y = toy_task(32)
    model = toy_model()
    model.build((None, None))
    model.layers[0].trainable = False
    before = {name: p.copy() for name, p in model.parameters.items()}
    model.fit(x, y, verbose=0)
    changed = {name for name, p in model.parameters.items() if not np.array_equal(p, before[name])}
    assert changed == {name for name in before if not name.startswith("embedding")}


def test_validation_split_leaves_the_end_out_of_training():
    x, y = toy_task(40)
    seen = []
    model = toy_model()
    look_up = model.layers[0].rows

    def rows(ids, *, training=False):
        if training:
            seen.extend(ids.tolist())
        return look_up(ids, training=training)

    model.layers[0].rows = rows
    model.fit(x, y, validation_split=0.25, verbose=0)
    assert sorted(seen) == sorted(x[:30].tolist())
    assert seen != x[:30].tolist()


@pytest.mark.parametrize("rows", [np.asarray, lambda x: [row[: 3 + row[0] % 3] for row in x]])
def test_a_validation_has_batches_of_its_own_size(rows):
    x, y = toy_task(40)
    counts = []
    note = fastrnn.callbacks.LambdaCallback(
        on_test_begin=lambda logs: counts.append(0),
        on_test_batch_end=lambda batch, logs: counts.append(counts.pop() + 1),
    )
    options = {"batch_size": 5, "callbacks": note, "verbose": 0}
    data = {"validation_split": 0.25}, {"validation_data": (rows(x[:10]), y[:10])}
    for given in data:
        for size in ({}, {"validation_batch_size": 2}):
            toy_model().fit(rows(x), y, **given, **size, **options)
    assert counts == [2, 5] * 2


def test_validation_data_may_have_weights():
    x, y = toy_task(40)
    weights = np.linspace(0, 1, 40)
    model = toy_model(optimizer=SGD(0.0))
    history = model.fit(x, y, validation_data=(x, y, weights), verbose=0).history
    expected = model.evaluate(x, y, sample_weight=weights, return_dict=True)
    assert history["val_loss"][0] == expected["loss"]
    assert expected["loss"] < model.evaluate(x, y, return_dict=True)["loss"]


def test_validation_data_may_be_a_list_of_arrays_or_of_batches():
    x, y = toy_task(20)
    seen = []
    halves = [[x[:10], y[:10]], [x[10:], y[10:]]]
    for data in ((x, y), [x, y], [x, y, np.ones(20)], [(x, y)], halves):
        fastrnn.set_seed(0)
        seen.append(toy_model().fit(x, y, validation_data=data, verbose=0).history["val_loss"][0])
    assert seen == pytest.approx([seen[0]] * 5, rel=1e-6)


def test_fit_takes_batches_and_says_when_a_generator_is_used_up():
    x, y = toy_task(20)
    model = toy_model()
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    history = model.fit(batches, epochs=2, validation_data=batches, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert model.evaluate(batches) == model.evaluate(x, y, batch_size=10)
    with pytest.raises(ValueError, match="no batches in epoch 2; a generator serves one pass"):
        model.fit((batch for batch in batches), epochs=2, verbose=0)
    # What was trained in the first epoch is not lost.
    assert model.history.epoch == [0]
    assert not model.history.complete


def test_steps_per_epoch_go_on_where_the_last_epoch_ended():
    x, y = toy_task(50)
    seen = []

    def batches():
        for start in range(0, 50, 10):
            seen.append(start)
            yield x[start : start + 10], y[start : start + 10]

    model = toy_model()
    history = model.fit(batches(), epochs=2, steps_per_epoch=2, verbose=0)
    assert history.epoch == [0, 1]
    assert seen == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="only 2 of 3 batches in epoch 2"):
        model.fit(batches(), epochs=2, steps_per_epoch=3, verbose=0)


def test_steps_of_arrays_begin_again_after_their_end():
    x, y = toy_task(30)
    model = toy_model()
    model.fit(x, y, batch_size=10, epochs=3, steps_per_epoch=5, verbose=0)
    assert model.optimizer.iterations == 15
    # The same terms, added up in two batches or in one.
    by_steps, at_once = model.evaluate(x, y, batch_size=10, steps=2), model.evaluate(x[:20], y[:20])
    assert by_steps == pytest.approx(at_once, rel=2.0**-50)
    assert np.array_equal(model.predict(x[:20], batch_size=10), model.predict(x[:20]))


def test_an_evaluation_ends_with_the_data_and_says_so():
    x, y = toy_task(30)
    model, batches = toy_model(optimizer=SGD(0.0)), [(x[:10], y[:10]), (x[10:], y[10:])]
    for data in ((x, y, 20), (batches,), (iter(batches),)):
        with pytest.warns(UserWarning, match="x: expected 5 batches, got 2") as warnings:
            figures = model.evaluate(*data, steps=5)
        assert warnings[0].filename == __file__
        assert figures == pytest.approx(model.evaluate(x, y), rel=1e-6)
    with pytest.warns(UserWarning, match="validation_data: expected 3 batches, got 2"):
        model.fit(x, y, validation_data=batches, validation_steps=3, verbose=0)
    assert model.history.history["val_loss"] == pytest.approx([figures[0]], rel=1e-6)


def test_fit_begins_at_the_initial_epoch():
    history = toy_model().fit(*toy_task(20), epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


class Numbered:
    """Batches as Keras's Sequence has them; it answers to any number."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, number):
        rows = slice(10 * (number % 2), 10 * (number % 2) + 10)
        return self.x[rows], self.y[rows]


def test_batches_that_are_asked_for_by_number_are_as_many_as_they_say():
    x, y = toy_task(20)
    model, batches = toy_model(), Numbered(x, y)
    model.fit(batches, epochs=3, validation_data=batches, verbose=0)
    assert model.optimizer.iterations == 6
    assert model.evaluate(batches) == model.evaluate(x, y, batch_size=10)
    assert model.predict(batches).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize("iterable", [False, True])
def test_batches_are_told_when_a_pass_over_them_has_ended(iterable):
    x, y = toy_task(20)
    events = []

    class Shuffled(Numbered):
        def __getitem__(self, number):
            events.append(number)
            return super().__getitem__(number)

        def on_epoch_end(self):
            events.append("end")

    class Iterable(Shuffled):
        def __iter__(self):
            return (self[number] for number in range(len(self)))

    batches = (Iterable if iterable else Shuffled)(x, y)
    model = toy_model()
    model.fit(batches, epochs=2, verbose=0)
    assert events == [0, 1, "end"] * 2
    del events[:]
    model.fit(batches, steps_per_epoch=3, verbose=0)
    assert events == [0, 1, "end", 0]


def test_no_epochs_train_nothing():
    x, y = toy_task(20)
    model = toy_model()
    hooks = []
    note = fastrnn.callbacks.LambdaCallback(
        on_train_begin=lambda logs: hooks.append("begin"),
        on_train_end=lambda logs: hooks.append("end"),
    )
    history = model.fit(x, y, epochs=0, callbacks=note, verbose=0)
    assert (history.epoch, history.history, hooks) == ([], {}, ["begin", "end"])
    assert model.fit(x, y, epochs=2, initial_epoch=2, verbose=0).epoch == []
    assert model.optimizer.iterations == 0


# ---- weights -------------------------------------------------------------------------------------


def steps_with(**options):
    x, y = toy_task(32)
    fastrnn.set_seed(0)
    model = toy_model(optimizer=SGD(0.5))
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, **options)
    return [w.tobytes() for w in model.get_weights()]


def test_class_weights_are_sample_weights_by_class():
    _, y = toy_task(32)
    by_class = steps_with(class_weight={1: 3.0})
    assert by_class == steps_with(sample_weight=np.where(y == 1, 3.0, 1.0))
    assert by_class != steps_with()
    both = steps_with(class_weight={1: 3.0}, sample_weight=np.where(y == 1, 2.0, 1.0))
    assert both == steps_with(sample_weight=np.where(y == 1, 6.0, 1.0))


def test_class_weights_go_by_the_greatest_of_one_hot_targets_and_by_each_step():
    x = np.random.default_rng(0).integers(0, 10, (6, 4))
    labels = x % 3
    results = []
    for y, loss, weights in (
        (labels, "sparse_categorical_crossentropy", {"class_weight": {0: 2, 2: 0.5}}),
        (np.eye(3)[labels], "categorical_crossentropy", {"class_weight": {0: 2, 2: 0.5}}),
        (
            labels,
            "sparse_categorical_crossentropy",
            {"sample_weight": np.array([2, 1, 0.5])[labels]},
        ),
    ):
        fastrnn.set_seed(0)
        model = tagger()
        model.compile("sgd", loss)
        results.append(model.train_on_batch(x, y, **weights))
    assert results[0] == results[2]
    assert results[1] == pytest.approx(results[0], rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", "binary_crossentropy"])
def test_class_weights_of_several_columns_are_kerass(loss):
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    y = np.eye(3)[np.arange(12) % 3]
    y[0] = [1, 1, 0]  # of several labels the first is the class
    model = Sequential([Dense(3, activation="sigmoid")])
    model.compile(SGD(0.0), loss)
    ours = model.train_on_batch(x, y, class_weight={0: 2.0, 2: 0.5})
    expected = model.test_on_batch(x, y, np.array([2.0, 1.0, 0.5])[y.argmax(-1)])
    assert ours == pytest.approx(expected, rel=1e-6)
    assert ours != pytest.approx(model.test_on_batch(x, y), rel=1e-3)


def test_a_sample_of_weight_0_changes_nothing():
    x, y = toy_task(20)
    weights, runs = np.r_[np.ones(10), np.zeros(10)], []
    for rubbish in (x, (x + 3) % 10):
        fastrnn.set_seed(0)
        model = toy_model(optimizer="sgd")
        model.train_on_batch(np.r_[x[:10], rubbish[10:]], y, sample_weight=weights)
        runs.append([w.tobytes() for w in model.get_weights()])
    assert runs[0] == runs[1]


def test_metrics_ignore_sample_weights_and_weighted_metrics_do_not():
    x, y = toy_task(40)
    weights = np.where(y == 1, 1.0, 0.0)
    model = toy_model()
    model.compile("sgd", "binary_crossentropy", ["accuracy"], ["accuracy", "mae"])
    figures = model.evaluate(x, y, sample_weight=weights, return_dict=True)
    right = (model.predict(x)[:, 0] > 0.5) == y
    assert list(figures) == ["loss", "accuracy", "accuracy_1", "mae"]
    assert figures["accuracy"] == right.mean()
    assert figures["accuracy_1"] == pytest.approx(right[y == 1].mean())


# ---- evaluate and predict ------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_the_loss_is_that_of_all_rows_whatever_the_batches(reduction):
    x, y = toy_task(50)
    weights = np.linspace(0, 1, 50)
    model = toy_model()
    loss = fastrnn.losses.BinaryCrossentropy(reduction=reduction)
    model.compile(SGD(0.0), loss)
    expected = loss(y, model.predict(x), weights)
    assert model.evaluate(x, y, 7, sample_weight=weights) == pytest.approx(expected, rel=1e-5)
    options = {"batch_size": 7, "sample_weight": weights, "verbose": 0}
    assert model.fit(x, y, **options).history["loss"] == pytest.approx([expected], rel=1e-5)


def test_evaluate_is_the_mean_over_all_rows_whatever_the_batches():
    x, y = toy_task(50)
    model = toy_model()
    whole = model.evaluate(x, y, batch_size=50, return_dict=True)
    parts = model.evaluate(x, y, batch_size=7, return_dict=True)
    assert parts == pytest.approx(whole, rel=1e-6)
    assert model.evaluate(x, y, batch_size=50) == [whole["loss"], whole["accuracy"]]
    p = model.predict(x, batch_size=7)[:, 0]
    assert whole["accuracy"] == ((p > 0.5) == y).mean()
    assert whole["loss"] == pytest.approx(-np.log(np.where(y, p, 1 - p)).mean(), rel=1e-5)


def test_predictions_do_not_depend_on_the_batches_bit_for_bit():
    x, _ = toy_task(50)
    model = toy_model()
    whole = model.predict(x, batch_size=50)
    assert model.predict(x, batch_size=7).tobytes() == whole.tobytes()
    assert model.predict(x[:7].tolist()).tobytes() == whole[:7].tobytes()
    assert model.predict(iter([x[:30], (x[30:],)])).tobytes() == whole.tobytes()
    assert model.predict(iter([x[:30], x[30:]]), steps=1).tobytes() == whole[:30].tobytes()
    assert model.predict_on_batch(x[:5]).tobytes() == whole[:5].tobytes()


def test_tensors_and_loaders_are_predicted_as_the_arrays_are():
    torch = pytest.importorskip("torch")
    x, y = toy_task(20)
    model = toy_model()
    whole = model.predict(x)
    assert Sequential([Dense(2)]).predict(torch.zeros(5, 3, 4)).shape == (5, 3, 2)
    assert model.predict(torch.tensor(x), batch_size=7).tobytes() == whole.tobytes()
    pairs = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    for rows in (pairs, torch.utils.data.TensorDataset(torch.tensor(x)), torch.tensor(x)):
        loader = torch.utils.data.DataLoader(rows, batch_size=7)
        assert model.predict(loader).tobytes() == whole.tobytes()


def test_one_batch_is_trained_tested_and_predicted():
    x, y = toy_task(20)
    model = toy_model()
    tested = model.test_on_batch(x, y)
    assert tested == model.evaluate(x, y)
    assert model.train_on_batch(x, y, return_dict=True) == dict(
        zip(("loss", "accuracy"), tested, strict=True)
    )
    assert model.test_on_batch(x, y)[0] < tested[0]
    assert model.test_on_batch(Batch(x, y)) == model.test_on_batch(x, y)
