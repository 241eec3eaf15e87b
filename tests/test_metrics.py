"""Metrics: over several batches they are their definition over all rows that count."""

import math

import numpy as np
import pytest

from fastrnn import metrics
from fastrnn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy
from fastrnn.metrics import AUC, Metric, Precision, Recall

RNG = np.random.default_rng(0)
ROWS = (40, 5)
P = RNG.dirichlet(np.ones(4), size=ROWS)
LABELS = RNG.integers(0, 4, size=ROWS)
ONE_HOT = np.eye(4)[LABELS]
NUMBERS = RNG.normal(size=(*ROWS, 4))
BINARY, Q = RNG.integers(0, 2, size=(*ROWS, 1)), RNG.random((*ROWS, 1))
CHOSEN = np.take_along_axis(P, LABELS[..., None], -1)[..., 0]
RANKS = (CHOSEN[..., None] < P).sum(-1)
# name: (metric, targets, predictions, each row's value, what is done with the mean)
MEANS = {
    "accuracy, sparse": ("accuracy", LABELS, P, P.argmax(-1) == LABELS),
    "accuracy, labels [..., 1]": ("acc", LABELS[..., None], P, P.argmax(-1) == LABELS),
    "accuracy, one-hot": ("accuracy", ONE_HOT, P, P.argmax(-1) == LABELS),
    "accuracy, binary": ("accuracy", BINARY, Q, ((Q > 0.5) == BINARY)[..., 0]),
    "accuracy, binary [...]": ("accuracy", BINARY[..., 0], Q, ((Q > 0.5) == BINARY)[..., 0]),
    "binary, several": ("binary_accuracy", ONE_HOT, P, ((P > 0.5) == ONE_HOT).mean(-1)),
    "sparse": ("sparse_categorical_accuracy", LABELS, P, P.argmax(-1) == LABELS),
    "categorical": ("categorical_accuracy", ONE_HOT, P, P.argmax(-1) == LABELS),
    "top k": (metrics.SparseTopKCategoricalAccuracy(2), LABELS, P, RANKS < 2),
    "top k, one-hot": (metrics.TopKCategoricalAccuracy(2), ONE_HOT, P, RANKS < 2),
    "mae": ("mae", ONE_HOT, NUMBERS, np.abs(NUMBERS - ONE_HOT).mean(-1)),
    "mse": ("mse", ONE_HOT, NUMBERS, ((NUMBERS - ONE_HOT) ** 2).mean(-1)),
    "rmse": ("root_mean_squared_error", ONE_HOT, NUMBERS, ((NUMBERS - ONE_HOT) ** 2).mean(-1)),
    "perplexity": ("perplexity", LABELS, P, -np.log(CHOSEN)),
    "function": (lambda y, p: p[..., 0], LABELS, P, P[..., 0]),
}
AFTERWARDS = {"rmse": math.sqrt, "perplexity": math.exp}


def in_batches(metric, y, p, weights, mask):
    metric.reset_state()
    for rows in (slice(0, 7), slice(7, 30), slice(30, 40)):
        part = [None if a is None else a[rows] for a in (y, p, weights, mask)]
        metric.update_state(*part)
    return metric.result()


@pytest.mark.parametrize("name", MEANS)
def test_a_metric_is_the_weighted_mean_over_all_rows_that_exist(name):
    given, y, p, rows = MEANS[name]
    metric, after = metrics.get(given), AFTERWARDS.get(name, float)
    weights, mask = RNG.uniform(0.1, 2, ROWS), RNG.random(ROWS) < 0.6
    for w, m in (
        (None, None),
        (weights, None),
        (weights[:, 0], None),
        (None, mask),
        (weights, mask),
    ):
        counts = np.ones(ROWS) if w is None else np.broadcast_to(w.T, ROWS[::-1]).T
        counts = counts * (1 if m is None else m)
        expected = after((rows * counts).sum() / counts.sum())
        assert in_batches(metric, y, p, w, m) == pytest.approx(expected, rel=1e-12)


def test_a_masked_row_may_hold_anything():
    metric, mask = metrics.get("mse"), np.array([True, False])
    metric.update_state([[1.0], [np.nan]], np.array([[3.0], [np.inf]]), mask=mask)
    assert metric.result() == 4.0
    metric = metrics.get("perplexity")
    metric.update_state([1, 99], np.array([[0.5, 0.5], [np.nan, 0]]), mask=mask)
    assert metric.result() == pytest.approx(2)


@pytest.mark.parametrize("weighted", [False, True])
def test_precision_and_recall_count_what_their_names_say(weighted):
    weights = RNG.uniform(0.1, 2, ROWS) if weighted else None
    counts = np.ones(ROWS) if weights is None else weights
    y, positive = BINARY[..., 0] == 1, Q[..., 0] > 0.3
    right = counts[y & positive].sum()
    precision, recall = Precision(0.3), Recall(0.3)
    assert in_batches(precision, BINARY, Q, weights, None) == pytest.approx(
        right / counts[positive].sum()
    )
    assert in_batches(recall, BINARY, Q, weights, None) == pytest.approx(right / counts[y].sum())
    of_class = in_batches(Precision(0.3, class_id=2), ONE_HOT, P, None, None)
    assert of_class == (LABELS == 2)[P[..., 2] > 0.3].mean()


def test_without_positives_precision_recall_and_area_are_0():
    for metric in (Precision(), Recall(), AUC(), AUC(curve="PR")):
        metric.update_state(np.zeros((3, 1)), np.zeros((3, 1)))
        assert metric.result() == 0


def test_the_area_under_the_roc_curve_is_the_chance_to_rank_a_pair_right():
    y = RNG.integers(0, 2, 2000)
    p = np.clip(RNG.normal(0.4 + 0.2 * y, 0.2), 0.001, 0.999)
    wins = (p[y == 1][:, None] > p[y == 0]).mean()
    # 200 thresholds leave ties in steps of 1/199.
    assert in_batches(AUC(), y[:40], p[:40, None], None, None) > 0.5
    metric = AUC()
    metric.update_state(y, p[:, None])
    assert metric.result() == pytest.approx(wins, abs=2e-3)
    logits = AUC(from_logits=True)
    logits.update_state(y, np.log(p / (1 - p))[:, None])
    assert logits.result() == pytest.approx(metric.result(), abs=2e-3)


def test_a_perfect_ranking_has_an_area_of_1():
    for curve in ("ROC", "PR"):
        metric = AUC(curve=curve)
        metric.update_state([0, 0, 1, 1], np.array([[0.1], [0.2], [0.8], [0.9]]))
        assert metric.result() == pytest.approx(1.0)


def test_names_take_logits_where_the_loss_does():
    loss = SparseCategoricalCrossentropy(from_logits=True)
    logits = np.log(P) + 3.0
    for name in ("accuracy", "perplexity"):
        metric = metrics.get(name, loss)
        assert metric.name == name
        by_probabilities = metrics.get(name)
        assert in_batches(metric, LABELS, logits, None, None) == pytest.approx(
            in_batches(by_probabilities, LABELS, P, None, None)
        )
    # A logit of 0 is a probability of one half.
    metric = metrics.get("accuracy", loss)
    metric.update_state([0, 1], np.array([[-0.1], [0.1]]))
    assert metric.result() == 1.0


def test_equal_names_are_numbered():
    found = metrics.get_all(["mae", "mae", Precision(), Precision(0.7)], None, {"loss"})
    assert [metric.name for metric in found] == ["mae", "mae_1", "precision", "precision_1"]


def test_a_metric_is_made_again_from_its_configuration():
    for metric in (AUC(50, "PR", from_logits=True), Precision(0.3, 2), metrics.get("acc")):
        again = Metric.classes[type(metric).__name__](**metric.get_config())
        assert again.get_config() == metric.get_config()
    with pytest.raises(ValueError, match="function cannot be saved"):
        metrics.get(lambda y, p: p).get_config()


class Largest(Metric):
    """The largest prediction, which is no mean."""

    default_name = "largest"

    def reset_state(self):
        self.seen = -np.inf

    def update(self, y_true, y_pred, weights):
        self.seen = max(self.seen, float(y_pred.max()))

    def result(self):
        return self.seen


def test_a_metric_of_ones_own_need_not_be_a_mean():
    assert in_batches(Largest(), LABELS, P, None, None) == P.max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.get("f1"), "metrics: expected"),
        (lambda: metrics.get_all("accuracy", None, set()), "metrics: expected a list"),
        (lambda: AUC(1), "num_thresholds"),
        (lambda: AUC(curve="DET"), "curve"),
        (lambda: metrics.SparseTopKCategoricalAccuracy(0), "k: expected 1"),
        (lambda: Precision(class_id=4)(ONE_HOT, P), "class_id"),
        (lambda: metrics.get("mae")(np.zeros(3), P), "y: expected shape"),
        (lambda: metrics.get("accuracy")([1, 2, 3], P[0, :2]), "y: expected shape"),
        (lambda: metrics.get(lambda y, p: p.sum())(LABELS, P), "expected values of shape"),
        (lambda: metrics.get("mae")(ONE_HOT, P, sample_weight=[1, 2]), "sample_weight: expected"),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.parametrize("curve", ["ROC", "PR"])
def test_the_area_is_nan_where_a_prediction_that_counts_is(curve):
    auc = AUC(curve=curve)
    y, p = np.array([0, 1, 1, 0]), np.array([[0.2], [0.7], [np.nan], [0.4]])
    auc.update_state(y, p, sample_weight=[1, 1, 0, 1])
    assert auc.result() == 1
    auc.update_state(y, p)
    assert math.isnan(auc.result())
    auc.reset_state()
    auc.update_state(y, np.full((4, 1), np.nan))
    assert math.isnan(auc.result())


@pytest.mark.parametrize(
    ("name", "figure"),
    [("accuracy", 0.75), ("binary_accuracy", 0.75), ("precision", 2 / 3), ("recall", 1.0)],
)
def test_a_figure_of_logits_is_that_of_their_probabilities(name, figure):
    logits, y = np.array([[-1.0], [0.2], [0.7], [0.6]]), np.array([0, 1, 1, 0])
    of_logits = metrics.get(name, BinaryCrossentropy(from_logits=True))
    assert of_logits(y, logits) == metrics.get(name)(y, 1 / (1 + np.exp(-logits))) == figure
