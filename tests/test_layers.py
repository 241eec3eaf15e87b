"""Layers: gradients, initial weights, state, what is refused."""

import numpy as np
import pytest

import fastrnn
from fastrnn import functional, ops
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalMaxPooling1D,
    LastStep,
    LayerNormalization,
    Masking,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.model import Sequential
from reference import layers as reference

RECURRENT = [RNN, SimpleRNN, LSTM, GRU]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def normal(*shape, dtype="float32"):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


# ---- dense layers, and backward ------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, *ops.ACTIVATIONS, "swish"])
def test_a_dense_layer_is_its_equation(activation):
    layer = Dense(3, activation=activation, dtype="float64")
    x, dy = normal(4, 2, 5, dtype="float64"), normal(4, 2, 3, dtype="float64")
    y = layer(x, training=True)
    weight = layer.parameters["weight"]
    name = {None: "linear", "swish": "silu"}.get(activation, activation)
    expected, dz = reference.activation(name, x @ weight.T + layer.parameters["bias"], dy)
    assert y.shape == (4, 2, 3)
    assert np.allclose(y, expected, rtol=1e-13)
    # Activation is the same function, and layer by layer the same gradient.
    apart = Activation(name, dtype="float64")
    assert apart(layer.logits(x), training=True).tobytes() == y.tobytes()
    assert np.allclose(apart.backward(dy), dz, rtol=1e-12, atol=1e-14)
    assert np.allclose(layer.backward(dy), dz @ weight, rtol=1e-12, atol=1e-14)


def test_the_gradient_of_relu_is_that_of_its_equation():
    layer = Dense(3, activation="relu", dtype="float64")
    x, dy = normal(4, 5, dtype="float64"), normal(4, 3, dtype="float64")
    y = layer(x, training=True)
    dx = layer.backward(dy)
    assert 0 < (y > 0).mean() < 1
    assert np.allclose(dx, (dy * (y > 0)) @ layer.parameters["weight"], rtol=1e-13)


def test_backward_computes_dx_only_where_it_is_needed():
    for layer in (LSTM(3), Dense(3), Bidirectional(GRU(3)), Dropout(0.5)):
        x = normal(2, 4, 5)
        y = layer(x, training=True)
        assert layer.backward(np.ones_like(y)).shape == x.shape
        layer(x, training=True)
        assert layer.backward(np.ones_like(y), need_dx=False) is None


@pytest.mark.parametrize(
    "layer",
    [
        Dense(3),
        LSTM(3),
        Dropout(0.5),
        Embedding(4, 2),
        Activation("tanh"),
        LayerNormalization(),
        Bidirectional(GRU(3), merge_mode="sum"),
        TimeDistributed(Dense(3)),
        GlobalMaxPooling1D(),
        Masking(),
        Flatten(),
    ],
    ids=lambda layer: layer.name,
)
def test_backward_without_a_training_forward_is_refused(layer):
    x = np.ones((2, 3, 4)) if not isinstance(layer, Embedding) else np.ones((2, 3), int)
    y = layer(x)
    with pytest.raises(RuntimeError, match="training=True"):
        layer.backward(np.ones_like(y))
    layer(x, training=True)
    layer.forget_pass()
    with pytest.raises(RuntimeError, match="training=True"):
        layer.backward(np.ones_like(y))


# ---- initial weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_have_pytorchs_names_and_kerass_biases(kind):
    layer = kind(4, num_layers=2)
    layer(normal(1, 2, 3))
    gates = {"LSTM": 4, "GRU": 3}.get(kind.__name__, 1)
    shapes = {
        "weight_ih_l0": (gates * 4, 3),
        "weight_hh_l0": (gates * 4, 4),
        "bias_ih_l0": (gates * 4,),
        "weight_ih_l1": (gates * 4, 4),
        "weight_hh_l1": (gates * 4, 4),
        "bias_ih_l1": (gates * 4,),
    }
    if kind is GRU:
        shapes |= {"bias_hh_l0": (12,), "bias_hh_l1": (12,)}
    assert {name: p.shape for name, p in layer.parameters.items()} == shapes


def test_initial_weights_are_kerass():
    layer = LSTM(8)
    layer(normal(1, 2, 5))
    p = layer.parameters
    limit = np.sqrt(6 / (5 + 32))
    assert 0.9 * limit < np.abs(p["weight_ih_l0"]).max() <= limit
    assert np.allclose(p["weight_hh_l0"].T @ p["weight_hh_l0"], np.eye(8), atol=1e-6)
    assert p["bias_ih_l0"].tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    plain = LSTM(8, unit_forget_bias=False)
    plain(normal(1, 2, 5))
    assert not plain.parameters["bias_ih_l0"].any()
    table = Embedding(100, 20)
    table(np.zeros((1, 1), int))
    assert 0.045 < np.abs(table.parameters["weight"]).max() <= 0.05


def test_a_seed_gives_the_same_weights_again():
    def weights():
        fastrnn.set_seed(5)
        model = Sequential([Embedding(9, 4), GRU(3), Dense(2)])
        model.build((None, None))
        return model.get_weights()

    first, second = weights(), weights()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
    fastrnn.set_seed(6)
    other = Embedding(9, 4)
    other(np.zeros((1, 1), int))
    assert other.parameters["weight"].tobytes() != first[0].tobytes()


# ---- recurrent layers ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("sequences", [False, True])
def test_a_recurrent_layer_is_the_functional_one(kind, sequences):
    layer = kind(4, num_layers=2, return_sequences=sequences)
    x = normal(3, 6, 5)
    y = layer(x)
    name = {"LSTM": "lstm", "GRU": "gru"}.get(kind.__name__, "rnn")
    forward = getattr(functional, f"{name}_forward")
    output, _, _ = forward(x, layer.parameters, num_layers=2, batch_first=True, training=False)
    assert y.tobytes() == (output if sequences else output[:, -1].copy()).tobytes()
    assert layer.output_shape((None, None, 5)) == ((None, None, 4) if sequences else (None, 4))


def test_both_directions_are_side_by_side_each_at_its_own_last_step():
    inner = LSTM(4, return_sequences=True)
    layer = Bidirectional(inner)
    x = normal(3, 6, 5)
    y = layer(x)
    assert y.shape == (3, 6, 8)
    assert layer.output_shape((None, None, 5)) == (None, None, 8)
    backwards = {n.removesuffix("_reverse"): p for n, p in layer.parameters.items() if "_rev" in n}
    output, _, _ = functional.lstm_forward(
        x[:, ::-1].copy(), backwards, batch_first=True, training=False
    )
    assert y[..., 4:].tobytes() == output[:, ::-1].tobytes()
    inner.return_sequences = False
    assert np.array_equal(layer(x), np.concatenate([y[:, -1, :4], y[:, 0, 4:]], axis=-1))


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_stateful_layer_goes_on_where_the_last_batch_ended(kind):
    layer = kind(4, num_layers=2, return_sequences=True, stateful=True)
    x = normal(3, 8, 5)
    whole = layer(x)
    layer.reset_states()
    parts = [layer(x[:, :3]), layer(x[:, 3:4]), layer(x[:, 4:])]
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    assert layer(x).tobytes() != whole.tobytes()


def test_a_state_of_another_batch_is_refused_until_it_is_reset():
    layer = GRU(4, stateful=True)
    layer(normal(3, 2, 5))
    with pytest.raises(ValueError, match=r"batch of 3, got a batch of 2.*reset_states"):
        layer(normal(2, 2, 5))
    layer.reset_states()
    layer(normal(2, 2, 5))


def test_return_state_gives_the_state_after_the_last_step():
    x = normal(3, 6, 5)
    y, h, c = LSTM(4, return_state=True)(x)
    assert h.shape == c.shape == (3, 4)
    assert h.tobytes() == y.tobytes()
    y, h = GRU(4, num_layers=2, return_sequences=True, return_state=True)(x)
    assert h.shape == (2, 3, 4)
    assert h[1].tobytes() == y[:, -1].copy().tobytes()
    with pytest.raises(ValueError, match="return_state"):
        Sequential([LSTM(4, return_state=True)])


def test_dropout_in_a_stack_is_drawn_from_the_seed():
    layer = LSTM(16, num_layers=2, stack_dropout=0.5)
    x = normal(3, 6, 5)
    layer(x)
    fastrnn.set_seed(1)
    first, second = layer(x, training=True), layer(x, training=True)
    fastrnn.set_seed(1)
    assert layer(x, training=True).tobytes() == first.tobytes() != second.tobytes()
    assert layer(x).tobytes() == layer(x).tobytes() != first.tobytes()


# ---- dropout and embedding -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50, 40), (5, 10, 40)])
def test_dropout_zeroes_its_fraction_and_scales_the_rest(shape):
    layer, x = Dropout(0.25), np.ones(shape, "float32")
    y = layer(x, training=True)
    # 2,000 draws: the fraction's standard deviation is 0.01
    assert abs((y == 0).mean() - 0.25) < 0.05
    assert np.allclose(y[y != 0], 1 / 0.75)
    assert layer.backward(np.ones_like(y)).tobytes() == y.tobytes()
    assert layer(x).tobytes() == x.tobytes()
    assert layer(x, training=True).tobytes() != y.tobytes()


def test_an_id_outside_the_table_is_refused():
    layer = Embedding(4, 2)
    for ids in ([[0, 4]], [[-1, 0]]):
        with pytest.raises(IndexError):
            layer(ids)
    with pytest.raises(ValueError, match="whole numbers"):
        layer([[0.5]])
    assert np.array_equal(layer([[1.0, 3.0]]), layer([[1, 3]]))


def test_an_embeddings_gradient_is_an_array_and_rows_for_the_optimiser():
    layer, ids = Embedding(6, 2), np.array([[5, 1, 5], [0, 1, 5]])
    layer(ids, training=True)
    dy = np.random.default_rng(2).normal(size=(2, 3, 2)).astype(np.float32)
    layer.backward(dy)
    rows = layer.gradients_for_step()["weight"]
    assert rows.ids.tolist() == [5, 1, 0]
    assert (rows.shape, rows.dtype, rows.rows.shape) == ((6, 2), np.float32, (3, 2))
    whole = np.zeros((6, 2), np.float32)
    np.add.at(whole, ids, dy)
    assert np.array_equal(np.asarray(rows), whole)
    assert np.array_equal(np.array(rows, np.float64), whole)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="copy"):
            np.array(rows, copy=False)
    assert layer.gradients["weight"] is layer.gradients["weight"]
    assert np.array_equal(layer.gradients["weight"], whole)
    layer.gradients["weight"] *= 2  # whoever changes it changes what the optimiser gets
    assert np.array_equal(layer.gradients_for_step()["weight"], 2 * whole)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_a_batch_of_no_rows_goes_through_and_back(mask_zero):
    model = Sequential(
        [
            Embedding(9, 4, mask_zero=mask_zero),
            Bidirectional(LSTM(3, return_sequences=True), merge_mode="mul"),
            LayerNormalization(),
            GlobalMaxPooling1D(),
            Dense(2, activation="softmax"),
        ]
    )
    y = model(np.zeros((0, 5), int), training=True)
    assert y.shape == (0, 2)
    model.backward(y)
    assert not any(gradient.any() for gradient in model.gradients.values())
    with pytest.raises(ValueError, match="at least one time step"):
        model(np.zeros((2, 0), int))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: LSTM(0), ValueError, "units"),
        (lambda: LSTM(2.5), TypeError, "units"),
        (lambda: GRU(True), TypeError, "units"),
        (lambda: GRU(3, num_layers=0), ValueError, "num_layers"),
        (lambda: GRU(3, stack_dropout=1.0), ValueError, "stack_dropout"),
        (lambda: RNN(3, activation="sigmoid"), ValueError, "activation"),
        (lambda: LSTM(3, dtype="float16"), ValueError, "dtype"),
        (lambda: LSTM(3, dtype="number"), TypeError, "dtype"),
        (lambda: LSTM(3, name=""), ValueError, "name"),
        (lambda: LSTM(3, activation="relu"), ValueError, "activation: this cell has 'tanh' alone"),
        (lambda: GRU(3, recurrent_activation="relu"), ValueError, "recurrent_activation"),
        (lambda: GRU(3, reset_after=False), ValueError, "reset_after: not supported"),
        (lambda: LSTM(3, recurrent_dropout=0.2), ValueError, "recurrent_dropout: not supported"),
        (lambda: LSTM(3, dropout=1.0), ValueError, "dropout"),
        (lambda: LSTM(3, seed=-1), ValueError, "seed"),
        (lambda: LSTM(3, seed="a"), TypeError, "seed"),
        (lambda: LSTM(3, kernel_initializer="glorot"), ValueError, "kernel_initializer"),
        (lambda: Dense(3, activation="gelo"), ValueError, "activation.*'gelo'"),
        (lambda: Activation(len), ValueError, "activation"),
        (lambda: Dense(3)(np.zeros(4)), ValueError, "2 dimensions or more"),
        (lambda: Masking("a"), TypeError, "mask_value"),
        (lambda: Masking()(np.zeros((2, 3))), ValueError, "3 dimensions"),
        (lambda: LayerNormalization(epsilon=-1), ValueError, "epsilon"),
        (lambda: LayerNormalization(1), ValueError, "axis: expected -1"),
        (lambda: GlobalMaxPooling1D()(np.zeros((2, 3))), ValueError, "3 dimensions"),
        (lambda: LastStep().output_shape((None, 3)), ValueError, "3 dimensions"),
        (lambda: TimeDistributed(3), TypeError, "layer"),
        (lambda: TimeDistributed(LSTM(3, stateful=True)), ValueError, "stateful"),
        (lambda: TimeDistributed(Dense(3))(np.zeros((2, 3))), ValueError, "3 dimensions"),
        (lambda: Embedding(4, 2, mask_zero=True)(np.zeros((2, 3, 4), int)), ValueError, "ids"),
        (lambda: LSTM(3)(np.zeros((2, 3, 4)), mask=np.ones((2, 3))), TypeError, "mask.*bool"),
        (
            lambda: LSTM(3)(np.zeros((2, 3, 4)), mask=np.ones((2, 4), bool)),
            ValueError,
            r"mask: expected shape \(2, 3\)",
        ),
        (lambda: Dropout(-0.1), ValueError, "rate"),
        (lambda: Embedding(0, 3), ValueError, "input_dim"),
        (lambda: Bidirectional(Dense(3)), TypeError, "layer"),
        (lambda: Bidirectional(LSTM(3, stateful=True)), ValueError, "stateful"),
        (lambda: Bidirectional(LSTM(3, go_backwards=True)), ValueError, "go_backwards"),
        (
            lambda: Bidirectional(LSTM(3, zero_output_for_mask=False)),
            ValueError,
            "zero_output_for_mask",
        ),
        (lambda: Bidirectional(LSTM(3), merge_mode="max"), ValueError, "merge_mode"),
        (lambda: Sequential([Bidirectional(LSTM(3), merge_mode=None)]), ValueError, "merge_mode"),
        (lambda: Sequential([LSTM(3, return_state=True)]), ValueError, "return_state"),
        (lambda: Dense(3).count_params(), RuntimeError, "no parameters yet"),
        (lambda: Dense(3).set_weights([]), RuntimeError, "no parameters yet"),
        (lambda: Sequential([Dense(3)]).backward(np.ones(3)), RuntimeError, "training=True"),
        (lambda: Sequential([3]), TypeError, "layer"),
        (lambda: LSTM(3)(np.zeros((2, 3))), ValueError, "3 dimensions"),
        (lambda: LSTM(3)(np.zeros((2, 3, 0))), ValueError, "last size"),
        (lambda: Dense(3)(np.array([["a"]])), TypeError, "expected numbers"),
        (lambda: fastrnn.set_seed(-1), ValueError, "seed"),
        (lambda: fastrnn.set_seed("a"), TypeError, "seed"),
    ],
)
def test_a_wrong_argument_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_an_input_of_another_size_than_the_first_is_refused():
    for layer in (LSTM(3), Dense(3)):
        layer(normal(2, 4, 5))
        with pytest.raises(ValueError, match=r"x.*5.*got"):
            layer(normal(2, 4, 6))


def test_an_embedding_begins_with_the_given_table():
    table = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")
    ids = np.array([[1, 2], [9, 0]])
    for weights in (table, [table], table.tolist(), [table.tolist()]):
        layer = Embedding(10, 4, weights=weights, trainable=False)
        assert np.array_equal(layer(ids), table[ids])
    table[:] = 0
    assert layer(ids).any()
    assert layer.get_config()["weights"] is None
    for wrong in (table.T, [table, table], np.zeros(4)):
        with pytest.raises(ValueError, match=r"weights of layer 'embedding': expected shape"):
            Embedding(10, 4, weights=wrong)
    with pytest.raises(TypeError, match="weights of layer 'embedding': expected numbers"):
        Embedding(10, 4, weights="a")


def test_no_dtype_is_the_usual_one():
    assert LSTM(3, dtype=None).dtype == np.float32
