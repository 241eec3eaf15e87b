"""The core's optimiser steps against the reference, with every kind of clipping."""

import itertools

import numpy as np
import pytest

from cases import U, assert_same_for_any_threads
from fastrnn import _core
from reference import optimizers as reference

SHAPES = [(1,), (7,), (64, 33), (3, 5, 2), (20_011,), (0,)]
CLIPS = [("none", 0.0), ("value", 0.3), ("norm", 0.9), ("global_norm", 20.0), ("norm", 1e6)]
SCALE = 0.5


def steps_of_gradients(dtype, count=4):
    rng = np.random.default_rng(9)
    params = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    return params, [[rng.normal(size=s).astype(dtype) for s in SHAPES] for _ in range(count)]


def assert_follows(rule, arguments, take_step, slots, clip, dtype):
    """`take_step(params, grads, slots, step)` in the core does what the reference's rule does."""
    start, gradients = steps_of_gradients(dtype)

    def compute():
        params = [p.copy() for p in start]
        kept = [[np.zeros_like(p) for p in start] if used else [] for used in slots]
        for step, grads in enumerate(gradients, start=1):
            take_step(params, grads, kept, step)
        return params

    actual = assert_same_for_any_threads(compute)
    params, kept = [np.float64(p) for p in start], [{} for _ in start]
    for step, grads in enumerate(gradients, start=1):
        scaled = reference.clipped([SCALE * np.float64(g) for g in grads], *clip)
        params = [
            rule(p, g, k, step, **arguments) for p, g, k in zip(params, scaled, kept, strict=True)
        ]
    for got, expected in zip(actual, params, strict=True):
        # A few roundings a step, of numbers up to 5; steps of about 0.1 from quotients that err by
        # 10 u.
        np.testing.assert_allclose(got, expected, rtol=0, atol=100 * U[dtype])


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_agrees_with_the_reference(momentum, nesterov, weight_decay, clip, dtype, isa):
    arguments = dict(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def step(params, grads, kept, number):
        rule = (0.1, momentum, nesterov, weight_decay, SCALE)
        _core.sgd(params, grads, kept[0], *rule, *clip)

    assert_follows(reference.sgd, arguments, step, [momentum > 0], clip, dtype)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize(("amsgrad", "weight_decay"), [(False, 0.0), (True, 0.01)])
def test_adam_agrees_with_the_reference(amsgrad, weight_decay, clip, dtype, isa):
    arguments = dict(
        lr=0.01, beta1=0.9, beta2=0.999, eps=1e-7, amsgrad=amsgrad, weight_decay=weight_decay
    )

    def step(params, grads, kept, number):
        rule = (number, 0.01, 0.9, 0.999, 1e-7, weight_decay, SCALE)
        _core.adam(params, grads, *kept, *rule, *clip)

    assert_follows(reference.adam, arguments, step, [True, True, amsgrad], clip, dtype)


@pytest.mark.parametrize("clip", CLIPS[:3], ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(
    ("centered", "momentum"), list(itertools.product([False, True], [0.0, 0.8]))
)
def test_rmsprop_agrees_with_the_reference(centered, momentum, weight_decay, clip, dtype, isa):
    arguments = dict(
        lr=0.01, rho=0.9, momentum=momentum, eps=1e-3, centered=centered, weight_decay=weight_decay
    )

    def step(params, grads, kept, number):
        rule = (0.01, 0.9, momentum, 1e-3, weight_decay, SCALE)
        _core.rmsprop(params, grads, *kept, *rule, *clip)

    slots = [True, centered, momentum > 0]
    assert_follows(reference.rmsprop, arguments, step, slots, clip, dtype)


def test_global_norm_agrees_with_the_reference(dtype, isa):
    rng = np.random.default_rng(10)
    shapes = [(3,), (100, 77), (200_003,), (0, 4), (1, 1)]
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    (norm,) = assert_same_for_any_threads(lambda: [_core.global_norm(arrays)])
    # Squares and sums are made in double: 200,000 terms in blocks of 4,096 and 8 chains.
    assert norm == pytest.approx(reference.global_norm(arrays), rel=1e-12)
    assert _core.global_norm([]) == 0


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("shape", [(50, 7), (400, 100), (6, 5000), (3, 1), (4, 0)], ids=str)
def test_a_gradient_of_rows_gives_the_step_of_the_whole_array(shape, clip, dtype):
    rng = np.random.default_rng(12)
    ids = rng.permutation(shape[0])[: shape[0] // 2]
    rows = rng.normal(size=(len(ids), shape[1])).astype(dtype)
    whole = np.zeros(shape, dtype)
    whole[ids] = rows
    start = [rng.normal(size=shape).astype(dtype), np.ones(5, dtype)]
    other = rng.normal(size=5).astype(dtype)

    def compute(gradient):
        params = [p.copy() for p in start]
        kept = [[np.zeros_like(p) for p in start] for _ in range(3)]
        for step in range(1, 4):
            rule = (step, 0.01, 0.9, 0.999, 1e-7, 0.01, SCALE)
            _core.adam(params, [gradient, other], *kept, *rule, *clip)
        return params

    of_rows = assert_same_for_any_threads(lambda: compute((ids, rows)))
    for a, b in zip(of_rows, compute(whole), strict=True):
        if clip[0] in ("none", "value"):
            assert np.array_equal(a, b)
        else:  # the squares of whole rows are summed block by block: in another order
            np.testing.assert_allclose(a, b, rtol=0, atol=100 * U[dtype])
    norms = [_core.global_norm([gradient, other]) for gradient in ((ids, rows), whole)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


@pytest.mark.parametrize(
    ("ids", "rows", "error", "words"),
    [
        ([0, 4], (2, 3), IndexError, "ids: expected 0 .. 3, got 4"),
        ([0, -1], (2, 3), IndexError, "ids: expected 0 .. 3, got -1"),
        ([1, 1], (2, 3), ValueError, "ids: expected each once, got 1 twice"),
        ([0], (2, 3), ValueError, "ids: expected shape"),
        ([0, 1], (2, 2), ValueError, "params: expected shape"),
        ([0, 1], (2,), ValueError, "grads"),
    ],
)
def test_rows_that_do_not_fit_are_named(ids, rows, error, words):
    params, gradient = [np.ones((4, 3))], (np.array(ids), np.ones(rows))
    with pytest.raises(error, match=words):
        _core.sgd(params, [gradient], [], 0.1, 0.9, False, 0.0, 1.0, "none", 0.0)
    assert (params[0] == 1).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_seen_after_clipping(wrong, dtype, isa):
    grads = [np.ones(1001, dtype), np.ones(3, dtype)]
    grads[0][500] = wrong
    assert not np.isfinite(_core.global_norm(grads))
    for clip, spoiled in (("norm", [True, False]), ("global_norm", [True, True])):
        params = [np.zeros_like(g) for g in grads]
        _core.sgd(params, grads, [], 0.1, 0.0, False, 0.0, 1.0, clip, 1.0)
        assert [bool(np.isnan(p).all()) for p in params] == spoiled


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: _core.sgd(p, p, p + p, 0.1, 0.9, False, 0.0, 1.0, "none", 0.0), "velocities"),
        (lambda p: _core.sgd(p, [], [], 0.1, 0.9, False, 0.0, 1.0, "none", 0.0), "params"),
        (lambda p: _core.sgd(p, p, [], 0.1, 0.9, False, 0.0, 1.0, "most", 0.0), "clip"),
        (
            lambda p: _core.adam(p, p, p, [], [], 1, 0.1, 0.9, 0.9, 1e-7, 0.0, 1.0, "none", 0.0),
            "second",
        ),
        (
            lambda p: _core.adam(p, p, p, p, [], 0, 0.1, 0.9, 0.9, 1e-7, 0.0, 1.0, "none", 0.0),
            "step",
        ),
        (
            lambda p: _core.sgd([np.ones(4)], p, [], 0.1, 0.9, False, 0.0, 1.0, "none", 0.0),
            "params: expected shape",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call([np.ones(3)])
