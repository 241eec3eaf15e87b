"""Weights from and to PyTorch's modules and Keras's lists; layers against PyTorch's."""

import numpy as np
import pytest

import fastrnn
from fastrnn import convert
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Embedding,
    LayerNorm,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.layers.base import Layer
from fastrnn.model import Sequential


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


# ---- against PyTorch -----------------------------------------------------------------------------

# Both in float64; sums of some 100 terms of order 1, in other orders, through 9 steps.
TOLERANCE = 1e-12
WIDE = {"dtype": "float64"}


def recurrent_pair(torch, kind, bidirectional, num_layers, bias=True):
    names = {"rnn": (SimpleRNN, "RNN"), "lstm": (LSTM, "LSTM"), "gru": (GRU, "GRU")}
    ours, theirs = names[kind]
    layer = ours(5, return_sequences=True, num_layers=num_layers, use_bias=bias, **WIDE)
    module = getattr(torch.nn, theirs)(
        3,
        5,
        num_layers,
        bias=bias,
        batch_first=True,
        bidirectional=bidirectional,
        dtype=torch.float64,
    )
    return Bidirectional(layer) if bidirectional else layer, module


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_recurrent_layer_takes_pytorchs_weights(torch, kind, bidirectional, num_layers, bias):
    layer, module = recurrent_pair(torch, kind, bidirectional, num_layers, bias)
    convert.from_pytorch(layer, module.state_dict())
    x, dy = normal(4, 9, 3), normal(4, 9, 10 if bidirectional else 5, seed=2)
    tensor = torch.tensor(x, requires_grad=True)
    expected, _ = module(tensor)
    (expected * torch.tensor(dy)).sum().backward()
    y = layer(x, training=True)
    dx = layer.backward(dy)
    assert np.abs(y - expected.detach().numpy()).max() <= TOLERANCE
    assert np.abs(dx - tensor.grad.numpy()).max() <= 10 * TOLERANCE
    # Our one bias has the gradient that each of PyTorch's two has.
    for name, parameter in module.named_parameters():
        single = name if name in layer.gradients else name.replace("hh", "ih", 1)
        error = np.abs(layer.gradients[single] - parameter.grad.numpy()).max()
        assert error <= 10 * TOLERANCE * max(1, float(parameter.grad.abs().max())), name


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_pytorch_takes_our_weights(torch, kind, bidirectional):
    layer, module = recurrent_pair(torch, kind, bidirectional, 2)
    x = normal(4, 9, 3)
    y = layer(x)
    state = {name: torch.tensor(array) for name, array in convert.to_pytorch(layer).items()}
    module.load_state_dict(state)
    assert np.abs(y - module(torch.tensor(x))[0].detach().numpy()).max() <= TOLERANCE


def test_the_other_layers_take_pytorchs_weights_and_give_them_back(torch):
    x, ids = normal(4, 9, 6), np.random.default_rng(0).integers(0, 11, size=(4, 9))
    cases = [
        (Dense(5, **WIDE), torch.nn.Linear(6, 5), x),
        (Dense(5, use_bias=False, **WIDE), torch.nn.Linear(6, 5, bias=False), x),
        (Embedding(11, 6, **WIDE), torch.nn.Embedding(11, 6), ids),
        (LayerNorm(epsilon=1e-5, **WIDE), torch.nn.LayerNorm(6), x),
        (TimeDistributed(Dense(5, **WIDE)), torch.nn.Linear(6, 5), x),
    ]
    for layer, module, value in cases:
        module = module.double()
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
        convert.from_pytorch(layer, module.state_dict())
        expected = module(torch.tensor(value)).detach().numpy()
        assert np.abs(layer(value) - expected).max() <= TOLERANCE
        back = convert.to_pytorch(layer)
        assert back.keys() == module.state_dict().keys()
        assert all(np.array_equal(back[n], a.numpy()) for n, a in module.state_dict().items())


def test_a_module_inside_of_a_larger_model_is_found_by_its_prefix(torch):
    model = torch.nn.ModuleDict({"encoder": torch.nn.LSTM(3, 5), "head": torch.nn.Linear(5, 1)})
    lstm, head = LSTM(5), Dense(1)
    convert.from_pytorch(lstm, model.state_dict(), prefix="encoder.")
    convert.from_pytorch(head, model.state_dict(), prefix="head.")
    weight = model["encoder"].weight_hh_l0.detach().numpy()
    assert np.array_equal(lstm.parameters["weight_hh_l0"], weight)
    assert set(convert.to_pytorch(head, prefix="head.")) == {"head.weight", "head.bias"}


# ---- against the equations and back --------------------------------------------------------------


def test_parameters_are_taken_with_their_gradients_and_in_bfloat16(torch):
    module = torch.nn.LSTM(4, 3)
    layer, other = LSTM(3), LSTM(3)
    convert.from_pytorch(layer, dict(module.named_parameters()))
    assert_equal = np.testing.assert_array_equal
    assert_equal(layer.parameters["weight_hh_l0"], module.weight_hh_l0.detach().numpy())
    convert.from_pytorch(other, module.bfloat16().state_dict())
    assert_equal(other.parameters["weight_hh_l0"], module.weight_hh_l0.detach().float().numpy())


def test_a_gru_in_kerass_layout_has_its_gates_exchanged_and_its_biases_in_one_array():
    layer = GRU(2)
    layer.ensure_built((None, None, 3))
    for i, parameter in enumerate(layer.parameters.values()):
        parameter[...] = np.arange(parameter.size).reshape(parameter.shape) + 100 * i
    kernel, recurrent, bias = convert.to_keras(layer)
    r, z, n = np.split(layer.parameters["weight_ih_l0"], 3)
    assert np.array_equal(kernel, np.concatenate([z, r, n]).T)
    r, z, n = np.split(layer.parameters["weight_hh_l0"], 3)
    assert np.array_equal(recurrent, np.concatenate([z, r, n]).T)
    assert bias.tolist() == [[202, 203, 200, 201, 204, 205], [302, 303, 300, 301, 304, 305]]


MODELS = {
    "stack": lambda: [Embedding(9, 4), GRU(3, num_layers=2), Dense(2)],
    "directions": lambda: [
        Bidirectional(LSTM(3, num_layers=2, return_sequences=True), merge_mode="sum"),
        TimeDistributed(Dense(4)),
        Activation("relu"),
        LayerNorm(center=False),
        RNN(2, use_bias=False),
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_to_keras_and_back_also_into_a_model_that_is_not_built(name):
    one, other = Sequential(MODELS[name]()), Sequential(MODELS[name]())
    x = normal(2, 5, 4) if name == "directions" else np.arange(10).reshape(2, 5) % 9
    y = one(x)
    weights = convert.to_keras(one)
    convert.from_keras(other, weights)
    assert other(x).tobytes() == y.tobytes()
    again = convert.to_keras(other)
    assert [a.tobytes() for a in again] == [a.tobytes() for a in weights]
    again[0][...] = 0  # copies
    assert other(x).tobytes() == y.tobytes()


def test_a_bias_of_pytorchs_two_is_their_sum():
    layer = LSTM(1)
    state = {
        "weight_ih_l0": np.ones((4, 2)),
        "weight_hh_l0": np.ones((4, 1)),
        "bias_ih_l0": np.arange(4.0),
        "bias_hh_l0": np.full(4, 10.0),
    }
    convert.from_pytorch(layer, state)
    assert layer.parameters["bias_ih_l0"].tolist() == [10, 11, 12, 13]
    assert convert.to_pytorch(layer)["bias_hh_l0"].tolist() == [0, 0, 0, 0]


class Own(Layer):
    def build(self, input_shape, rng):
        self.add_parameter("scale", np.ones(1))

    def forward(self, x, *, training=False):
        return x


def owned():
    layer = Own()
    layer.ensure_built((None, 2))
    return layer


def state_of(layer, **changes):
    layer.ensure_built((None, None, 3))
    return {**convert.to_pytorch(layer), **changes}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: convert.to_keras(Dense(3)), RuntimeError, "no parameters yet"),
        (lambda: convert.to_pytorch(Dense(3)), RuntimeError, "no parameters yet"),
        (lambda: convert.from_keras(Dense(3), []), ValueError, "expected 2 arrays, got 0"),
        (
            lambda: convert.from_keras(Dense(3), [np.ones((2, 4)), np.ones(3)]),
            ValueError,
            r"weight of layer 'dense': expected shape \(3, 2\), got \(4, 2\)",
        ),
        (
            lambda: convert.from_keras(Dense(3), [np.ones(3), np.ones(3)]),
            ValueError,
            r"array 0 does not fit weight of layer 'dense', got shape \(3,\)",
        ),
        (
            lambda: convert.from_keras(GRU(2), [np.ones((3, 6)), np.ones((2, 6)), np.ones(6)]),
            ValueError,
            r"array 2 does not fit bias_ih_l0 and bias_hh_l0 .*reset_after=False",
        ),
        (
            lambda: convert.from_keras(GRU(2), [np.ones((3, 6)), np.ones((2, 6)), np.ones((3, 6))]),
            ValueError,
            r"array 2 does not fit bias_ih_l0 and bias_hh_l0 of layer 'gru', got shape \(3, 6\)$",
        ),
        (lambda: convert.from_pytorch(LSTM(3), None), TypeError, "state_dict: expected a mapping"),
        (
            lambda: convert.from_keras(GRU(2), [np.ones((3, 7)), np.ones((2, 6)), np.ones((2, 6))]),
            ValueError,
            "array 0 does not fit weight_ih_l0",
        ),
        (lambda: convert.from_keras(owned(), [1]), TypeError, "'own'.*Own"),
        *(
            (lambda act=act: act(Sequential([GRU(2), Dense(2)])), ValueError, "layer: .* of 2")
            for act in (convert.to_pytorch, lambda model: convert.from_pytorch(model, {}))
        ),
        (lambda: convert.to_pytorch(3), TypeError, "layer: expected a Layer .* got int"),
        (lambda: convert.to_keras([GRU(2)]), TypeError, "layer: expected a Layer .* got list"),
        (lambda: convert.from_pytorch(LSTM(3), {}), ValueError, "'weight_ih_l0' is missing"),
        (
            lambda: convert.from_pytorch(LSTM(3), state_of(LSTM(3, num_layers=2))),
            ValueError,
            "surplus 'bias_hh_l1', 'bias_ih_l1'",
        ),
        (
            lambda: convert.from_pytorch(LSTM(3), state_of(LSTM(3), bias_hh_l0=np.ones(3))),
            ValueError,
            r"expected shape \(12,\) for 'bias_hh_l0', got \(3,\)",
        ),
        (
            lambda: convert.from_pytorch(LSTM(3), state_of(LSTM(4))),
            ValueError,
            r"weight_ih_l0 of layer 'lstm': expected shape \(12, 3\), got \(16, 3\)",
        ),
        (
            lambda: convert.from_pytorch(LSTM(3, use_bias=False), state_of(LSTM(3))),
            ValueError,
            "surplus 'bias_hh_l0', 'bias_ih_l0'",
        ),
        (
            lambda: convert.from_pytorch(Dense(2), {"weight": 3, "bias": [0, 0]}),
            ValueError,
            r"weight of layer 'dense': expected 2 dimensions, got shape \(\)",
        ),
        (
            lambda: convert.from_keras(LayerNorm(), [1, 2]),
            ValueError,
            r"gamma of layer .*: expected 1 dimension, got shape \(\)",
        ),
        (
            lambda: convert.from_pytorch(Dense(1), {"weight": [[1j]], "bias": [0]}),
            TypeError,
            "weight of layer 'dense': expected numbers, got complex128",
        ),
        (
            lambda: convert.from_pytorch(LayerNorm(center=False, scale=False), {"weight": [1]}),
            ValueError,
            "surplus 'weight'",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    "make",
    [
        lambda: LSTM(2),
        lambda: Bidirectional(LSTM(2)),
        lambda: TimeDistributed(Dense(2)),
        lambda: LayerNorm(),
        lambda: Embedding(2, 3, weights=[np.ones((2, 3))]),
    ],
)
def test_a_layer_that_refused_weights_is_as_new(make):
    built, layer, model = make(), make(), Sequential([make()])
    built(np.zeros((1, 1), int) if isinstance(built, Embedding) else np.zeros((1, 1, 3)))
    state, weights = convert.to_pytorch(built), convert.to_keras(built)
    drawn = fastrnn.random.get_state()
    names = list(state)
    wide = {name: np.repeat(array, 2, -1) for name, array in state.items()}
    for wrong in (
        {**wide, names[-1]: np.ones(99)},
        {**state, names[0]: np.full_like(state[names[0]], "a", object)},
    ):
        with pytest.raises((TypeError, ValueError)):
            convert.from_pytorch(layer, wrong)
    refused = [np.repeat(weights[0], 2, 0), *weights[1:]]
    refused[-1] = np.ones(99)
    with pytest.raises(ValueError, match="expected shape"):
        convert.from_keras(model, refused)
    assert fastrnn.random.get_state() == drawn
    assert not layer.built
    assert not layer.parameters
    convert.from_pytorch(layer, state)
    convert.from_keras(model, weights)
    for each in (layer, model):
        assert all(map(np.array_equal, convert.to_keras(each), weights))


def test_where_one_array_does_not_fit_nothing_is_changed():
    model = Sequential([Embedding(9, 4), GRU(3), Dense(2)])
    model.build((None, None))
    before = [w.tobytes() for w in model.get_weights()]
    weights = [np.zeros_like(w) for w in convert.to_keras(model)]
    weights[-1] = np.zeros(7)
    with pytest.raises(ValueError, match="bias of layer 'dense'"):
        convert.from_keras(model, weights)
    assert [w.tobytes() for w in model.get_weights()] == before
