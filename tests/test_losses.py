"""Losses: their names, weights, masks, reductions, and what they refuse."""

import numpy as np
import pytest

import fastrnn
from fastrnn import SGD, Dense, Embedding, Sequential, losses
from fastrnn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

RNG = np.random.default_rng(0)
STEPS = (3, 5)
P = RNG.dirichlet(np.full(4, 5.0), size=STEPS)
LABELS = RNG.integers(0, 4, size=STEPS)
NUMBERS, OTHERS = RNG.normal(size=(2, *STEPS, 4))
# name: (loss, targets, predictions, each row's loss)
CASES = {
    "sparse": (
        SparseCategoricalCrossentropy(),
        LABELS,
        P,
        -np.log(np.take_along_axis(P, LABELS[..., None], -1)[..., 0]),
    ),
    "sparse, labels [..., 1]": (
        SparseCategoricalCrossentropy(),
        LABELS[..., None],
        P,
        -np.log(np.take_along_axis(P, LABELS[..., None], -1)[..., 0]),
    ),
    "categorical": (
        CategoricalCrossentropy(label_smoothing=0.2),
        np.eye(4)[LABELS],
        P,
        -((0.8 * np.eye(4)[LABELS] + 0.05) * np.log(P)).sum(-1),
    ),
    "binary": (
        BinaryCrossentropy(),
        (LABELS > 1)[..., None],
        P[..., :1],
        -np.log(np.where(LABELS > 1, P[..., 0], 1 - P[..., 0])),
    ),
    "binary, several": (
        BinaryCrossentropy(),
        np.eye(4)[LABELS],
        P,
        -np.log(np.where(np.eye(4)[LABELS] > 0, P, 1 - P)).mean(-1),
    ),
    "squared": (MeanSquaredError(), NUMBERS, OTHERS, ((NUMBERS - OTHERS) ** 2).mean(-1)),
    "absolute": (MeanAbsoluteError(), NUMBERS, OTHERS, np.abs(NUMBERS - OTHERS).mean(-1)),
    "huber": (
        Huber(0.5),
        NUMBERS,
        OTHERS,
        np.where(
            np.abs(NUMBERS - OTHERS) < 0.5,
            (NUMBERS - OTHERS) ** 2 / 2,
            0.5 * np.abs(NUMBERS - OTHERS) - 0.125,
        ).mean(-1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_the_mean_of_its_rows(name):
    loss, y, predictions, rows = CASES[name]
    # Sums of at most 15 numbers in double.
    assert loss(y, predictions) == pytest.approx(rows.mean(), rel=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_weights_and_masks_are_reduced_as_keras_reduces_them(name):
    _, y, predictions, rows = CASES[name]
    kind, config = type(CASES[name][0]), CASES[name][0].get_config()
    weights, mask = RNG.uniform(0.1, 2, STEPS), RNG.random(STEPS) < 0.6
    of_samples = weights[:, 0]
    valid, both = mask.sum(), weights * mask
    for reduction, sample_weight, given, expected in (
        ("sum_over_batch_size", weights, None, (weights * rows).sum() / rows.size),
        ("mean", of_samples, None, (of_samples[:, None] * rows).sum() / rows.size),
        ("sum_over_batch_size", None, mask, rows[mask].mean()),
        ("sum_over_batch_size", weights, mask, (both * rows).sum() / valid),
        ("sum_over_batch_size", weights[..., None], mask, (both * rows).sum() / valid),
        ("sum", weights, mask, (both * rows).sum()),
        ("mean_with_sample_weight", weights, mask, (both * rows).sum() / both.sum()),
    ):
        loss = kind(**{**config, "reduction": reduction})
        value = loss(y, predictions, sample_weight, given)
        assert value == pytest.approx(expected, rel=1e-12), reduction


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_the_value(name, masked):
    loss, y, predictions, _ = CASES[name]
    weights = np.linspace(0.5, 1.5, 3)
    mask = np.arange(15).reshape(STEPS) % 3 > 0 if masked else None

    def value(p):
        return loss.value_and_gradient(y, p, weights, mask, need_gradient=False).value

    gradient = loss.value_and_gradient(y, predictions, weights, mask).gradient
    numeric = np.empty_like(predictions)
    for i in range(predictions.size):
        around = []
        for step in (1e-6, -1e-6):
            moved = predictions.copy()
            moved.flat[i] += step
            around.append(value(moved))
        numeric.flat[i] = (around[0] - around[1]) / 2e-6
    # Central differences of a number of about 1 err by 1e-16 / 1e-6.
    assert np.allclose(gradient, numeric, rtol=1e-5, atol=1e-9)


def test_a_masked_row_may_have_any_target_and_a_loss_without_rows_is_zero():
    y, p = np.array([[1, -7], [99, 0]]), np.full((2, 2, 3), 1 / 3, "float32")
    mask = np.array([[True, False], [False, True]])
    value = SparseCategoricalCrossentropy().value_and_gradient(y, p, None, mask)
    assert value.value == pytest.approx(np.log(3))
    assert value.weight == 2
    assert not value.gradient[~mask].any()
    y = np.array([[1.0, np.nan], [np.inf, 0.0]])
    assert np.isfinite(MeanSquaredError()(y[..., None], p[..., :1], mask=mask))
    nothing = MeanSquaredError().value_and_gradient(y[..., None], p[..., :1], mask=mask & False)
    assert (nothing.value, nothing.weight) == (0, 0)
    assert not nothing.gradient.any()


def test_a_class_may_be_ignored():
    y, p = np.array([0, 255, 1, 255]), RNG.dirichlet(np.ones(3), size=4)
    loss = SparseCategoricalCrossentropy(ignore_class=255)
    assert loss(y, p) == pytest.approx(-(np.log(p[0, 0]) + np.log(p[2, 1])) / 2)
    mask = np.array([True, True, False, False])
    assert loss(y, p, mask=mask) == pytest.approx(-np.log(p[0, 0]))


@pytest.mark.parametrize(
    "kind", [SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy]
)
def test_losses_of_extreme_predictions_are_finite(kind):
    y = np.array([0, 1]) if kind is SparseCategoricalCrossentropy else np.array([[1, 0], [0, 1]])
    for from_logits, low, high in ((True, -1e4, 1e4), (False, 0.0, 1.0)):
        p = np.array([[low, high], [high, low]], "float32")
        value = kind(from_logits).value_and_gradient(y, p)
        assert np.isfinite(value.value)
        assert value.value > 10
        assert np.isfinite(value.gradient).all()


@pytest.mark.parametrize(
    ("loss", "y", "words"),
    [
        (SparseCategoricalCrossentropy(), [0, 4], r"y: expected labels in 0 \.\. 3, got 0 \.\. 4"),
        (SparseCategoricalCrossentropy(), [-1, 0], "y: expected labels"),
        (SparseCategoricalCrossentropy(), [0.5, 1], "y: expected whole numbers"),
        (SparseCategoricalCrossentropy(), [np.nan, 1], "y: expected whole numbers"),
        (SparseCategoricalCrossentropy(), [0, 1, 2], r"y: expected shape \(2,\), got \(3,\)"),
        (SparseCategoricalCrossentropy(), ["a", "b"], "y: expected integers"),
        (CategoricalCrossentropy(), np.full((2, 4), 1.5), r"y: expected targets in 0\.\.1"),
        (CategoricalCrossentropy(), [0, 1], r"y: expected shape \(2, 4\), got \(2,\)"),
        (BinaryCrossentropy(), np.full((2, 4), 1.5), r"y: expected targets in 0\.\.1"),
        (BinaryCrossentropy(), np.full((2, 4), np.nan), r"y: expected targets in 0\.\.1"),
        (BinaryCrossentropy(), np.zeros((2, 3)), "y: expected shape"),
        (MeanSquaredError(), np.full((2, 4), np.nan), "y: expected finite numbers"),
        (MeanSquaredError(), [["a"] * 4] * 2, "y: expected numbers"),
    ],
)
def test_wrong_targets_are_refused(loss, y, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        loss(y, np.full((2, 4), 0.25))


@pytest.mark.parametrize(
    ("weights", "mask", "words"),
    [
        ([1, 2, 3], None, r"sample_weight: expected shape \(2,\)"),
        ([1, np.nan], None, "sample_weight: expected finite"),
        (["a", "b"], None, "sample_weight: expected numbers"),
        (None, [1, 0], "mask: expected bool"),
        (None, [[True], [True], [False]], "mask: expected shape"),
    ],
)
def test_weights_and_masks_that_do_not_fit_are_refused(weights, mask, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        MeanSquaredError()(np.zeros((2, 4)), np.zeros((2, 4)), weights, mask)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.get("hinge"), "loss: expected a Loss"),
        (lambda: losses.get(MeanSquaredError), "loss: expected a Loss"),
        (lambda: Huber(0), "delta"),
        (lambda: MeanSquaredError(reduction="median"), "reduction"),
        (lambda: BinaryCrossentropy(label_smoothing=1.5), "label_smoothing"),
        (lambda: MeanSquaredError()(np.zeros(3), np.zeros(3)), "y_pred: expected shape"),
    ],
)
def test_a_wrong_setting_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ---- one's own -----------------------------------------------------------------------------------


def squared(y_true, y_pred):
    error = y_pred - np.asarray(y_true)[..., None]
    return (error**2).mean(-1), 2 * error / error.shape[-1]


class Squared(Loss):
    def losses_and_gradients(self, y_true, y_pred):
        return squared(y_true, y_pred)


@pytest.mark.parametrize("loss", [squared, Squared()])
def test_a_loss_of_ones_own_is_weighted_and_masked_like_the_others(loss):
    y, p = RNG.normal(size=STEPS), RNG.normal(size=(*STEPS, 1))
    weights, mask = RNG.random(STEPS), RNG.random(STEPS) < 0.5
    y[~mask] = np.nan
    own = losses.get(loss).value_and_gradient(y, p, weights, mask)
    expected = MeanSquaredError().value_and_gradient(y, p, weights, mask)
    assert own.value == pytest.approx(expected.value, rel=1e-12)
    assert np.allclose(own.gradient, expected.gradient, rtol=1e-12)
    assert own.gradient.dtype == p.dtype


@pytest.mark.parametrize("name", CASES)
def test_a_loss_made_from_one_of_ours_is_computed_as_it_says(name):
    ours, y, p, rows = CASES[name]
    kind = type(ours)

    class Triple(kind):
        def losses_and_gradients(self, y_true, y_pred):
            losses, gradients = super().losses_and_gradients(y_true, y_pred)
            return 3 * losses, 3 * gradients

    class Same(Triple):
        pass

    losses_of_rows, gradients = ours.losses_and_gradients(y, p)
    assert np.allclose(losses_of_rows, rows, rtol=1e-12)
    weights = RNG.random(STEPS)
    expected = ours.value_and_gradient(y, p, weights)
    assert np.allclose(gradients * weights[..., None] / rows.size, expected.gradient, rtol=1e-12)
    config = ours.get_config()
    for made in (Triple(**config), Same(**config)):
        value, gradient, _ = made.value_and_gradient(y, p, weights)
        assert value == pytest.approx(3 * expected.value, rel=1e-12)
        assert np.allclose(gradient, 3 * expected.gradient, rtol=1e-12)
        assert made.activation is None  # it is not given a model's logits
    assert kind(**config).activation is ours.activation


def test_a_class_that_is_ignored_is_left_out_of_a_loss_made_from_ours():
    class Same(SparseCategoricalCrossentropy):
        def losses_and_gradients(self, y_true, y_pred):
            return super().losses_and_gradients(y_true, y_pred)

    y = np.where(RNG.random(STEPS) < 0.5, LABELS, -1)
    own, ours = (kind(ignore_class=-1) for kind in (Same, SparseCategoricalCrossentropy))
    assert own(y, P) == pytest.approx(ours(y, P), rel=1e-12)


def test_a_function_that_is_no_loss_is_refused():
    y, p = np.zeros(2), np.zeros((2, 1))
    with pytest.raises(TypeError, match=r"expected the function to return \(losses, gradients\)"):
        losses.get(lambda y, p: p)(y, p)
    with pytest.raises(ValueError, match=r"gradients of FunctionLoss: expected shape \(2, 1\)"):
        losses.get(lambda y, p: (y, y))(y, p)


# ---- in a model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "activation", "units"),
    [
        (SparseCategoricalCrossentropy, "softmax", 3),
        (CategoricalCrossentropy, "softmax", 3),
        (BinaryCrossentropy, "sigmoid", 1),
        (BinaryCrossentropy, "sigmoid", 3),
    ],
)
def test_a_model_that_ends_in_the_losses_activation_trains_as_one_on_logits(
    kind, activation, units
):
    x = RNG.integers(0, 10, (32, 6))
    y = x[:, 0] % 3
    if kind is not SparseCategoricalCrossentropy:
        y = np.eye(3)[y] if units == 3 else y > 1
    runs = []
    for fused in (True, False):
        fastrnn.set_seed(0)
        last = Dense(units, activation=activation if fused else None)
        model = Sequential([Embedding(10, 8), fastrnn.GRU(4), last])
        model.compile(SGD(0.1), kind(from_logits=not fused), metrics=["accuracy"])
        figures = [model.train_on_batch(x, y) for _ in range(3)]
        runs.append((figures, [w.tobytes() for w in model.get_weights()]))
    assert runs[0] == runs[1]


class Louder:
    def activate(self, logits):
        return super().activate(10 * logits)


class Forward(Dense):
    def forward(self, x, *, training=False):
        return super().forward(np.asarray(x) * 3, training=training)


class Backward(Dense):
    def backward(self, dy, *, need_dx=True):
        return super().backward(2 * dy, need_dx=need_dx)


class Mixed(Louder, Dense):
    pass


@pytest.mark.parametrize("kind", [Forward, Backward, Mixed])
def test_a_last_layer_with_methods_of_its_own_is_trained_with_them(kind):
    x, y = RNG.normal(size=(20, 3)), RNG.integers(0, 2, 20)

    def one_step(*layers):
        fastrnn.set_seed(0)
        model = Sequential(layers)
        model.compile(SGD(0.1), "binary_crossentropy")
        return [model.train_on_batch(x, y), *(w.tobytes() for w in model.get_weights())]

    own = kind(1, activation="sigmoid")
    # Before another layer, which has no logits, its methods are called.
    apart = one_step(kind(1, activation="sigmoid"), fastrnn.Dropout(0.0))
    assert one_step(own) == apart != one_step(Dense(1, activation="sigmoid"))
    with pytest.raises(TypeError, match=f"ends in a Dense layer.*got {kind.__name__}"):
        Sequential([own]).logits(x)


def test_a_model_that_ends_in_another_activation_is_trained_on_probabilities():
    x, y = RNG.normal(size=(20, 3)), RNG.integers(0, 2, 20)
    weights = []
    for loss in ("binary_crossentropy", BinaryCrossentropy()):
        fastrnn.set_seed(0)
        model = Sequential([Dense(1, activation="sigmoid"), fastrnn.Dropout(0.0)])
        model.compile(SGD(0.1), loss)
        first = model.train_on_batch(x, y)
        assert first == pytest.approx(np.mean(-np.log(np.abs(1 - y - _start(x)))), rel=1e-5)
        weights.append(model.get_weights()[0])
    assert np.array_equal(*weights)


def _start(x):
    """What the model predicts at first."""
    fastrnn.set_seed(0)
    return Sequential([Dense(1, activation="sigmoid")])(x)[:, 0]
