"""What the training loop refuses: at its doors, and in the data before the first step."""

import copy

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, Dense, Embedding, Sequential
from fastrnn.data import Batch
from toys import tagger, toy_model, toy_task


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": np.zeros(3)}, "y: expected 20 rows"),
        ({"x": np.zeros((0, 8)), "y": np.zeros(0)}, "at least one row"),
        ({"x": [[1, 2], [3]], "y": [0, 1, 0]}, "y: expected 2 rows"),
        ({"x": [[1, 2], []], "y": [0, 1]}, r"x\[1\]: expected at least one step"),
        ({"x": [[1, 2], ["a"]], "y": [0, 1]}, r"x\[1\]: expected numbers"),
        ({"x": [[1, 2], [[3]]], "y": [0, 1]}, "x: expected steps of one shape"),
        ({"x": [[1, 2], [3]], "y": [[0, 1], [0, 1, 1]]}, r"y\[1\]: expected 1 steps, as x\[1\]"),
        ({"x": np.array([["a"]]), "y": [0]}, "x: expected numbers"),
        ({"x": np.full((20, 6), np.nan)}, "x: expected finite numbers, got nan in row 0"),
        ({"y": np.r_[np.zeros(19), np.nan]}, "y: expected targets in 0..1"),
        ({"y": np.full(20, 2)}, "y: expected targets in 0..1"),
        ({"x": np.full((20, 6), 10)}, r"x: expected ids in 0 \.\. 9 .*got 10"),
        ({"x": np.full((20, 6), -1)}, r"x: expected ids in 0 \.\. 9 .*got -1"),
        ({"sample_weight": np.ones(3)}, "sample_weight: expected 20 rows"),
        ({"sample_weight": np.full(20, np.nan)}, "sample_weight: expected finite"),
        ({"class_weight": [1, 2]}, "class_weight: expected a dict"),
        ({"class_weight": {0: "a"}}, "class_weight"),
        ({"y": None}, "^y: expected the targets that go with the array x, got None"),
        ({"x": 3, "y": None}, "x: expected an array or batches"),
        ({"y": None, "sample_weight": np.ones(20)}, "sample_weight: goes with arrays"),
        (
            {"x": [(np.zeros((3, 6)), np.zeros(3))], "y": None, "validation_split": 0.5},
            "validation_split: needs arrays",
        ),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": -1}, "epochs"),
        ({"initial_epoch": "a"}, "^initial_epoch: expected an int, got .a."),
        ({"initial_epoch": -1}, "^initial_epoch: expected 0 or more, got -1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"verbose": 3}, "verbose"),
        ({"shuffle": "foo"}, "^shuffle: expected a bool, got 'foo'"),
        ({"validation_data": 3}, "^validation_data: expected an array or batches, got 3"),
        ({"validation_data": np.zeros((3, 6))}, r"^validation_data: .* got one array"),
        ({"validation_data": (np.zeros((3, 6)),)}, r"^validation_data: .* got one array"),
        ({"validation_data": [np.zeros((3, 6))] * 4}, r"^validation_data: .* got 4 arrays"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"validation_split": 0.99}, r"^validation_split: expected at least one row.*0\.99 of 20"),
        ({"validation_batch_size": 0}, "^validation_batch_size: expected 1 or more, got 0"),
        ({"validation_batch_size": -1}, "^validation_batch_size: expected 1 or more, got -1"),
        ({"validation_data": (np.zeros((3, 6)), np.zeros(2))}, "y: expected 3 rows"),
        ({"callbacks": [3]}, "callbacks"),
    ],
)
def test_wrong_arguments_of_fit_are_named_and_nothing_is_lost(arguments, words):
    x, y = toy_task(20)
    model = toy_model()
    model.fit(x, y, verbose=0)
    before = [w.tobytes() for w in model.get_weights()]
    with pytest.raises((IndexError, TypeError, ValueError), match=words):
        model.fit(**{"x": x, "y": y, "verbose": 0, **arguments})
    assert [w.tobytes() for w in model.get_weights()] == before
    model.fit(x, y, verbose=0)


def test_wrong_batches_are_named():
    x, y = toy_task(20)
    model = toy_model()
    for batch, words in (
        ((x, y[:3]), "y: expected 20 rows"),
        ((x, y, y, y), "got 4 values"),
        (x, "got ndarray"),
        ((np.full((20, 6), np.inf), y), "x: expected finite numbers"),
        ((x,), "y: expected targets"),
        (Batch(x, y, mask=np.ones((20, 6))), "mask: expected bool"),
        (Batch(x, y, mask=np.ones((20, 5), bool)), "mask: expected shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            model.fit([batch], verbose=0)
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        model.predict(np.full((3, 6), np.nan))
    with pytest.raises(ValueError, match="at least one batch"):
        model.predict(iter([]))
    with pytest.raises(ValueError, match="no batches"):
        model.evaluate([])


def test_labels_outside_the_classes_are_refused():
    model = tagger()
    x, _ = toy_task(4)
    for y in (np.full((4, 6), 3), np.full((4, 6), -1)):
        with pytest.raises(ValueError, match=r"y: expected labels in 0 \.\. 2"):
            model.fit(x, y, verbose=0)


def test_a_model_that_is_not_compiled_says_so():
    model = Sequential([Dense(1)])
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(RuntimeError, match="compile"):
        model.evaluate(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="loss"):
        model.compile("sgd")


def test_batches_whose_outputs_are_not_one_array_are_named():
    batches = (np.ones((2, steps), int) for steps in (4, 5))
    with pytest.raises(ValueError, match=r"x: .* outputs of one shape, got \(4, 3\) and \(5, 3\)"):
        tagger().predict(batches)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (3, "x: expected an array or batches, got 3"),
        (None, "x: expected an array or batches, got None"),
        (np.array(3), r"x: expected an array of rows, got array\(3\)"),
        (iter([[1, 2, 3, 4]]), "batch: expected .*got 4 values"),
    ],
)
def test_what_cannot_be_predicted_is_named(x, words):
    with pytest.raises((TypeError, ValueError), match=words):
        toy_model().predict(x)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sgd", "mae", ["bogus"]), "metrics: expected a Metric.*got 'bogus'"),
        (("sgd", "mae", None, ["bogus"]), "metrics: expected a Metric.*got 'bogus'"),
        (("sgd", "bogus", ["mae"]), "loss: expected a Loss"),
        (("bogus", "mae", ["mae"]), "optimizer: expected an Optimizer"),
    ],
)
def test_a_compile_that_fails_leaves_the_model_as_it_was(arguments, words):
    model = toy_model()

    def parts():
        return [model.optimizer, model.loss, *model.metrics, *model.weighted_metrics]

    before = parts()
    with pytest.raises(ValueError, match=words):
        model.compile(*arguments)
    assert parts() == before


def test_an_optimiser_trains_one_model_only():
    x, y = toy_task(20)
    optimizer = fastrnn.Adam(0.02)
    first, second = toy_model(optimizer=optimizer), toy_model(optimizer=optimizer)
    first.train_on_batch(x, y)
    words = "optimizer: expected a new one, got one that took 1 steps on another model"
    for use in (
        lambda: second.fit(x, y, verbose=0),
        lambda: second.train_on_batch(x, y),
        lambda: toy_model(optimizer=optimizer),
    ):
        with pytest.raises(ValueError, match=words):
            use()
    first.compile(optimizer, "binary_crossentropy")
    first.fit(x, y, verbose=0)
    assert optimizer.iterations == 2
    copied = copy.deepcopy(first)
    copied.fit(x, y, verbose=0)
    assert (copied.optimizer.iterations, optimizer.iterations) == (3, 2)


def test_a_validation_generator_that_is_used_up_is_named():
    x, y = toy_task(20)
    model = toy_model()
    with pytest.raises(ValueError, match="validation_data: no batches; a generator serves one"):
        model.fit(x, y, epochs=2, validation_data=(batch for batch in [(x, y)]), verbose=0)


@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
def test_callbacks_of_another_kind_are_named(use):
    x, y = toy_task(20)
    model = toy_model()
    given = {"x": x} if use == "predict" else {"x": x, "y": y}
    for callbacks, words in (([3], "Callback objects, got 3"), (3, "a list of Callback objects")):
        with pytest.raises(TypeError, match=f"^callbacks: expected {words}"):
            getattr(model, use)(**given, callbacks=callbacks)


# ---- what is known of all of the data is checked before the first step ---------------------------


def late(array, value):
    """A copy whose last number is another, so that only the last batch has it."""
    array = np.array(array)
    array[(-1,) * array.ndim] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"x": late(np.zeros((20, 6), int), 10)},
            r"^x: expected ids in 0 \.\. 9 .*embedding.*10",
        ),
        ({"x": late(np.zeros((20, 6), int), -1)}, r"^x: expected ids in 0 \.\. 9 .*got -1"),
        ({"x": late(np.zeros((20, 6)), 0.5)}, "^x: expected whole numbers"),
        ({"x": [[1, 2]] * 18 + [[1]] + [[1, 12]]}, r"^x: expected ids in .* got 12"),
        ({"y": late(np.zeros(20, int), 3)}, r"^y: expected labels in 0 \.\. 2, got 3"),
        ({"y": late(np.zeros((20, 1)), -1)}, r"^y: expected labels in 0 \.\. 2, got -1"),
        ({"validation_split": 0.1, "y": late(np.zeros(20, int), 3)}, "^y: expected labels"),
        ({"validation_data": (np.full((2, 6), 11), np.zeros(2))}, "^validation_data x: .*got 11"),
        ({"validation_data": [np.zeros((2, 6)), np.full(2, 4)]}, "^validation_data y: .*got 4"),
    ],
)
def test_what_only_the_last_batch_has_is_refused_before_the_first(arguments, words):
    model = Sequential([Embedding(10, 4), GRU(4), Dense(3), fastrnn.layers.Activation("softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = np.zeros((20, 6), int), np.zeros(20, int)
    with pytest.raises(ValueError, match=words):
        model.fit(**{"x": x, "y": y, "batch_size": 4, "shuffle": False, "verbose": 0, **arguments})
    assert model.optimizer.iterations == 0
    with pytest.raises(ValueError, match=r"^y: expected targets in 0\.\.1, got 0 \.\. 7"):
        toy_model().fit(x, late(y, 7), verbose=0)


def test_labels_that_do_not_count_may_be_anything():
    x = np.random.default_rng(0).integers(1, 10, (8, 6))
    y, weights = x % 3, np.ones((8, 6))
    weights[-1, -1] = 0
    model = tagger()
    model.fit(x, late(y, -1), sample_weight=weights, verbose=0)
    model.fit(x, late(y, 9), class_weight={9: 0}, verbose=0)
    rows = np.r_[np.ones(7), 0]
    model.fit(x, np.where(rows[:, None], y, -1), sample_weight=rows, verbose=0)
    model.compile("sgd", fastrnn.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    model.fit(x, late(y, -1), verbose=0)
    padded = Sequential(
        [Embedding(10, 4, mask_zero=True), GRU(4, return_sequences=True), Dense(3)],
    )
    padded.compile("sgd", fastrnn.losses.SparseCategoricalCrossentropy(from_logits=True))
    padded.fit(late(x, 0), late(y, -1), verbose=0)
    ragged = [row[: 3 + i % 2] for i, row in enumerate(x)]
    steps = [np.ones(len(row)) for row in ragged[:-1]] + [np.zeros(4)]
    targets = [row % 3 for row in ragged[:-1]] + [np.full(4, 9)]
    model.fit(ragged, targets, sample_weight=steps, verbose=0)
