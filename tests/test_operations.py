"""Linear, embedding, dropout, losses, optimisers and norm against the reference."""

import itertools

import numpy as np
import pytest

from cases import settings
from fastrnn import _core
from reference import operations as reference

U = {"float32": 2.0**-24, "float64": 2.0**-53}
THREADS = [1, 2, 7]


def assert_same_for_any_threads(compute):
    """`compute` returns a list of arrays and numbers; returns those of one thread."""
    answers = []
    for threads in THREADS:
        with settings(threads=threads):
            answers.append([np.asarray(a) for a in compute()])
    for answer in answers[1:]:
        assert [a.tobytes() for a in answer] == [a.tobytes() for a in answers[0]]
    return answers[0]


def filled(shape, dtype):
    """An output that holds no right answer yet."""
    return np.full(shape, np.nan, dtype)


# ---- linear --------------------------------------------------------------------------------------

LINEAR_SIZES = [
    (0, 3, 4),
    (1, 1, 1),
    (1, 300, 70),
    (5, 7, 3),
    (13, 33, 17),
    (64, 65, 130),
    (700, 16, 9),
    (3, 2, 500),
]


@pytest.mark.parametrize(("N", "K", "M"), LINEAR_SIZES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_agrees_with_the_reference(N, K, M, has_bias, dtype, isa):
    rng = np.random.default_rng(1)
    x, weight, bias, dout = (
        rng.normal(size=shape).astype(dtype) for shape in [(N, K), (M, K), (M,), (N, M)]
    )
    given_bias = bias if has_bias else None

    def compute():
        out, dx, dweight = filled((N, M), dtype), filled((N, K), dtype), filled((M, K), dtype)
        dbias = filled(M, dtype)
        _core.linear_forward(x, weight, given_bias, out)
        _core.linear_backward(x, weight, dout, dx, dweight, dbias)
        return [out, dx, dweight, dbias]

    actual = assert_same_for_any_threads(compute)
    wide = [np.float64(a) for a in (x, weight, dout)]
    expected = [reference.linear_forward(*wide[:2], np.float64(bias) if has_bias else None)]
    expected += reference.linear_backward(*wide)
    # a sum of n products errs by at most (n + 1) u times the sum of absolute values (Higham 2002);
    # so may the reference
    absolute = [np.abs(a) for a in wide]
    sums = [
        reference.linear_forward(*absolute[:2], np.abs(bias)),
        *reference.linear_backward(*absolute),
    ]
    for got, want, total, terms in zip(actual, expected, sums, (K + 1, M, N, N), strict=True):
        assert (np.abs(got - want) <= 2 * (terms + 1) * U[dtype] * total + 1e-37).all()


def test_linear_backward_computes_only_what_is_asked_for(dtype):
    rng = np.random.default_rng(2)
    x, weight, dout = (rng.normal(size=s).astype(dtype) for s in [(9, 5), (6, 5), (9, 6)])
    shapes = [(9, 5), (6, 5), (6,)]
    full = [filled(s, dtype) for s in shapes]
    _core.linear_backward(x, weight, dout, *full)
    for wanted in itertools.product([True, False], repeat=3):
        outs = [filled(s, dtype) if want else None for s, want in zip(shapes, wanted, strict=True)]
        _core.linear_backward(x, weight, dout, *outs)
        assert all(o is None or np.array_equal(o, f) for o, f in zip(outs, full, strict=True))


def test_a_row_of_linear_does_not_depend_on_the_other_rows(dtype, isa):
    rng = np.random.default_rng(3)
    x, weight, bias = (rng.normal(size=s).astype(dtype) for s in [(67, 130), (50, 130), (50,)])
    whole = filled((67, 50), dtype)
    _core.linear_forward(x, weight, bias, whole)
    for rows in [slice(0, 1), slice(3, 10), slice(60, 67), slice(1, 66)]:
        part = filled(whole[rows].shape, dtype)
        _core.linear_forward(x[rows].copy(), weight, bias, part)
        assert part.tobytes() == whole[rows].tobytes()


# ---- embedding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("N", "V", "E"), [(0, 3, 4), (1, 1, 1), (7, 5, 3), (500, 11, 33), (3000, 400, 64), (40, 2, 300)]
)
def test_embedding_agrees_with_the_reference(N, V, E, dtype, isa):
    rng = np.random.default_rng(4)
    ids = rng.integers(0, V, size=N)
    table, dout = rng.normal(size=(V, E)).astype(dtype), rng.normal(size=(N, E)).astype(dtype)

    def compute():
        out, dtable = filled((N, E), dtype), filled((V, E), dtype)
        _core.embedding_forward(ids, table, out)
        _core.embedding_backward(ids, dout, dtable)
        return [out, dtable]

    out, dtable = assert_same_for_any_threads(compute)
    assert np.array_equal(out, reference.embedding_forward(ids, table))
    total = reference.embedding_backward(ids, np.abs(dout), V)
    error = np.abs(dtable - reference.embedding_backward(ids, dout, V))
    assert (error <= (N + 1) * U[dtype] * total).all()


@pytest.mark.parametrize("bad", [-1, 5, 2**62, -(2**63)])
@pytest.mark.parametrize("place", [0, 7, 999])
def test_an_id_outside_the_table_is_an_error_before_anything_is_written(bad, place):
    ids = np.zeros(1000, np.int64)
    ids[place] = bad
    out = filled((1000, 3), "float32")
    with pytest.raises(IndexError):
        _core.embedding_forward(ids, np.ones((5, 3), np.float32), out)
    assert np.isnan(out).all()
    dtable = filled((5, 3), "float32")
    with pytest.raises(IndexError):
        _core.embedding_backward(ids, np.ones((1000, 3), np.float32), dtable)
    assert np.isnan(dtable).all()


# ---- dropout -------------------------------------------------------------------------------------


def dropped(x, p, seed=7, stream=0, first_step=0):
    out = filled(x.shape, x.dtype)
    _core.dropout(x, out, p, seed, stream, first_step)
    return out


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_one_minus_p_of_the_elements_and_scales_them_up(p, dtype, isa):
    x = np.random.default_rng(5).normal(size=(20, 50, 37)).astype(dtype)
    (out,) = assert_same_for_any_threads(lambda: [dropped(x, p)])
    kept = out != 0
    assert abs(kept.mean() - (1 - p)) <= 5 * np.sqrt(p * (1 - p) / x.size)
    np.testing.assert_allclose(out[kept], x[kept] / (1 - p), rtol=4 * U[dtype])


def test_the_mask_of_dropout_is_the_same_on_every_isa_and_for_both_types():
    from fastrnn import runtime

    masks = []
    for isa, dtype in itertools.product(runtime.available_isas(), ["float32", "float64"]):
        with settings(isa=isa):
            masks.append(dropped(np.ones((7, 9, 45), dtype), 0.3) != 0)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_the_mask_of_dropout_depends_on_absolute_time_row_and_unit_alone(dtype, isa):
    whole = dropped(np.ones((6, 40, 33), dtype), 0.5)
    part = dropped(np.ones((4, 10, 20), dtype), 0.5, first_step=13)
    assert np.array_equal(part, whole[:4, 13:23, :20])


def test_masks_of_other_seeds_and_streams_are_independent():
    x = np.ones((10, 50, 40))
    masks = [
        dropped(x, 0.5, seed, stream) != 0
        for seed, stream in [(7, 0), (8, 0), (7, 1), (2**63 + 7, 0)]
    ]
    for one, another in itertools.combinations(masks, 2):
        assert abs((one == another).mean() - 0.5) < 5 * 0.5 / np.sqrt(x.size)


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("N", "C"), [(0, 3), (1, 1), (5, 2), (33, 17), (700, 65), (6, 1000)])
def test_softmax_cross_entropy_agrees_with_the_reference(N, C, weighted, dtype, isa):
    rng = np.random.default_rng(6)
    logits = (rng.normal(size=(N, C)) * 4).astype(dtype)
    labels = rng.integers(-1, C, size=N)
    weights = rng.random(N).astype(dtype) if weighted else None

    def compute():
        losses, dlogits = filled(N, dtype), filled((N, C), dtype)
        return [
            _core.softmax_cross_entropy(logits, labels, weights, losses, dlogits),
            losses,
            dlogits,
        ]

    total, losses, dlogits = assert_same_for_any_threads(compute)
    wide_weights = np.ones(N) if weights is None else np.float64(weights)
    expected, dexpected = reference.softmax_cross_entropy(np.float64(logits), labels, wide_weights)
    # exp and log err by a few ulps, and a logit of magnitude 16 moves exp by 16 u; the sum of C
    # terms adds at most C u
    bound = (64 + C) * U[dtype]
    np.testing.assert_allclose(losses, expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(dlogits, dexpected, rtol=bound, atol=bound)
    np.testing.assert_allclose(total, wide_weights @ expected, rtol=bound, atol=bound)


def test_softmax_cross_entropy_may_write_its_gradient_over_the_logits(dtype, isa):
    rng = np.random.default_rng(7)
    logits, labels = rng.normal(size=(50, 13)).astype(dtype), rng.integers(0, 13, size=50)
    losses, dlogits, same = filled(50, dtype), filled((50, 13), dtype), logits.copy()
    total = _core.softmax_cross_entropy(logits, labels, None, losses, dlogits)
    assert _core.softmax_cross_entropy(same, labels, None, losses, same) == total
    assert np.array_equal(same, dlogits)


def test_huge_logits_give_finite_losses_and_gradients(dtype, isa):
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [3e38, -3e38, 0]], dtype)
    losses, dlogits = filled(3, dtype), filled((3, 3), dtype)
    _core.softmax_cross_entropy(logits, np.array([1, 0, 0]), None, losses, dlogits)
    np.testing.assert_allclose(losses, [2e4, np.log(3), 0], rtol=1e-6)
    np.testing.assert_allclose(dlogits, [[1, -1, 0], [-2 / 3, 1 / 3, 1 / 3], [0, 0, 0]], atol=1e-6)
    losses, dlogits = filled(2, dtype), filled(2, dtype)
    _core.binary_cross_entropy(
        np.array([1e4, -1e4], dtype), np.array([0, 1], dtype), None, losses, dlogits
    )
    np.testing.assert_allclose(losses, [1e4, 1e4], rtol=1e-6)
    np.testing.assert_allclose(dlogits, [1, -1], atol=1e-6)


def test_a_label_of_c_or_more_is_an_error_before_anything_is_written():
    logits, losses, dlogits = (
        np.ones((9, 4), np.float32),
        filled(9, "float32"),
        filled((9, 4), "float32"),
    )
    for bad in [4, 2**40]:
        labels = np.array([0] * 8 + [bad])
        with pytest.raises(IndexError):
            _core.softmax_cross_entropy(logits, labels, None, losses, dlogits)
        assert np.isnan(losses).all()
        assert np.isnan(dlogits).all()


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("N", [0, 1, 5, 33, 5000])
def test_binary_cross_entropy_agrees_with_the_reference(N, weighted, dtype, isa):
    rng = np.random.default_rng(8)
    logits = (rng.normal(size=N) * 6).astype(dtype)
    targets = rng.choice([0, 1, 0.3], size=N).astype(dtype)
    weights = rng.random(N).astype(dtype) if weighted else None

    def compute():
        losses, dlogits = filled(N, dtype), filled(N, dtype)
        return [
            _core.binary_cross_entropy(logits, targets, weights, losses, dlogits),
            losses,
            dlogits,
        ]

    total, losses, dlogits = assert_same_for_any_threads(compute)
    wide_weights = np.ones(N) if weights is None else np.float64(weights)
    expected, dexpected = reference.binary_cross_entropy(
        np.float64(logits), np.float64(targets), wide_weights
    )
    # losses up to 24 are rounded at their own size, after an exp and a log of a few ulps
    np.testing.assert_allclose(losses, expected, rtol=8 * U[dtype], atol=64 * U[dtype])
    np.testing.assert_allclose(dlogits, dexpected, rtol=8 * U[dtype], atol=8 * U[dtype])
    np.testing.assert_allclose(
        total, wide_weights @ expected, rtol=64 * U[dtype], atol=64 * U[dtype]
    )


# ---- optimisers ----------------------------------------------------------------------------------

SHAPES = [(1,), (7,), (64, 33), (3, 5, 2), (20_011,), (0,)]


def steps_of_gradients(dtype, count=4):
    rng = np.random.default_rng(9)
    params = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    return params, [[rng.normal(size=s).astype(dtype) for s in SHAPES] for _ in range(count)]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_agrees_with_the_reference(momentum, nesterov, weight_decay, dtype, isa):
    start, gradients = steps_of_gradients(dtype)

    def compute():
        params = [p.copy() for p in start]
        velocities = [np.zeros_like(p) for p in start] if momentum else []
        for grads in gradients:
            _core.sgd(params, grads, velocities, 0.1, momentum, nesterov, weight_decay, 0.5)
        return params

    actual = assert_same_for_any_threads(compute)
    for i, param in enumerate(np.float64(p) for p in start):
        velocity = 0.0
        for grads in gradients:
            param, velocity = reference.sgd(
                param, 0.5 * np.float64(grads[i]), velocity, 0.1, momentum, nesterov, weight_decay
            )
        # a few roundings a step, of numbers up to 5
        np.testing.assert_allclose(actual[i], param, rtol=0, atol=100 * U[dtype])


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_adam_agrees_with_the_reference(weight_decay, dtype, isa):
    start, gradients = steps_of_gradients(dtype)
    rule = (0.01, 0.9, 0.999, 1e-7, weight_decay)

    def compute():
        params = [p.copy() for p in start]
        first, second = ([np.zeros_like(p) for p in start] for _ in range(2))
        for step, grads in enumerate(gradients, start=1):
            _core.adam(params, grads, first, second, step, *rule, 0.5)
        return params + first + second

    actual = assert_same_for_any_threads(compute)
    for i, param in enumerate(np.float64(p) for p in start):
        first = second = 0.0
        for step, grads in enumerate(gradients, start=1):
            param, first, second = reference.adam(
                param, 0.5 * np.float64(grads[i]), first, second, step, *rule
            )
        for group, expected in enumerate((param, first, second)):
            got = actual[group * len(start) + i]
            np.testing.assert_allclose(got, expected, rtol=0, atol=100 * U[dtype])


def test_global_norm_agrees_with_the_reference(dtype, isa):
    rng = np.random.default_rng(10)
    arrays = [
        rng.normal(size=s).astype(dtype) for s in [(3,), (100, 77), (200_003,), (0, 4), (1, 1)]
    ]
    (norm,) = assert_same_for_any_threads(lambda: [_core.global_norm(arrays)])
    # a block's squares are added in the arrays' own type, over several lanes, the blocks in double
    assert norm == pytest.approx(reference.global_norm(arrays), rel=32 * U[dtype])
    assert _core.global_norm([]) == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_global_norm_shows_a_gradient_that_is_not_finite(wrong, dtype, isa):
    array = np.ones(1001, dtype)
    array[500] = wrong
    assert not np.isfinite(_core.global_norm([array]))
