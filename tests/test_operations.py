"""Linear, embedding and dropout against the reference."""

import itertools

import numpy as np
import pytest

from cases import U, assert_same_for_any_threads, filled, settings
from fastrnn import _core, ops
from reference import operations as reference

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


@pytest.mark.parametrize("sizes", [(0, 3), (2, 0), (0, 0)])
def test_a_linear_map_of_nothing_is_named(sizes):
    units, size = sizes
    x, weight, dout = (np.ones(shape, "f") for shape in ((4, size), sizes, (4, units)))
    for call in (
        lambda: ops.linear_forward(x, weight),
        lambda: ops.linear_backward(x, weight, dout),
    ):
        with pytest.raises(ValueError, match=rf"^weight: .* got shape \({units}, {size}\)"):
            call()


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
