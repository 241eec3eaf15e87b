"""Recurrent layers skip masked steps."""

import numpy as np
import pytest

import fastrnn
from fastrnn import functional
from fastrnn.layers import GRU, LSTM, RNN, Bidirectional
from padding import LENGTHS, holes, layouts, normal
from reference import layers as reference

CELLS = [RNN, LSTM, GRU]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def alone(layer, x, mask, backwards=False):
    """Each row without its masked steps, by functional: outputs at the places, last ones."""
    name = {LSTM: "lstm", GRU: "gru"}.get(type(layer), "rnn")
    output = np.zeros((*mask.shape, layer.units), x.dtype)
    last = np.zeros((len(mask), layer.units), x.dtype)
    for b, exists in enumerate(mask):
        if exists.any():
            steps = x[b : b + 1, exists][:, :: -1 if backwards else 1].copy()
            h, _, _ = getattr(functional, f"{name}_forward")(
                steps, layer.parameters, num_layers=layer.num_layers, batch_first=True
            )
            output[b, exists], last[b] = h[0, :: -1 if backwards else 1], h[0, -1]
    return output, last


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("mask", [name_mask[1] for name_mask in layouts(LENGTHS)] + [holes()])
def test_a_recurrent_layer_skips_masked_steps(kind, mask, num_layers):
    x = normal(*mask.shape, 4)
    layer = kind(6, return_sequences=True, num_layers=num_layers)
    y = layer(x, mask=mask)
    output, last = alone(layer, x, mask)
    assert y.tobytes() == output.tobytes()
    layer.return_sequences = False
    assert layer(x, mask=mask).tobytes() == last.tobytes()


@pytest.mark.parametrize("kind", CELLS)
def test_going_backwards_skips_them_too_and_gives_the_outputs_as_they_were_made(kind):
    mask = holes()
    x = normal(*mask.shape, 4)
    layer = kind(6, return_sequences=True, go_backwards=True)
    layer.ensure_built((None, None, 4))
    output, last = alone(layer, x, mask, backwards=True)
    assert layer(x, mask=mask).tobytes() == output[:, ::-1].tobytes()
    assert layer.compute_mask(x, mask).tolist() == mask[:, ::-1].tolist()
    whole, _ = alone(layer, x, np.ones_like(mask), backwards=True)
    assert layer(x).tobytes() == whole[:, ::-1].tobytes()
    last_only = kind(6, go_backwards=True)
    last_only.ensure_built((None, None, 4))
    last_only.set_weights(layer.get_weights())
    assert last_only(x, mask=mask).tobytes() == last.tobytes()
    assert last_only.compute_mask(x, mask) is None


def test_bidirectional_output_has_each_direction_at_its_places():
    mask = holes()
    x = normal(*mask.shape, 4)
    inner = GRU(6, return_sequences=True)
    layer = Bidirectional(inner)
    y = layer(x, mask=mask)
    parameters = inner.parameters
    for column, (suffix, backwards) in enumerate((("", False), ("_reverse", True))):
        one = GRU(6)
        one.parameters = {
            name: parameters[name + suffix] for name in parameters if "_reverse" not in name
        }
        output, last = alone(one, x, mask, backwards)
        columns = slice(6 * column, 6 * column + 6)
        assert y[..., columns].tobytes() == output.tobytes()
        inner.return_sequences = False
        assert layer(x, mask=mask)[..., columns].tobytes() == last.tobytes()
        inner.return_sequences = True


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", [name for name, _ in layouts(LENGTHS)])
def test_a_repeated_output_is_the_one_before_or_zero(kind, name):
    mask = dict(layouts(LENGTHS))[name]
    x = normal(*mask.shape, 4)
    layer = kind(6, return_sequences=True, zero_output_for_mask=False)
    y = layer(x, mask=mask)
    layer.zero_output_for_mask = True
    expected = layer(x, mask=mask)
    for b, t in np.ndindex(mask.shape):
        if not mask[b, t] and t > 0:
            expected[b, t] = expected[b, t - 1]
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", CELLS)
def test_a_carried_state_passes_masked_steps_unchanged(kind):
    x, mask = normal(5, 18, 4), holes(18)
    whole = kind(6, return_sequences=True)
    y = whole(x, mask=mask)
    layer = kind(6, return_sequences=True, stateful=True)
    layer.ensure_built((None, None, 4))
    layer.set_weights(whole.get_weights())
    parts = [layer(x[:, s], mask=mask[:, s]) for s in (slice(7), slice(7, 8), slice(8, None))]
    assert np.concatenate(parts, axis=1).tobytes() == y.tobytes()


def test_return_state_is_the_state_at_the_last_step_that_exists():
    x, mask = normal(5, 9, 4), holes()
    layer = LSTM(6, return_state=True)
    y, h, c = layer(x, mask=mask)
    assert y.tobytes() == h.tobytes() == alone(layer, x, mask)[1].tobytes()
    assert not c[2].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_are_those_of_the_sequences_without_masked_steps(kind, dtype):
    """The same rows, moved together and run with lengths: the same bits."""
    mask = holes()
    x, dy = normal(5, 9, 4, dtype=dtype), normal(5, 9, 6, dtype=dtype, seed=2)
    layer = kind(6, return_sequences=True, dtype=dtype)
    layer(x, mask=mask, training=True)
    dx = layer.backward(dy)
    gradients = layer.gradients
    steps = mask.sum(axis=1).max()
    compact, together = np.arange(steps) < mask.sum(axis=1)[:, None], reference.gather
    layer(together(x, mask, steps), mask=compact, training=True)
    expected = layer.backward(together(dy, mask, steps))
    assert dx.tobytes() == reference.scatter(expected, mask).tobytes()
    assert all(gradients[name].tobytes() == layer.gradients[name].tobytes() for name in gradients)
