"""A masked position changes nothing: through whole models, bit for bit."""

import numpy as np
import pytest

import fastrnn
from cases import settings
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
from padding import LENGTHS, holes, laid_out, layouts, normal


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


TOKENS = [np.random.default_rng(n).integers(1, 11, size=n) for n in LENGTHS]


def reviews(*middle):
    """The tutorial's model with something else in its middle."""
    return [Embedding(11, 5, mask_zero=True), *middle, Dense(2, activation="sigmoid")]


def both_directions(units, last):
    return reviews(
        Bidirectional(GRU(units, return_sequences=True, num_layers=2, stack_dropout=0.2)),
        Bidirectional(RNN(last), merge_mode="sum"),
    )


def every_step_by_itself(first, last):
    return reviews(
        Dense(first, activation="gelu"),
        LayerNormalization(),
        Activation("silu"),
        TimeDistributed(Dense(last)),
        GlobalAveragePooling1D(),
    )


MODELS = {
    "last output": lambda: reviews(LSTM(6)),
    "sequences, dropout": lambda: reviews(
        LSTM(6, return_sequences=True), Dropout(0.5), LSTM(4, dropout=0.3), Dropout(0.5)
    ),
    "both directions": lambda: both_directions(6, 4),
    "every step by itself, mean": lambda: every_step_by_itself(7, 6),
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


# Wide enough for teams: with less work one thread does it all.
WIDE_MODELS = {
    "both directions": lambda: both_directions(130, 130),
    "every step by itself, mean": lambda: every_step_by_itself(300, 300),
    "backwards": lambda: reviews(LSTM(130, go_backwards=True)),
}


@pytest.mark.parametrize("name", WIDE_MODELS)
def test_and_for_any_number_of_threads(name, threads):
    model = Sequential(WIDE_MODELS[name]())
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
