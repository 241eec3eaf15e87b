"""The core's losses against the reference."""

import numpy as np
import pytest

from cases import U, assert_same_for_any_threads, filled
from fastrnn import _core
from reference import losses as reference

SCALE = 0.37


def random_rows(kind, N, C, dtype):
    """Predictions and targets that fit a loss, some predictions at the ends of their range."""
    rng = np.random.default_rng(N + C)
    y = rng.normal(size=(N, C)) * 3
    if kind in ("binary", "categorical"):
        y = rng.uniform(0.01, 1, size=(N, C))
    if kind == "binary":
        # In float32 a probability of 1 is clipped to 1 - 1.19e-7, not to the reference's 1 - 1e-7.
        y.flat[::7] = rng.choice([0.0, 1.0] if dtype == "float64" else [0.0], y.flat[::7].shape)
    targets = rng.normal(size=(N, C)) * 3
    if kind.startswith("binary"):
        targets = rng.choice([0, 1, 0.3], size=(N, C))
    elif kind.startswith("categorical"):
        targets = rng.dirichlet(np.ones(C), size=N)
    return y.astype(dtype), targets.astype(dtype)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("N", "C"), [(0, 3), (1, 1), (33, 1), (20, 17), (6, 40), (900, 3)])
@pytest.mark.parametrize("kind", reference.ROW_LOSSES)
def test_a_row_loss_is_its_equation_and_its_gradient_the_difference(kind, N, C, weighted, dtype):
    predictions, targets = random_rows(kind, N, C, dtype)
    parameter = {"huber": 1.3}.get(kind, 0.1 if "nary" in kind or "cat" in kind else 0.0)
    weights = np.random.default_rng(1).random(N).astype(dtype) if weighted else None
    if weighted and N:
        weights[::3] = 0

    def compute():
        losses, gradient = filled(N, dtype), filled((N, C), dtype)
        arguments = (weights, SCALE, parameter, losses, gradient)
        return [_core.row_loss(kind, predictions, targets, *arguments), losses, gradient]

    total, losses, gradient = assert_same_for_any_threads(compute)
    loss, wide = reference.ROW_LOSSES[kind], np.ones(N) if weights is None else np.float64(weights)
    rows = [(np.float64(y), np.float64(t)) for y, t in zip(predictions, targets, strict=True)]
    expected = np.array([loss(y, t, parameter) for y, t in rows]) * (wide != 0)
    # Losses of up to 20 from a few operations of a few ulps each, sums over C <= 40 in double.
    tolerance = 200 * U[dtype]
    np.testing.assert_allclose(losses, expected, rtol=tolerance, atol=tolerance)
    # 300 losses of up to 20 are added, in double.
    np.testing.assert_allclose(total, SCALE * wide @ losses.astype(float), rtol=64 * U[dtype])
    differences = np.array([reference.gradient(loss, y, t, parameter) for y, t in rows])
    dexpected = (SCALE * wide[:, None] * differences.reshape(N, C)).reshape(N, C)
    # Central differences of step 1e-6 err by about 1e-10 of the loss; where a probability is
    # clipped they straddle the kink, and the gradient must be 0.
    if kind == "binary":
        clipped = (predictions == 0) | (predictions == 1)
        assert not gradient[clipped].any()
        gradient, dexpected = gradient[~clipped], dexpected[~clipped]
    np.testing.assert_allclose(gradient, dexpected, rtol=2e-4, atol=3e-8)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("N", "C"), [(0, 3), (1, 1), (5, 2), (33, 17), (700, 65), (6, 1000)])
def test_softmax_cross_entropy_agrees_with_the_reference(N, C, weighted, dtype, isa):
    rng = np.random.default_rng(6)
    logits = (rng.normal(size=(N, C)) * 4).astype(dtype)
    labels = rng.integers(-1, C, size=N)
    weights = rng.random(N).astype(dtype) if weighted else None

    def compute():
        losses, dlogits = filled(N, dtype), filled((N, C), dtype)
        arguments = (logits, labels, weights, SCALE, losses, dlogits)
        return [_core.softmax_cross_entropy(*arguments), losses, dlogits]

    total, losses, dlogits = assert_same_for_any_threads(compute)
    wide_weights = np.ones(N) if weights is None else np.float64(weights)
    expected, dexpected = reference.softmax_cross_entropy(
        np.float64(logits), labels, SCALE * wide_weights
    )
    # exp and log err by a few ulps, and a logit of magnitude 16 moves exp by 16 u; the sum of C
    # terms adds at most C u
    bound = (64 + C) * U[dtype]
    np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(dlogits, dexpected, rtol=bound, atol=bound)
    np.testing.assert_allclose(total, SCALE * wide_weights @ expected, rtol=bound, atol=bound)


@pytest.mark.parametrize(("N", "C"), [(1, 2), (5, 3), (33, 17), (6, 300)])
def test_cross_entropy_of_probabilities_is_that_of_their_logits(N, C, dtype, isa):
    rng = np.random.default_rng(7)
    probabilities = rng.uniform(0.01, 1, size=(N, C)).astype(dtype)
    labels = rng.integers(-1, C, size=N)

    def compute():
        losses, gradient = filled(N, dtype), filled((N, C), dtype)
        arguments = (probabilities, labels, None, SCALE, losses, gradient)
        return [_core.cross_entropy(*arguments), losses, gradient]

    total, losses, gradient = assert_same_for_any_threads(compute)
    logits = np.log(np.float64(probabilities))
    expected, dlogits = reference.softmax_cross_entropy(logits, labels, np.full(N, SCALE))
    bound = (64 + C) * U[dtype]
    np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(total, SCALE * expected.sum(), rtol=bound, atol=bound)
    # dlogits / p: probabilities of 0.01 and more make errors 100 times larger.
    np.testing.assert_allclose(gradient, dlogits / probabilities, rtol=bound, atol=200 * bound)


def test_a_probability_of_0_or_1_costs_what_keras_makes_it_cost_and_has_no_gradient(dtype):
    probabilities = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype)
    losses, gradient = filled(3, dtype), filled((3, 2), dtype)
    _core.cross_entropy(probabilities, np.array([0, 0, 0]), None, 1.0, losses, gradient)
    # 1 - 1e-7 is 1 - 1.19e-7 in float32.
    np.testing.assert_allclose(losses, -np.log([1e-7, 1 - 1e-7, 0.5]), rtol=1e-6, atol=3e-8)
    assert not gradient[:2].any()
    assert gradient[2].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("function", [_core.softmax_cross_entropy, _core.cross_entropy])
def test_a_gradient_may_be_written_over_the_predictions(function, dtype, isa):
    rng = np.random.default_rng(7)
    y, labels = rng.uniform(0.1, 1, size=(50, 13)).astype(dtype), rng.integers(0, 13, size=50)
    losses, gradient, same = filled(50, dtype), filled((50, 13), dtype), y.copy()
    total = function(y, labels, None, 1.0, losses, gradient)
    assert function(same, labels, None, 1.0, losses, same) == total
    assert np.array_equal(same, gradient)


@pytest.mark.parametrize("kind", reference.ROW_LOSSES)
def test_the_gradient_of_a_row_loss_may_be_written_over_the_predictions(kind, dtype):
    y, targets = random_rows(kind, 20, 9, dtype)
    losses, gradient, same = filled(20, dtype), filled((20, 9), dtype), y.copy()
    total = _core.row_loss(kind, y, targets, None, 1.0, 0.5, losses, gradient)
    assert _core.row_loss(kind, same, targets, None, 1.0, 0.5, losses, same) == total
    assert np.array_equal(same, gradient)


def test_huge_logits_give_finite_losses_and_gradients(dtype, isa):
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [3e38, -3e38, 0]], dtype)
    losses, dlogits = filled(3, dtype), filled((3, 3), dtype)
    _core.softmax_cross_entropy(logits, np.array([1, 0, 0]), None, 1.0, losses, dlogits)
    np.testing.assert_allclose(losses, [2e4, np.log(3), 0], rtol=1e-6)
    np.testing.assert_allclose(dlogits, [[1, -1, 0], [-2 / 3, 1 / 3, 1 / 3], [0, 0, 0]], atol=1e-6)
    losses, dlogits = filled(2, dtype), filled((2, 1), dtype)
    x, targets = np.array([[1e4], [-1e4]], dtype), np.array([[0], [1]], dtype)
    _core.row_loss("binary_logits", x, targets, None, 1.0, 0.0, losses, dlogits)
    np.testing.assert_allclose(losses, [1e4, 1e4], rtol=1e-6)
    np.testing.assert_allclose(dlogits, [[1], [-1]], atol=1e-6)


def test_a_nan_among_the_predictions_is_seen_in_the_loss_and_the_gradient(dtype, isa):
    for C in (1, 5, 40):
        for place in range(C):
            y = np.full((2, C), 0.5, dtype)
            y[1, place] = np.nan
            losses, labels = filled(2, dtype), np.zeros(2, np.int64)
            dy = filled((2, C), dtype)
            total = _core.softmax_cross_entropy(y, labels, None, 1.0, losses, dy)
            assert np.isnan(total)
            assert np.isfinite(losses[0])
            assert np.isfinite(dy[0]).all()
            assert np.isnan(dy[1]).all()
            for kind in reference.ROW_LOSSES:
                targets = np.full((2, C), 0.5, dtype)
                total = _core.row_loss(kind, y, targets, None, 1.0, 0.1, losses, None)
                assert np.isnan(total), kind


def test_rows_without_weight_may_hold_anything(dtype):
    logits, labels = np.full((3, 4), np.nan, dtype), np.array([9, -5, 99])
    logits[1] = [1, 2, 3, 4]
    labels[1] = 2
    weights = np.array([0, 1, 0], dtype)
    losses, dlogits = filled(3, dtype), filled((3, 4), dtype)
    total = _core.softmax_cross_entropy(logits, labels, weights, 1.0, losses, dlogits)
    assert losses.tolist() == [0, total, 0]
    assert np.isfinite(dlogits).all()
    assert not dlogits[[0, 2]].any()


def test_a_label_of_c_or_more_is_an_error_before_anything_is_written():
    logits, losses, dlogits = np.ones((9, 4), np.float32), *map(filled, (9, (9, 4)), ["f4"] * 2)
    for bad in [4, 2**40]:
        labels = np.array([0] * 8 + [bad])
        with pytest.raises(IndexError):
            _core.softmax_cross_entropy(logits, labels, None, 1.0, losses, dlogits)
        assert np.isnan(losses).all()
        assert np.isnan(dlogits).all()


def test_a_loss_of_no_name_is_refused():
    one = np.ones((1, 1))
    with pytest.raises(ValueError, match="hinge"):
        _core.row_loss("hinge", one, one, None, 1.0, 0.0, np.ones(1), None)
