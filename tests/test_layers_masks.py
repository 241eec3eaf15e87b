"""Masked steps do not exist: in every layer, and through whole models, bit for bit."""

import numpy as np
import pytest

import fastrnn
from cases import settings
from fastrnn import functional
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
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    LastStep,
    Layer,
    LayerNormalization,
    Masking,
    TimeDistributed,
)
from fastrnn.model import Sequential
from reference import layers as reference

CELLS = [RNN, LSTM, GRU]
LENGTHS = [7, 3, 0, 5, 1]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def normal(*shape, dtype="float32", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def holes(steps=9, rows=5, seed=3):
    """A mask with gaps anywhere; one row has no step at all."""
    mask = np.random.default_rng(seed).random((rows, steps)) < 0.6
    mask[2] = False
    return mask


def laid_out(sequences, mask, filler):
    """[B, T, ...] with each sequence's steps at the places of its mask, ``filler`` elsewhere."""
    x = np.full((*mask.shape, *sequences[0].shape[1:]), filler, sequences[0].dtype)
    for row, sequence, exists in zip(x, sequences, mask, strict=True):
        row[exists] = sequence
    return x


def layouts(lengths):
    """The same sequences with other amounts of left padding, right padding and holes."""
    lengths, longest = np.array(lengths)[:, None], max(lengths)
    yield "as long as the longest", np.arange(longest) < lengths
    yield "right padding", np.arange(longest + 5) < lengths
    for extra in (0, 1, 6):
        steps = longest + extra
        yield f"left padding, {extra} more", np.arange(steps) >= steps - lengths
    for seed in range(2):
        mask, rng = np.zeros((len(lengths), 12), bool), np.random.default_rng(seed)
        for row, length in zip(mask, lengths[:, 0], strict=True):
            row[rng.choice(12, length, replace=False)] = True
        yield f"holes {seed}", mask


# ---- recurrent layers by themselves --------------------------------------------------------------


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


# ---- a masked position changes nothing -----------------------------------------------------------

TOKENS = [np.random.default_rng(n).integers(1, 11, size=n) for n in LENGTHS]


def reviews(*middle):
    """The tutorial's model with something else in its middle."""
    return [Embedding(11, 5, mask_zero=True), *middle, Dense(2, activation="sigmoid")]


MODELS = {
    "last output": lambda: reviews(LSTM(6)),
    "sequences, dropout": lambda: reviews(
        LSTM(6, return_sequences=True), Dropout(0.5), LSTM(4, dropout=0.3), Dropout(0.5)
    ),
    "both directions": lambda: reviews(
        Bidirectional(GRU(6, return_sequences=True, num_layers=2, stack_dropout=0.2)),
        Bidirectional(RNN(4), merge_mode="sum"),
    ),
    "every step by itself, mean": lambda: reviews(
        Dense(7, activation="gelu"),
        LayerNormalization(),
        Activation("silu"),
        TimeDistributed(Dense(6)),
        GlobalAveragePooling1D(),
    ),
    "maximum": lambda: reviews(GRU(6, return_sequences=True), GlobalMaxPooling1D()),
    "last step": lambda: reviews(GRU(6, return_sequences=True), Dense(3), LastStep()),
    "backwards": lambda: reviews(LSTM(6, go_backwards=True)),
    "backwards, then forwards": lambda: reviews(
        LSTM(6, return_sequences=True, go_backwards=True), GRU(5)
    ),
    "repeated outputs": lambda: reviews(
        LSTM(6, return_sequences=True, zero_output_for_mask=False), Dropout(0.1), GRU(5)
    ),
    "an output for every step": lambda: reviews(LSTM(6, return_sequences=True)),
}


def train_once(model, x, mask, given=None):
    """One forward and backward pass under one seed: the output where steps exist, gradients."""
    model.build((None, *x.shape[1:]))
    fastrnn.set_seed(7)
    y = model(x, mask=given, training=True)
    dy = np.random.default_rng(5).normal(size=(len(x), 7, y.shape[-1]))
    if y.ndim == 3:
        assert model.output_mask.tolist() == mask.tolist()
        assert not y[~mask].any()
        dy = laid_out([dy[b, : exists.sum()] for b, exists in enumerate(mask)], mask, 3.0)
        y = np.concatenate([y[b, exists] for b, exists in enumerate(mask)])
    else:
        assert model.output_mask is None
        dy = dy[:, 0]
    model.backward(dy)
    return [y.tobytes()] + [gradient.tobytes() for gradient in model.gradients.values()]


@pytest.mark.parametrize("name", MODELS)
def test_the_same_reviews_give_the_same_bits_however_they_are_padded(name):
    model = Sequential(MODELS[name]())
    answers = [train_once(model, laid_out(TOKENS, mask, 0), mask) for _, mask in layouts(LENGTHS)]
    assert len(answers[0]) == 1 + len(model.parameters)
    for (layout, _), answer in zip(layouts(LENGTHS), answers, strict=True):
        assert answer == answers[0], layout


@pytest.mark.parametrize("name", ["both directions", "every step by itself, mean", "backwards"])
def test_and_for_any_number_of_threads(name, threads):
    model = Sequential(MODELS[name]())
    mask = dict(layouts(LENGTHS))["holes 0"]
    x = laid_out(TOKENS, mask, 0)
    with settings(threads=1):
        expected = train_once(model, x, mask)
    assert train_once(model, x, mask) == expected


@pytest.mark.parametrize("filler", [0.0, np.nan, np.inf])
def test_what_stands_at_a_masked_step_changes_nothing_even_if_it_is_nan(filler):
    model = Sequential(
        [
            Dense(4, activation="tanh"),
            LayerNormalization(),
            Bidirectional(LSTM(6, return_sequences=True)),
            Dropout(0.2),
            GRU(3),
            Dense(1),
        ]
    )
    sequences = [normal(n, 3, seed=n) for n in LENGTHS]
    answers = [
        train_once(model, laid_out(sequences, mask, filler), mask, given=mask)
        for _, mask in layouts(LENGTHS)
    ]
    assert all(answer == answers[0] for answer in answers)
    assert np.isfinite(np.frombuffer(answers[0][1], "float32")).all()


def test_masking_finds_the_steps_that_hold_its_value():
    mask = holes()
    x = normal(5, 9, 3)
    x[~mask] = -1
    layer = Masking(-1.0)
    assert layer.compute_mask(x).tolist() == mask.tolist()
    assert layer(x, training=True).tobytes() == np.where(mask[..., None], x, 0).tobytes()
    assert layer.backward(np.ones_like(x)).tolist() == (np.ones_like(x) * mask[..., None]).tolist()
    model, plain = Sequential([Masking(-1.0), LSTM(4)]), Sequential([LSTM(4)])
    y = model(x)
    plain.build((None, None, 3))
    plain.set_weights(model.get_weights())
    assert y.tobytes() == plain(x, mask=mask).tobytes()
    both = mask & holes(seed=4)
    assert model(x, mask=holes(seed=4)).tobytes() == plain(x, mask=both).tobytes()


def test_a_mask_that_is_given_goes_together_with_padding_that_is_found():
    model = Sequential([Embedding(11, 5, mask_zero=True), GRU(4)])
    x = np.random.default_rng(0).integers(1, 11, size=(5, 9))
    x[~holes()] = 0
    given = holes(seed=4)
    assert model(x, mask=given).tobytes() == model(np.where(given, x, 0)).tobytes()


def test_flatten_sees_every_step_at_its_own_place_and_zeros_at_masked_ones():
    mask = holes()
    x = np.random.default_rng(0).integers(1, 11, size=(5, 9)) * mask
    model = Sequential([Embedding(11, 5, mask_zero=True), Dense(3, activation="exponential")])
    steps = model(x)
    assert not steps[~mask].any()
    assert steps[mask].all()
    flat = Sequential([*model.layers, Flatten()])
    assert flat(x).tobytes() == steps.reshape(5, 27).tobytes()
    assert flat.output_mask is None


def test_a_layer_of_ones_own_gets_whole_sequences_and_the_mask_goes_past_it():
    seen = []

    class Spy(Layer):
        uses_mask = True

        def forward(self, x, *, mask=None, training=False):
            seen.append((x.shape, mask))
            return x

        def backward(self, dy, *, need_dx=True):
            return dy

    mask = holes()
    x = np.random.default_rng(0).integers(1, 11, size=(5, 9)) * mask
    model = Sequential([Embedding(11, 5, mask_zero=True), LSTM(4, return_sequences=True), Spy()])
    y = model(x, training=True)
    assert seen[0][0] == (5, 9, 4)
    assert seen[0][1].tolist() == model.output_mask.tolist() == mask.tolist()
    model.backward(np.ones_like(y))
    after = Sequential([*model.layers, GRU(3)])
    after(x)
    assert seen[1][0] == (5, 9, 4)


def test_a_full_mask_is_no_mask():
    x = np.random.default_rng(0).integers(1, 11, size=(5, 9))
    models = [Sequential([Embedding(11, 5, mask_zero=z), LSTM(4)]) for z in (True, False)]
    models[0].build((None, None))
    models[1].build((None, None))
    models[1].set_weights(models[0].get_weights())
    assert models[0](x).tobytes() == models[1](x).tobytes()
    dense = Sequential([Embedding(11, 5, mask_zero=True)])
    dense(x)
    assert dense.output_mask is None


def test_a_batch_without_any_step_gives_zeros_and_no_gradient():
    for last in (LSTM(4), GlobalMaxPooling1D(), GlobalAveragePooling1D(), LastStep()):
        model = Sequential([Embedding(11, 5, mask_zero=True), last])
        y = model(np.zeros((3, 6), int), training=True)
        assert not y.any()
        model.backward(np.ones_like(y))
        assert not any(gradient.any() for gradient in model.gradients.values())


def test_a_mask_of_another_shape_or_type_is_refused():
    model = Sequential([LSTM(4)])
    x = normal(3, 5, 2)
    with pytest.raises(ValueError, match=r"mask: expected shape \(3, 5\)"):
        model(x, mask=np.ones((3, 4), bool))
    with pytest.raises(TypeError, match="mask: expected bool, got int64"):
        model(x, mask=np.ones((3, 5), int))
