"""Activations, layer normalisation, masks and pooling in the core against the reference."""

import numpy as np
import pytest

from cases import settings
from fastrnn import _core, ops
from reference import layers as reference

U = {"float32": 2.0**-24, "float64": 2.0**-53}
THREADS = [1, 2, 7]


def normal(*shape, dtype="float64", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def same_for_any_threads(compute):
    """`compute` returns arrays; returns those of one thread."""
    answers = []
    for threads in THREADS:
        with settings(threads=threads):
            answers.append([np.asarray(a) for a in compute()])
    for answer in answers[1:]:
        assert [a.tobytes() for a in answer] == [a.tobytes() for a in answers[0]]
    return answers[0]


# ---- activations ---------------------------------------------------------------------------------


def test_the_reference_has_every_activation():
    assert set(ops.ACTIVATIONS) == {*reference.ACTIVATIONS, "softmax"}


@pytest.mark.parametrize("name", ops.ACTIVATIONS)
def test_an_activation_and_its_gradient_agree_with_the_reference(name, dtype, isa):
    # Apart from 0 and +-3, where some have no derivative.
    x = np.concatenate([normal(7, 300) * 3, normal(7, 33) * 0.1], axis=1).astype(dtype)
    dy = normal(*x.shape, dtype=dtype, seed=2)

    def compute():
        y = ops.activation_forward(name, x)
        kept = x if ops.keeps_input(name) else y
        return [y, ops.activation_backward(name, kept, dy)]

    y, dx = same_for_any_threads(compute)
    expected, dexpected = reference.activation(name, np.float64(x), np.float64(dy))
    assert y.dtype == dx.dtype == dtype
    # A few ulps of exp, whose argument of up to 12 (gelu: half of its square, 70) is rounded, too.
    bound = (256 if name == "gelu" else 32) * U[dtype]
    np.testing.assert_allclose(y, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(dx, dexpected, rtol=bound, atol=2 * bound)


@pytest.mark.parametrize("name", sorted(set(ops.ACTIVATIONS) - {"exponential"}))
def test_an_activation_of_huge_numbers_is_finite_and_of_nan_is_nan(name, dtype, isa):
    x = np.array([[-1e4, -100, -0.0, 0.0, 100, 1e4]], dtype)
    y = ops.activation_forward(name, x)
    assert np.isfinite(y).all()
    dx = ops.activation_backward(name, x if ops.keeps_input(name) else y, np.ones_like(x))
    assert np.isfinite(dx).all()
    expected, dexpected = reference.activation(name, np.float64(x), np.ones(x.shape))
    np.testing.assert_allclose(y, expected, rtol=16 * U[dtype], atol=16 * U[dtype])
    inner = slice(None) if name in ("linear", "softmax") else [0, 1, 4, 5]
    np.testing.assert_allclose(dx[:, inner], dexpected[:, inner], rtol=1e-5, atol=1e-6)
    assert np.isnan(ops.activation_forward(name, np.array([[np.nan, 1]], dtype))[0, 0])


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_a_nan_of_any_kind_stays_one(name, dtype, isa):
    """R's missing value, for one, has bits that a NaN of arithmetic has not."""
    nan = np.array([np.nan], dtype)
    nan = nan.view(f"u{nan.itemsize}")
    more = np.array([0, 1, 0x7F, 0x80, 0xFF, 0x1FF, 0x7A2, 0xFFF], nan.dtype)
    x = (nan | more).view(dtype)[:, None].repeat(3, axis=1)
    assert np.isnan(ops.activation_forward(name, np.concatenate([x, -x]))).all()


def test_the_exponential_function_goes_on_to_infinity_and_to_zero(dtype, isa):
    most = np.log(np.finfo(dtype).max)
    x = np.array([[most - 0.2, most, most + 0.5, 1e4, np.inf, 1 - most, -1e4, -np.inf]], dtype)
    with np.errstate(over="ignore"):
        expected = np.exp(np.float64(x)).astype(dtype)
    y = ops.activation_forward("exponential", x)
    # x is rounded: half an ulp of it, 4 (float64: 32) times that of 1, is so much of the result
    np.testing.assert_allclose(y, expected, rtol=2048 * U[dtype], atol=np.finfo(dtype).tiny)
    assert np.isnan(ops.activation_forward("exponential", np.array([[np.nan]], dtype))).all()


def test_a_nan_makes_its_row_of_a_softmax_nan_and_no_other(dtype, isa):
    for n in (1, 5, 40):  # less than a register; several, and some more
        x = np.zeros((n + 1, n), dtype)
        np.fill_diagonal(x, np.nan)
        y = ops.activation_forward("softmax", x)
        assert np.isnan(y[:n]).all()
        assert np.isfinite(y[n]).all()


def test_the_tail_of_gelu_is_relatively_accurate(dtype, isa):
    x = np.linspace(-6, -1, 1001).astype(dtype)[None]
    expected, _ = reference.activation("gelu", np.float64(x), np.ones(x.shape))
    # erfc(z) falls as exp(-z^2), so that an error u of z, here and in the reference, moves it by
    # 2 z^2 u, z^2 being 18 at the end
    y = ops.activation_forward("gelu", x)
    np.testing.assert_allclose(y, expected, rtol=128 * U[dtype])


# ---- layer normalisation -------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "F"), [(0, 3), (1, 1), (5, 7), (200, 33), (130, 100)])
@pytest.mark.parametrize("parameters", [True, False])
def test_layer_norm_agrees_with_the_reference(N, F, parameters, dtype, isa):
    x = (normal(N, F) * 3 + 1).astype(dtype)
    dy = normal(N, F, dtype=dtype, seed=2)
    gamma, beta = normal(F, dtype=dtype, seed=3), normal(F, dtype=dtype, seed=4)
    given = (gamma, beta) if parameters else (None, None)

    def compute():
        y, mean, rstd = ops.layer_norm_forward(x, *given, 1e-3)
        return [y, *ops.layer_norm_backward(x, given[0], mean, rstd, dy)]

    actual = same_for_any_threads(compute)
    wide = [np.float64(a) for a in (x, gamma, beta, dy)]
    if not parameters:
        wide[1:3] = np.ones(F), np.zeros(F)
    expected = reference.layer_norm(wide[0], wide[1], wide[2], 1e-3, wide[3])
    for got, want in zip(actual, expected, strict=True):
        # sums of F (and N) terms; for F = 1 the variance is 0 and rstd 30, all of it rounding
        largest = max(1.0, np.abs(want).max(initial=0))
        assert np.abs(got - want).max(initial=0) <= (F + N + 100) * U[dtype] * largest


@pytest.mark.parametrize("which", ["x", "dout"])
def test_the_gradient_of_layer_norm_may_take_the_place_of_an_input(which):
    rng = np.random.default_rng(3)
    arrays = {"x": rng.normal(size=(5, 37)), "dout": rng.normal(size=(5, 37))}
    gamma, mean, rstd = rng.normal(size=37), np.zeros(5), np.ones(5)

    def gradients(dx):
        dgamma, dbeta = np.empty(37), np.empty(37)
        given = arrays["x"], gamma, mean, rstd, arrays["dout"]
        _core.layer_norm_backward(*given, dx, dgamma, dbeta)
        return dx, dgamma, dbeta

    expected = gradients(np.empty((5, 37)))
    for a, b in zip(gradients(arrays[which]), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_layer_norm_backward_computes_only_what_is_asked_for():
    x, gamma = normal(9, 5), normal(5)
    _, mean, rstd = ops.layer_norm_forward(x, gamma, None, 1e-3)
    full = ops.layer_norm_backward(x, gamma, mean, rstd, x)
    for i, name in enumerate(("need_dx", "need_dgamma", "need_dbeta")):
        part = ops.layer_norm_backward(x, gamma, mean, rstd, x, **{name: False})
        assert part[i] is None
        assert all(np.array_equal(a, b) for a, b in zip(part, full, strict=True) if a is not None)


# ---- masks ---------------------------------------------------------------------------------------

MASKS = {
    "full": np.ones((4, 6), bool),
    "right padding": np.arange(6) < np.array([6, 2, 0, 3])[:, None],
    "left padding": np.arange(6) >= np.array([0, 2, 6, 3])[:, None],
    "holes": np.random.default_rng(0).random((4, 6)) < 0.6,
    "nothing": np.zeros((4, 6), bool),
    "no rows": np.ones((0, 6), bool),
    "reversed view": (np.arange(6) < np.array([6, 2, 0, 3])[:, None])[:, ::-1],
}
KINDS = {"full": ops.FULL, "right padding": ops.PREFIX, "nothing": ops.PREFIX, "no rows": ops.FULL}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_says_how_many_steps_exist_and_how_they_lie(name):
    lengths, kind = ops.count_steps(MASKS[name])
    assert lengths.tolist() == MASKS[name].sum(axis=1).tolist()
    assert kind == KINDS.get(name, ops.GAPS)


@pytest.mark.parametrize("trailing", [(), (3,), (2, 5)])
@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "uint16"])
@pytest.mark.parametrize("name", MASKS)
def test_steps_are_gathered_and_scattered_as_in_the_reference(name, kind, trailing):
    mask = MASKS[name]
    x = (normal(*mask.shape, *trailing) * 100).astype(kind)
    steps = max(1, mask.sum(axis=1).max(initial=0))
    gathered = reference.gather(x, mask, steps)
    (actual,) = same_for_any_threads(lambda: [ops.gather_steps(x, mask, steps)])
    assert (actual.dtype, actual.shape) == (x.dtype, gathered.shape)
    assert actual.tobytes() == gathered.tobytes()
    flipped = ops.gather_steps(x[:, ::-1], mask[:, ::-1], steps)
    assert flipped.tobytes() == reference.gather(x[:, ::-1], mask[:, ::-1], steps).tobytes()
    for repeat in (False, True):
        whole = ops.scatter_steps(gathered, mask, repeat=repeat)
        assert whole.tobytes() == reference.scatter(gathered, mask, repeat).tobytes()


@pytest.mark.parametrize("name", MASKS)
def test_the_gradient_of_repeated_steps_is_the_sum_over_where_they_went(name, dtype):
    mask = MASKS[name]
    steps = max(1, mask.sum(axis=1).max(initial=0))
    dout = normal(*mask.shape, 5, dtype=dtype)
    expected = np.zeros((len(mask), steps, 5))
    for place in np.ndindex(len(mask), steps):
        one = np.zeros((len(mask), steps, 1))
        one[place] = 1
        went = reference.scatter(one, mask, repeat=True)[..., 0] == 1
        expected[place] = np.float64(dout)[went].sum(axis=0)
    (actual,) = same_for_any_threads(lambda: [ops.repeat_steps_backward(dout, mask, steps)])
    assert np.abs(actual - expected).max(initial=0) <= 32 * U[dtype]


def test_a_step_differs_if_any_feature_does(dtype):
    x = np.zeros((2, 3, 4), dtype)
    x[0, 1, 2], x[1, 0, 3], x[1, 2] = 1, np.nan, -1
    expected = [[False, True, False], [True, False, True]]
    assert ops.differs(x, 0.0).tolist() == expected
    assert ops.differs(np.full((1, 1, 3), -1, dtype), -1.0).tolist() == [[False]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.count_steps(np.ones((2, 3))), TypeError, "mask: expected a bool array"),
        (lambda: ops.count_steps(np.ones(3, bool)), TypeError, r"got bool \(3,\)"),
        (
            lambda: ops.gather_steps(np.ones((2, 4)), np.ones((2, 3), bool), 3),
            ValueError,
            r"mask: expected shape \(2, 4\), got \(2, 3\)",
        ),
        (
            lambda: ops.scatter_steps(np.ones((2, 2)), np.ones((2, 3), bool)),
            ValueError,
            "mask: expected at most 2 steps in a row, got 3",
        ),
        (
            lambda: ops.repeat_steps_backward(np.ones((2, 3, 1)), np.ones((2, 3), bool), 2),
            ValueError,
            "mask: expected at most 2",
        ),
        (
            lambda: ops.pool_forward("mean", np.ones((2, 3, 4)), np.ones((2, 2), bool)),
            ValueError,
            "mask",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("dtype", [object, [("a", object)], [("a", float), ("b", "O", 2)]])
def test_steps_that_refer_to_objects_are_refused(dtype):
    x = np.zeros((2, 3, 4), dtype)
    with pytest.raises(TypeError, match="x: expected a dtype without objects, got"):
        ops.gather_steps(x, np.ones((2, 3), bool), 3)
    with pytest.raises(TypeError, match="x: expected a dtype without objects, got"):
        ops.scatter_steps(x, np.ones((2, 3), bool))


# ---- pooling and merging -------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
@pytest.mark.parametrize("name", MASKS)
def test_pooling_agrees_with_the_reference(pooling, name, dtype):
    mask = MASKS[name]
    x, dout = normal(*mask.shape, 37, dtype=dtype), normal(len(mask), 37, dtype=dtype, seed=2)

    def compute():
        out, pooled = ops.pool_forward(pooling, x, None if name == "full" else mask)
        return [out, ops.pool_backward(pooled, dout)]

    expected = reference.pool(pooling, np.float64(x), mask, np.float64(dout))
    for got, want in zip(same_for_any_threads(compute), expected, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max(initial=0) <= 8 * U[dtype]


def test_the_mean_of_many_steps_is_made_in_blocks():
    x = np.full((1, 100_000, 1), 0.1, np.float32)
    out, _ = ops.pool_forward("mean", x, None)
    # one chain of 100,000 float32 additions errs by 1e-3 here
    assert abs(out[0, 0] / np.float32(0.1) - 1) < 1e-5


def test_the_first_of_equal_maxima_gets_the_gradient_and_a_nan_is_the_maximum():
    x = np.array([[[1.0], [3.0], [3.0]], [[1.0], [np.nan], [2.0]]])
    out, pooled = ops.pool_forward("max", x, None)
    assert out[0, 0] == 3
    assert np.isnan(out[1, 0])
    assert ops.pool_backward(pooled, np.ones((2, 1)))[0, :, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("mode", ["sum", "ave", "mul"])
@pytest.mark.parametrize("shape", [(0, 6), (5, 14), (3, 40, 26)])
def test_two_halves_are_merged_as_in_the_reference(mode, shape, dtype):
    x = normal(*shape, dtype=dtype)
    dout = normal(*shape[:-1], shape[-1] // 2, dtype=dtype, seed=2)
    actual = same_for_any_threads(
        lambda: [ops.merge_forward(mode, x), ops.merge_backward(mode, x, dout)]
    )
    expected = reference.merge(mode, np.float64(x), np.float64(dout))
    for got, want in zip(actual, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=4 * U[dtype], atol=4 * U[dtype])
