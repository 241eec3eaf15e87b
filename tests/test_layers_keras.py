"""Every layer against Keras's, with the same weights: outputs and gradients.

Runs where Keras 3 and torch, here its back end, are installed: pip install keras torch.
"""

import os
import warnings

import numpy as np
import pytest

import fastrnn
from fastrnn import convert, layers, ops
from fastrnn.model import Sequential

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that Keras imports
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras", minversion="3.0")
if keras.backend.backend() != "torch":
    pytest.skip("Keras has another back end here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

# Layers of float64, but with its torch back end Keras 3.15 rounds every product to float32: some
# units of 6e-8, handed on through 9 steps and sums of up to 36 terms. Measured: up to 1e-6.
TOLERANCE = 3e-6


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def masks():
    steps = np.arange(9)
    lengths = np.array([9, 4, 0, 6])[:, None]
    holes = np.random.default_rng(5).random((4, 9)) < 0.6
    holes[2] = False
    return {
        "no mask": None,
        "right padding": steps < lengths,
        "left padding": steps >= 9 - lengths,
        "holes": holes,
    }


def theirs(layer, x, mask, dy):
    """Keras's output, and its gradients by the input (None for ids) and the weights."""
    floating = x.dtype.kind == "f"
    tensor = torch.tensor(x, requires_grad=floating)
    extra = {} if mask is None else {"mask": torch.tensor(mask)}
    y = layer(tensor, **extra)
    parts = y if isinstance(y, tuple | list) else [y]
    loss = sum((part * torch.tensor(d)).sum() for part, d in zip(parts, dy, strict=False))
    loss.backward()
    gradients = [variable.value.grad.numpy() for variable in layer.trainable_variables]
    outputs = [part.detach().numpy() for part in parts]
    return outputs, tensor.grad.numpy() if floating else None, gradients


def assert_parity(ours, their_layer, x, mask=None):
    """The same weights, input and gradient of the output give the same numbers."""
    extra = {} if mask is None else {"mask": torch.tensor(mask)}
    their_layer(torch.tensor(x), **extra)  # builds it
    rng = np.random.default_rng(3)
    their_layer.set_weights([rng.normal(size=w.shape) / 2 for w in their_layer.get_weights()])
    convert.from_keras(ours, their_layer.get_weights())
    for mine, w in zip(convert.to_keras(ours), their_layer.get_weights(), strict=True):
        assert np.array_equal(mine, w)

    y = ours(x, mask=mask, training=True)
    outputs = y if isinstance(y, tuple) else (y,)
    dy = [normal(*part.shape, seed=4 + i) for i, part in enumerate(outputs)]
    expected, dx_expected, gradients = theirs(their_layer, x, mask, dy)
    for mine, want in zip(outputs, expected, strict=True):
        assert mine.shape == want.shape
        assert np.abs(mine - want).max(initial=0) <= TOLERANCE * max(1, np.abs(want).max())
    dx = ours.backward(dy[0] if len(dy) == 1 else tuple(dy))
    if dx_expected is not None and isinstance(ours, layers.Layer):
        assert np.abs(dx - dx_expected).max() <= TOLERANCE * max(1, np.abs(dx_expected).max())
    for mine, want in zip(gradients_like_keras(ours), gradients, strict=True):
        assert np.abs(mine - want).max() <= TOLERANCE * max(1, np.abs(want).max())


def gradients_like_keras(ours):
    """The gradients in Keras's order and shapes: converted as weights are."""
    kept = ours.get_weights()
    for layer in ours.layers if isinstance(ours, Sequential) else [ours]:
        for name, parameter in layer.parameters.items():
            parameter[...] = layer.gradients[name]
    gradients = convert.to_keras(ours)
    ours.set_weights(kept)
    return gradients


WIDE = {"dtype": "float64"}
CELLS = {
    "rnn": ("SimpleRNN", {}),
    "relu": ("SimpleRNN", {"activation": "relu"}),
    "lstm": ("LSTM", {}),
    "lstm, no bias": ("LSTM", {"use_bias": False}),
    "gru": ("GRU", {}),
    "gru, no bias": ("GRU", {"use_bias": False}),
}


def pair(name, *args, **options):
    """Our layer and Keras's of the same name and arguments."""
    options = {**options, **WIDE}
    return getattr(layers, name)(*args, **options), getattr(keras.layers, name)(*args, **options)


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_sequences_of_a_recurrent_layer(cell, zero_output, go_backwards, mask):
    kind, options = CELLS[cell]
    ours, their = pair(
        kind,
        5,
        return_sequences=True,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output,
        **options,
    )
    assert_parity(ours, their, normal(4, 9, 3), masks()[mask])


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_last_output_of_a_recurrent_layer(cell, go_backwards, mask):
    kind, options = CELLS[cell]
    ours, their = pair(kind, 5, go_backwards=go_backwards, **options)
    assert_parity(ours, their, normal(4, 9, 3), masks()[mask])


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_both_directions(cell, mode, sequences, mask):
    kind, _ = CELLS[cell]
    inner = pair(kind, 5, return_sequences=sequences)
    ours = layers.Bidirectional(inner[0], merge_mode=mode)
    their = keras.layers.Bidirectional(inner[1], merge_mode=mode, **WIDE)
    assert_parity(ours, their, normal(4, 9, 3), masks()[mask])


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_initial_states(cell, both):
    ours, their = pair(CELLS[cell][0], 5, return_sequences=True)
    if both:
        ours, their = layers.Bidirectional(ours), keras.layers.Bidirectional(their, **WIDE)
    x = normal(4, 9, 3)
    states = [normal(4, 5, seed=i) for i in range((1 + both) * (1 + (cell == "lstm")))]
    tensors = [torch.tensor(state, requires_grad=True) for state in states]
    expected = their(torch.tensor(x), initial_state=tensors)
    convert.from_keras(ours, their.get_weights())
    actual = ours(x, initial_state=states, training=True)
    assert np.abs(actual - expected.detach().numpy()).max() <= TOLERANCE
    expected.sum().backward()
    ours.backward(np.ones_like(actual))
    for mine, tensor in zip(ours.initial_state_gradients, tensors, strict=True):
        want = tensor.grad.numpy()
        assert np.abs(mine - want).max() <= TOLERANCE * max(1, np.abs(want).max())


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_final_states(cell, mask):
    ours, their = pair(CELLS[cell][0], 5, return_state=True)
    x, mask = normal(4, 9, 3), masks()[mask]
    extra = {} if mask is None else {"mask": torch.tensor(mask)}
    expected = their(torch.tensor(x), **extra)
    convert.from_keras(ours, their.get_weights())
    actual = ours(x, mask=mask)
    assert len(actual) == len(expected)
    for mine, want in zip(actual, expected, strict=True):
        assert np.abs(mine - want.detach().numpy()).max() <= TOLERANCE


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_fused_stack_is_that_many_layers(cell):
    kind, _ = CELLS[cell]
    one = getattr(layers, kind)(5, num_layers=3, **WIDE)
    three = keras.Sequential(
        [getattr(keras.layers, kind)(5, return_sequences=i < 2, **WIDE) for i in range(3)]
    )
    assert_parity(one, three, normal(4, 9, 3))


@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_dense_and_its_activations(activation):
    ours, their = pair("Dense", 6, activation=activation)
    assert_parity(ours, their, normal(4, 9, 3))
    ours, their = pair("Activation", activation)
    assert_parity(ours, their, normal(4, 9, 3))


def test_layer_normalization():
    for options in ({}, {"epsilon": 1e-5}, {"center": False}, {"scale": False}):
        assert_parity(*pair("LayerNormalization", **options), normal(4, 9, 7))


def test_time_distributed():
    inner = pair("Dense", 6, activation="tanh")
    ours = layers.TimeDistributed(inner[0])
    assert_parity(ours, keras.layers.TimeDistributed(inner[1], **WIDE), normal(4, 9, 3))
    inner = pair("LSTM", 5)
    ours = layers.TimeDistributed(inner[0])
    assert_parity(ours, keras.layers.TimeDistributed(inner[1], **WIDE), normal(4, 2, 9, 3))


def test_flatten():
    assert_parity(*pair("Flatten"), normal(4, 9, 3))


@pytest.mark.parametrize("mask", ["no mask", "left padding", "holes"])
def test_average_pooling(mask):
    mask = masks()[mask]
    if mask is not None:  # Keras's mean of no steps is NaN
        mask = mask[[0, 1, 3]]
    assert_parity(*pair("GlobalAveragePooling1D"), normal(3 if mask is not None else 4, 9, 3), mask)


def test_max_pooling():
    assert_parity(*pair("GlobalMaxPooling1D"), normal(4, 9, 3))


def test_masking():
    x = normal(4, 9, 3)
    x[~masks()["holes"]] = -1
    ours, their = pair("Masking", -1.0)
    assert_parity(ours, their, x)
    expected = their.compute_mask(torch.tensor(x)).numpy()
    assert ours.compute_mask(x).tolist() == expected.tolist()


MIDDLES = {
    "last output": [("LSTM", 5, {})],
    "two layers": [("GRU", 5, {"return_sequences": True}), ("LSTM", 4, {})],
    "backwards": [("SimpleRNN", 5, {"go_backwards": True})],
    "mean": [("LSTM", 5, {"return_sequences": True}), ("GlobalAveragePooling1D", None, {})],
}


@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("mask", ["right padding", "left padding", "holes"])
def test_models_on_padded_ids(middle, mask):
    exists = masks()[mask].copy()
    exists[2, 3] = True  # a review without any word has no mean
    ids = np.random.default_rng(0).integers(1, 11, size=(4, 9)) * exists

    def stack(module):
        embedding = module.Embedding(11, 6, mask_zero=True, **WIDE)
        inner = [
            getattr(module, kind)(*([] if units is None else [units]), **options, **WIDE)
            for kind, units, options in MIDDLES[middle]
        ]
        return [embedding, *inner, module.Dense(1, activation="sigmoid", **WIDE)]

    assert_parity(Sequential(stack(layers)), keras.Sequential(stack(keras.layers)), ids)


def test_weights_of_another_model_are_refused():
    ours, their = pair("GRU", 5)
    their(torch.tensor(normal(2, 3, 4)))
    weights = their.get_weights()
    with pytest.raises(ValueError, match="expected 3 arrays, got 2"):
        convert.from_keras(ours, weights[:2])
    with pytest.raises(ValueError, match=r"array 2 does not fit bias_ih_l0 and bias_hh_l0"):
        convert.from_keras(ours, [*weights[:2], weights[2][0]])


@pytest.mark.parametrize(
    "name", ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal"]
)
def test_initial_weights_have_kerass_distribution(name):
    shape = (300, 500)
    theirs = keras.initializers.get(name)(shape).detach().numpy()
    ours = fastrnn.initializers.get("kernel_initializer", name)(shape, np.random.default_rng(0))
    # the quantiles of 150,000 draws, near the middle and in the tails
    levels = [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999]
    deviation = theirs.std()
    difference = np.quantile(ours, levels) - np.quantile(theirs, levels)
    assert np.abs(difference).max() < 0.05 * deviation
