"""Initial weights: Keras's distributions and shapes."""

import numpy as np
import pytest

import fastrnn
from fastrnn import initializers
from fastrnn.layers import GRU, LSTM, RNN, Dense, Embedding

N = 200
SHAPE = (N, 3 * N)


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def drawn(initializer, shape=SHAPE):
    return initializer(shape, np.random.default_rng(0))


# name -> (standard deviation, limit), of 120,000 draws
DISTRIBUTIONS = {
    "glorot_uniform": (np.sqrt(2 / (4 * N)), np.sqrt(6 / (4 * N))),
    "glorot_normal": (np.sqrt(2 / (4 * N)), 2 * np.sqrt(2 / (4 * N)) / 0.8796),
    "he_uniform": (np.sqrt(2 / N), np.sqrt(6 / N)),
    "he_normal": (np.sqrt(2 / N), 2 * np.sqrt(2 / N) / 0.8796),
    "lecun_uniform": (np.sqrt(1 / N), np.sqrt(3 / N)),
    "lecun_normal": (np.sqrt(1 / N), 2 * np.sqrt(1 / N) / 0.8796),
    "random_normal": (0.05, np.inf),
    "random_uniform": (0.05 / np.sqrt(3), 0.05),
    "uniform": (0.05 / np.sqrt(3), 0.05),
    "truncated_normal": (0.05 * 0.8796, 0.1),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_an_initializer_has_its_distribution(name):
    deviation, limit = DISTRIBUTIONS[name]
    values = drawn(initializers.get("kernel_initializer", name))
    assert values.shape == SHAPE
    # 120,000 draws give the mean within 0.003 standard deviations of themselves, and the standard
    # deviation within 0.2%: five times that
    assert abs(values.mean()) < 0.015 * deviation
    assert values.std() == pytest.approx(deviation, rel=0.01)
    assert np.abs(values).max() <= limit * 1.0001
    assert limit == np.inf or np.abs(values).max() > 0.99 * limit


@pytest.mark.parametrize("shape", [(5, 20), (20, 5), (6, 6)])
def test_orthogonal_is_so_on_its_shorter_side(shape):
    values = drawn(initializers.Orthogonal(gain=2.0), shape)
    product = values @ values.T if shape[0] <= shape[1] else values.T @ values
    assert np.allclose(product, 4 * np.eye(min(shape)), atol=1e-12)


def test_the_plain_ones_are_what_they_say():
    assert not drawn(initializers.Zeros()).any()
    assert (drawn(initializers.Ones()) == 1).all()
    assert (drawn(initializers.Constant(0.3)) == 0.3).all()
    assert drawn(initializers.Identity(2.0), (2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]


def test_an_initializer_with_a_seed_repeats_itself_and_leaves_the_others_alone():
    seeded = initializers.GlorotUniform(seed=3)
    first, second = Dense(4, kernel_initializer=seeded), Dense(4, kernel_initializer=seeded)
    after = []
    for layer in (first, second):
        fastrnn.set_seed(1)
        layer(np.ones((1, 3)))
        after.append(fastrnn.random.next_seed())
    assert first.parameters["weight"].tobytes() == second.parameters["weight"].tobytes()
    fastrnn.set_seed(1)
    assert after == [fastrnn.random.next_seed()] * 2


def shapes_seen():
    shapes = []

    def spy(shape, rng):
        shapes.append(shape)
        return np.arange(np.prod(shape)).reshape(shape)

    return shapes, spy


@pytest.mark.parametrize(("kind", "gates"), [(RNN, 1), (LSTM, 4), (GRU, 3)])
def test_a_recurrent_layers_initializers_see_kerass_shapes(kind, gates):
    shapes, spy = shapes_seen()
    everywhere = dict(kernel_initializer=spy, recurrent_initializer=spy, bias_initializer=spy)
    layer = kind(5, **everywhere, **({"unit_forget_bias": False} if kind is LSTM else {}))
    layer.ensure_built((None, None, 3))
    columns = 5 * gates
    assert shapes == [(3, columns), (5, columns), (2, columns) if kind is GRU else (columns,)]
    kernel = np.arange(3 * columns).reshape(3, columns)
    assert np.array_equal(layer.parameters["weight_ih_l0"], kernel.T)
    if kind is GRU:
        assert layer.parameters["bias_hh_l0"].tolist() == list(range(15, 30))


def test_the_forget_gates_bias_is_one_between_what_the_initializer_gives():
    layer = LSTM(2, bias_initializer=initializers.Constant(0.5))
    layer.ensure_built((None, None, 3))
    assert layer.parameters["bias_ih_l0"].tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_dense_and_embedding_take_initializers_too():
    shapes, spy = shapes_seen()
    Dense(4, kernel_initializer=spy, bias_initializer="ones").ensure_built((None, 3))
    Embedding(7, 2, embeddings_initializer=spy).ensure_built((None, None))
    assert shapes == [(3, 4), (7, 2)]


def test_ones_own_initializer_is_a_small_class_and_can_be_saved():
    class Alternating(initializers.Initializer):
        arguments = ("size",)

        def __init__(self, size=1.0):
            self.size = size

        def draw(self, shape, rng):
            return self.size * (-1.0) ** np.arange(np.prod(shape)).reshape(shape)

    layer = Dense(2, kernel_initializer=Alternating(0.5))
    again = Dense.from_config(layer.get_config())
    again.ensure_built((None, 1))
    assert again.parameters["weight"].tolist() == [[0.5], [-0.5]]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: initializers.get("kernel_initializer", "glorot"), ValueError, "glorot_uniform"),
        (lambda: initializers.get("a", initializers.Zeros), ValueError, "a: expected"),
        (lambda: initializers.VarianceScaling(mode="fan"), ValueError, "mode"),
        (lambda: initializers.VarianceScaling(distribution="normal"), ValueError, "distribution"),
        (lambda: initializers.RandomNormal(stddev=-1), ValueError, "stddev"),
        (lambda: initializers.RandomUniform(1.0, 0.0), ValueError, "maxval"),
        (lambda: initializers.GlorotUniform(seed="x"), TypeError, "seed: expected an int, got 'x'"),
        (lambda: initializers.RandomNormal(seed=-1), ValueError, "seed: expected 0 or more"),
        (lambda: initializers.RandomUniform(seed=1.5), TypeError, "seed: expected an int"),
        (lambda: initializers.Orthogonal(seed=True), TypeError, "seed: expected an int"),
        (lambda: initializers.Chrono(9, seed="x"), TypeError, "seed: expected an int"),
        (lambda: drawn(initializers.Orthogonal(), (3,)), ValueError, "two dimensions"),
        (
            lambda: Dense(3, kernel_initializer=lambda shape, rng: np.ones(2))(np.ones((1, 2))),
            ValueError,
            r"kernel_initializer: expected an array of shape \(2, 3\), got \(2,\)",
        ),
        (
            lambda: Dense(3, kernel_initializer=lambda shape, rng: np.ones(shape)).get_config(),
            TypeError,
            "kernel_initializer: a function cannot be saved",
        ),
    ],
)
def test_a_wrong_initializer_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
