"""Recurrent layers' arguments: directions merged, states, dropout, seeds, frozen parameters."""

import json

import numpy as np
import pytest

import fastrnn
from cases import Case
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
    LayerNorm,
    LayerNormalization,
    Masking,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.model import Sequential
from masks import input_masks_for
from reference import layers as reference

CELLS = [RNN, LSTM, GRU]


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


def normal(*shape, dtype="float32", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# ---- directions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
def test_directions_are_merged_as_keras_does(mode, sequences):
    x = normal(3, 6, 5)
    side_by_side = Bidirectional(GRU(4, return_sequences=sequences))
    merged = Bidirectional(GRU(4, return_sequences=sequences), merge_mode=mode)
    halves = side_by_side(x)
    merged.ensure_built((None, None, 5))
    merged.set_weights(side_by_side.get_weights())
    y = merged(x)
    expected, _ = reference.merge(mode, halves, np.ones_like(halves[..., :4]))
    assert np.allclose(y, expected, rtol=1e-6)
    assert merged.output_shape((None, None, 5))[-1] == y.shape[-1] == 4


def test_unmerged_directions_are_two_arrays_and_their_gradients_too():
    x = normal(3, 6, 5)
    layer = Bidirectional(LSTM(4, return_sequences=True), merge_mode=None)
    forwards, backwards = layer(x, training=True)
    together = Bidirectional(LSTM(4, return_sequences=True))
    together.ensure_built((None, None, 5))
    together.set_weights(layer.get_weights())
    y = together(x, training=True)
    assert np.concatenate([forwards, backwards], axis=-1).tobytes() == y.tobytes()
    dy = normal(3, 6, 8, seed=2)
    dx = layer.backward((dy[..., :4], dy[..., 4:]))
    assert dx.tobytes() == together.backward(dy).tobytes()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_return_state_gives_the_forward_directions_state_then_the_other(num_layers):
    x = normal(3, 6, 5)
    layer = Bidirectional(LSTM(4, return_state=True, num_layers=num_layers))
    y, *states = layer(x)
    assert len(states) == 4
    shape = (3, 4) if num_layers == 1 else (2, 3, 4)
    assert all(state.shape == shape for state in states)
    last = [state if num_layers == 1 else state[-1] for state in states]
    assert y.tobytes() == np.concatenate([last[0], last[2]], axis=-1).tobytes()
    two = Bidirectional(GRU(4, return_state=True), merge_mode=None)(x)
    assert len(two) == 4
    assert two[0].tobytes() == two[2].tobytes()


# ---- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CELLS)
def test_some_rows_begin_anew_and_the_others_go_on(kind):
    layer = kind(4, num_layers=2, return_sequences=True, stateful=True)
    x = normal(3, 8, 5)
    layer(x[:, :4])
    went_on = layer.get_states()
    layer.reset_states(rows=[1])
    y = layer(x[:, 4:])
    layer.reset_states()
    fresh = layer(x[:, 4:])
    layer.set_states(went_on)
    carried = layer(x[:, 4:])
    assert y[1].tobytes() == fresh[1].tobytes() != carried[1].tobytes()
    assert y[[0, 2]].tobytes() == carried[[0, 2]].tobytes()


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_in_two_parts_is_the_whole_one_forward_and_backward(kind, num_layers):
    """The second part begins with the state that the first one returned, and hands back its
    gradient."""
    x, dy = normal(3, 8, 5, dtype="float64"), normal(3, 8, 4, dtype="float64", seed=2)
    options = {"num_layers": num_layers, "return_sequences": True, "dtype": "float64"}
    whole = kind(4, **options)
    y = whole(x, training=True)
    dx = whole.backward(dy)

    first, second = kind(4, return_state=True, **options), kind(4, **options)
    for part in (first, second):
        part.ensure_built((None, None, 5))
        part.set_weights(whole.get_weights())
    y_first, *states = first(x[:, :3], training=True)
    y_second = second(x[:, 3:], initial_state=states, training=True)
    assert np.concatenate([y_first, y_second], axis=1).tobytes() == y.tobytes()
    dx_second = second.backward(dy[:, 3:])
    dx_first = first.backward(dy[:, :3], dstate=second.initial_state_gradients)
    # Sums of a few numbers in another order, in float64.
    assert np.allclose(np.concatenate([dx_first, dx_second], axis=1), dx, rtol=0, atol=1e-14)
    for name, gradient in whole.gradients.items():
        parts = first.gradients[name] + second.gradients[name]
        assert np.allclose(parts, gradient, rtol=0, atol=1e-13)


def test_the_gradient_of_a_final_state_and_of_the_last_output_are_added():
    x, dy = normal(3, 6, 5), normal(3, 4, seed=2)
    layer = LSTM(4, return_state=True)
    layer(x, training=True)
    expected = layer.backward(2 * dy)
    layer(x, training=True)
    assert layer.backward(dy, dstate=(dy, np.zeros_like(dy))).tobytes() == expected.tobytes()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_both_directions_begin_with_states_of_their_own(num_layers):
    layer = Bidirectional(LSTM(4, num_layers=num_layers, return_sequences=True, return_state=True))
    x = normal(3, 6, 5)
    y, *states = layer(x)
    given = [normal(*state.shape, seed=i) for i, state in enumerate(states)]
    first, last = (layer(x, initial_state=some)[0] for some in (given[:2] + states[2:], given))
    # The first step of a direction sees its own state at once, in a stack that of the layers below.
    assert np.any(first[:, 0, :4] != y[:, 0, :4])
    assert np.any(last[:, -1, 4:] != first[:, -1, 4:])
    if num_layers == 1:
        zeros = [np.zeros_like(state) for state in states]
        backwards_only = layer(x, initial_state=zeros[:2] + given[2:])[0]
        assert backwards_only[..., :4].tobytes() == y[..., :4].tobytes()
        assert backwards_only[..., 4:].tobytes() == last[..., 4:].tobytes()
    layer(x, initial_state=given, training=True)
    layer.backward(np.ones_like(y))
    assert [g.shape for g in layer.initial_state_gradients] == [s.shape for s in states]


def test_an_initial_state_is_for_one_call():
    layer, x = GRU(4, stateful=True), normal(3, 6, 5)
    state = normal(3, 4, seed=2)
    y = layer(x, initial_state=state)
    went_on = layer(x)
    assert went_on.tobytes() == layer(x, initial_state=y).tobytes()
    with pytest.raises(ValueError, match="initial_state"):
        layer(x[:2], initial_state=state)
    layer.reset_states()
    assert layer(x).tobytes() == layer(x, initial_state=np.zeros((3, 4))).tobytes()


@pytest.mark.parametrize(
    ("layer", "state", "words"),
    [
        (LSTM(4), normal(3, 4), r"initial_state.*expected 2 arrays \(h, c\), got 1"),
        (GRU(4), [normal(3, 4)] * 2, r"initial_state.*expected 1 arrays \(h\), got 2"),
        (GRU(4), normal(2, 4), r"initial_state of layer 'gru'.*\(3, 4\), got \(2, 4\)"),
        (GRU(4, num_layers=2), normal(3, 4), r"expected shape \(2, 3, 4\), got \(3, 4\)"),
        (Bidirectional(LSTM(4)), [normal(3, 4)] * 2, "4 arrays .h, c of each direction.*got 2"),
    ],
)
def test_an_initial_state_that_does_not_fit_is_named(layer, state, words):
    with pytest.raises(ValueError, match=words):
        layer(normal(3, 6, 5), initial_state=state)


def test_rows_of_a_model_are_reset_in_all_its_layers():
    model = Sequential(
        [GRU(4, stateful=True, return_sequences=True), LSTM(3, stateful=True), Dense(2)]
    )
    x = normal(3, 8, 5)
    fresh = model(x)
    model.reset_states(rows=[0, 2])
    again = model(x)
    assert again[[0, 2]].tobytes() == fresh[[0, 2]].tobytes()
    assert again[1].tobytes() != fresh[1].tobytes()
    model.reset_states(rows=[])
    model.reset_states()
    model.reset_states(rows=[5])  # there is no state, of whatever batch
    with pytest.raises(ValueError, match=r"rows: expected 0 \.\. 2, got \[3\]"):
        model(x), model.reset_states(rows=[3])
    with pytest.raises(TypeError, match="rows: expected integers"):
        model.reset_states(rows=[0.5])


@pytest.mark.parametrize("kind", CELLS)
def test_a_stateful_layer_that_goes_backwards_carries_the_state_of_its_last_step(kind):
    layer = kind(4, go_backwards=True, stateful=True)
    x = normal(3, 8, 5)
    whole = layer(x)
    layer.reset_states()
    layer(x[:, 5:])
    assert layer(x[:, :5]).tobytes() == whole.tobytes()


# ---- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CELLS)
def test_dropout_has_one_mask_of_the_input_for_all_steps(kind):
    layer = kind(6, dropout=0.4, return_sequences=True, seed=11)
    x, dy = normal(3, 7, 5), normal(3, 7, 6, seed=2)
    y = layer(x, training=True)
    dx = layer.backward(dy)
    plain = kind(6, return_sequences=True)
    plain.ensure_built((None, None, 5))
    plain.set_weights(layer.get_weights())
    mask = input_masks_for(Case(B=3, I=5, dtype="float32"), 0.4, seeds_of(11)[0])[0][:, None]
    assert y.tobytes() == plain(x * mask, training=True).tobytes()
    assert np.allclose(dx, plain.backward(dy) * mask, rtol=1e-6)
    assert layer(x).tobytes() == plain(x).tobytes()


@pytest.mark.parametrize("kind", CELLS)
def test_dropout_has_a_mask_of_its_own_for_each_direction(kind):
    both = Bidirectional(kind(6, dropout=0.4, return_sequences=True, seed=11))
    x, dy = normal(3, 7, 5), normal(3, 7, 12, seed=2)
    y = both(x, training=True)
    dx = both.backward(dy)
    masks = input_masks_for(
        Case(B=3, I=5, bidirectional=True, dtype="float32"), 0.4, seeds_of(11)[0]
    )
    parts = []
    for mask, half in zip(masks[:, :, None], (slice(0, 6), slice(6, 12)), strict=True):
        plain = Bidirectional(kind(6, return_sequences=True))
        plain.ensure_built((None, None, 5))
        plain.set_weights(both.get_weights())
        assert y[..., half].tobytes() == plain(x * mask, training=True)[..., half].tobytes()
        gradient = np.zeros_like(dy)
        gradient[..., half] = dy[..., half]
        parts.append(plain.backward(gradient) * mask)
    np.testing.assert_allclose(dx, sum(parts), rtol=1e-6, atol=1e-7)


def seeds_of(seed, count=2):
    stream = fastrnn.random.SeedStream(seed)
    return [stream.next() for _ in range(count)]


def test_a_layers_seed_draws_its_masks_apart_from_the_one_source():
    x = np.ones((4, 5), "float32")
    layers = [Dropout(0.5, seed=3) for _ in range(2)]
    first = [layers[0](x, training=True) for _ in range(3)]
    fastrnn.set_seed(99)
    second = [layers[1](x, training=True) for _ in range(3)]
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]
    assert first[0].tobytes() != first[1].tobytes()
    assert Dropout(0.5, seed=4)(x, training=True).tobytes() != first[0].tobytes()
    fastrnn.set_seed(99)
    expected = fastrnn.random.next_seed()
    fastrnn.set_seed(99)
    layers[0](x, training=True)
    assert fastrnn.random.next_seed() == expected


def test_masks_go_on_from_their_count():
    def model():
        return Sequential(
            [
                Bidirectional(LSTM(4, dropout=0.5, seed=1, return_sequences=True)),
                TimeDistributed(Dropout(0.5, seed=2)),
                Dropout(0.5, seed=3),
            ]
        )

    x = normal(2, 3, 4)
    one, other = model(), model()
    one(x, training=True)
    counts = one.get_seed_counts()
    assert counts == [1, 1, 1]
    other.build((None, None, 4))
    other.set_weights(one.get_weights())
    other.set_seed_counts(counts)
    assert other(x, training=True).tobytes() == one(x, training=True).tobytes()


# ---- frozen parameters ---------------------------------------------------------------------------


def test_a_frozen_layer_computes_no_gradient_of_its_own_and_hands_on_the_same_dx():
    for make in (lambda: Dense(3), lambda: LayerNormalization(), lambda: Bidirectional(LSTM(3))):
        layer, x = make(), normal(2, 4, 5)
        y = layer(x, training=True)
        dy = normal(*y.shape, seed=2)
        dx = layer.backward(dy)
        layer.trainable = False
        layer(x, training=True)
        assert layer.backward(dy).tobytes() == dx.tobytes()
        assert layer.gradients == {}
    table = Embedding(5, 2, trainable=False)
    table(np.zeros((2, 3), int), training=True)
    table.backward(np.ones((2, 3, 2)))
    assert table.gradients == {}


def test_trainable_reaches_the_layers_inside_of_others():
    for wrapper in (Bidirectional(LSTM(3)), TimeDistributed(Dense(3))):
        wrapper.trainable = False
        assert not wrapper.layer.trainable
    assert not Bidirectional(LSTM(3), trainable=False).layer.trainable
    assert not Bidirectional(LSTM(3, trainable=False)).trainable
    model = Sequential([Embedding(5, 2), Bidirectional(LSTM(3)), Dense(1)])
    assert model.trainable
    model.trainable = False
    assert not any(layer.trainable for layer in model.layers)
    assert not model.trainable
    model.compile("sgd", "binary_crossentropy")
    x, y = np.zeros((2, 3), int), np.array([0, 1])
    model.build((None, None))
    before = model.get_weights()
    model.evaluate(x, y, batch_size=2)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, model.get_weights(), strict=True))


# ---- parameters and configurations ---------------------------------------------------------------

LAYERS = [
    Activation("gelu"),
    Bidirectional(LSTM(3, return_sequences=True, seed=4), merge_mode="ave", name="both"),
    Dense(3, activation="swish", kernel_initializer="he_normal", use_bias=False),
    Dropout(0.25, seed=7),
    Embedding(9, 4, embeddings_initializer="lecun_normal", mask_zero=True),
    Flatten(),
    GRU(3, kernel_initializer="zeros", dropout=0.1, go_backwards=True),
    GlobalAveragePooling1D(),
    GlobalMaxPooling1D(name="top"),
    LSTM(3, unit_forget_bias=False, stateful=True, zero_output_for_mask=False, trainable=False),
    LastStep(dtype="float64"),
    LayerNormalization(epsilon=1e-5, scale=False),
    Masking(-1.0),
    RNN(3, activation="relu", use_bias=False, num_layers=2, stack_dropout=0.3),
    SimpleRNN(3, recurrent_initializer="identity", return_state=True),
    TimeDistributed(Dense(2)),
]


def test_every_layer_is_in_this_list():
    kinds = {type(layer).__name__ for layer in LAYERS}
    assert kinds == set(fastrnn.layers.__all__) - {"Layer", "LayerNorm", "Input", "InputLayer"}
    assert LayerNorm is LayerNormalization


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_is_made_again_from_its_configuration_as_json_holds_it(layer):
    config = layer.get_config()
    again = Layer.classes[type(layer).__name__].from_config(json.loads(json.dumps(config)))
    assert type(again) is type(layer)
    assert again.get_config() == config


def test_a_layers_weights_can_be_taken_and_put_back():
    x = normal(2, 4, 5)
    for make in (lambda: GRU(3), lambda: Bidirectional(LSTM(3)), lambda: TimeDistributed(Dense(3))):
        one, other = make(), make()
        y = one(x)
        other(x)
        other.set_weights(one.get_weights())
        assert other(x).tobytes() == y.tobytes()
        assert one.count_params() == sum(w.size for w in one.get_weights())
        before = one.get_weights()
        with pytest.raises(ValueError, match="weights: expected"):
            one.set_weights([*before[:-1], np.zeros(99)])
        with pytest.raises(TypeError, match="weights: expected numbers"):
            one.set_weights([*before[:-1], before[-1].astype(str)])
        assert all(
            a.tobytes() == b.tobytes() for a, b in zip(before, one.get_weights(), strict=True)
        )


def test_without_a_bias_there_is_none():
    x = normal(2, 4, 5)
    for kind in CELLS:
        layer = kind(3, use_bias=False, num_layers=2)
        layer(x, training=True)
        assert not any("bias" in name for name in layer.parameters)
        layer.backward(np.ones((2, 3), "float32"))
        assert layer.gradients.keys() == layer.parameters.keys()


def test_a_saved_model_has_its_masks_and_wrappers_again(tmp_path):
    model = Sequential(
        [
            Embedding(9, 4, mask_zero=True),
            Bidirectional(GRU(3, return_sequences=True), merge_mode="mul"),
            TimeDistributed(Dense(4, activation="gelu")),
            LayerNormalization(),
            LSTM(3, go_backwards=True),
            Dense(1),
        ]
    )
    x = np.random.default_rng(0).integers(0, 9, size=(3, 6))
    y = model(x)
    model.save(tmp_path / "model.safetensors")
    again = Sequential.load(tmp_path / "model.safetensors")
    assert again(x).tobytes() == y.tobytes()
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
