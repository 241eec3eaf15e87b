"""tanh and sigmoid: how many units in the last place (ulp) they err, on every ISA."""

import numpy as np
import pytest

from fastrnn import _core

# DESIGN.md's promise where argument and result are normal numbers.
ULPS = {
    ("tanh", "float32"): 2,
    ("sigmoid", "float32"): 4,
    ("tanh", "float64"): 4,
    ("sigmoid", "float64"): 4,
}

# A type whose own functions err far less than one ulp of the tested type; float64 needs more than
# 53 bits.
FINER = {"float32": np.float64, "float64": np.longdouble}
needs_finer = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="longdouble is no finer than float64 here"
)
FUNCTIONS = [
    ("tanh", "float32"),
    ("sigmoid", "float32"),
    pytest.param("tanh", "float64", marks=needs_finer),
    pytest.param("sigmoid", "float64", marks=needs_finer),
]


def computed(name, x):
    y = np.full_like(x, np.nan)
    _core.activation(name, x, y)
    return y


def exact(name, x):
    """In the finer type."""
    x = x.astype(FINER[str(x.dtype)])
    with np.errstate(over="ignore", under="ignore"):
        return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))


def largest_error(name, x):
    """In ulps of the exact result; argument and result normal numbers."""
    dtype, tiny = x.dtype, np.finfo(x.dtype).tiny
    x = x[np.abs(x) >= tiny]
    wanted, got = exact(name, x), computed(name, x)
    normal = np.abs(wanted) >= tiny
    wanted, got = wanted[normal], got[normal]
    with np.errstate(under="ignore"):
        ulp = np.abs(np.spacing(wanted.astype(dtype))).astype(wanted.dtype)
    return (np.abs(got - wanted) / ulp).max(initial=0)


def arguments(dtype):
    """Every exponent, finely from -40 to 40, around the points where such functions change form."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(11)
    if dtype == np.float32:
        every_exponent = np.arange(0, 2**32, 2011, dtype=np.uint64).astype(np.uint32).view(dtype)
    else:
        every_exponent = rng.integers(0, 2**64, size=300_000, dtype=np.uint64).view(dtype)
    every_exponent = every_exponent[np.isfinite(every_exponent)]
    fine = np.linspace(-40, 40, 400_001, dtype=dtype)
    small = np.geomspace(np.finfo(dtype).tiny, 1, 20_000, dtype=dtype)
    edges = np.array(
        [0.125, 0.25, 0.3, 0.5, 0.55, 0.625, 1, 8, 9, 10, 18, 19, 20, 22, 87, 88, 104, 708, 745],
        dtype,
    )
    edges = (edges[:, None] * (1 + np.finfo(dtype).eps * np.arange(-100, 101, dtype=dtype))).ravel()
    last_normal_exp = np.linspace(1.01, 0.98, 20_001, dtype=dtype) * np.log(np.finfo(dtype).tiny)
    parts = [every_exponent, fine, small, -small, edges, -edges, last_normal_exp]
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), FUNCTIONS)
def test_the_error_is_within_the_promised_ulps(name, dtype, isa):
    assert largest_error(name, arguments(dtype)) <= ULPS[name, dtype]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_the_error_is_within_the_promised_ulps_for_every_float32(name, isa):
    for start in range(0, 2**32, 2**20):
        x = np.arange(start, start + 2**20, dtype=np.uint64).astype(np.uint32).view(np.float32)
        assert largest_error(name, x[np.isfinite(x)]) <= ULPS[name, "float32"], hex(start)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_nan_stays_nan_and_infinities_saturate(name, dtype, isa):
    x = np.array([np.nan, -np.nan, -np.inf, np.inf, -1e30, 1e30, 0.0, -0.0], dtype)
    low = -1 if name == "tanh" else 0
    middle = 0 if name == "tanh" else 0.5
    expected = [np.nan, np.nan, low, 1, low, 1, middle, middle]
    for shift in range(len(x)):  # in every lane of a register, beside any neighbour
        np.testing.assert_array_equal(computed(name, np.roll(x, shift)), np.roll(expected, shift))


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_results_stay_in_range_and_rise(name, dtype, isa):
    x = np.sort(arguments(dtype))
    y = computed(name, x)
    assert y.min() >= (-1 if name == "tanh" else 0)
    assert y.max() <= 1
    # two neighbours may each be off by their ulps in opposite directions, no more
    fall = (y[:-1] - y[1:]) / np.maximum(np.spacing(np.abs(y[1:])), np.finfo(dtype).tiny)
    assert fall.max() <= 2 * ULPS[name, dtype]


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_subnormal_arguments_and_results_are_flushed_to_nothing_worse_than_zero(name, dtype, isa):
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 2, -tiny / 2, tiny / 1024], dtype)
    y = computed(name, x)
    assert (np.abs(y - (0 if name == "tanh" else 0.5)) <= tiny).all()
    deep = computed("sigmoid", np.array([-90, -100, -800], dtype))
    assert ((deep >= 0) & (deep < 1e-38)).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_a_result_does_not_depend_on_position_or_size(name, dtype, isa, threads):
    x = np.random.default_rng(3).normal(size=10_007).astype(dtype) * 3
    whole = computed(name, x)
    for size in [*range(70), 1000]:
        assert np.array_equal(computed(name, x[5 : 5 + size]), whole[5 : 5 + size])
