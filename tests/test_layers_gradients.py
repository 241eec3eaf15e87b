"""Gradients of whole models, with masks, directions and wrappers, by finite differences."""

import numpy as np
import pytest

import fastrnn
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    LastStep,
    LayerNormalization,
    Masking,
    TimeDistributed,
)
from fastrnn.losses import SparseCategoricalCrossentropy
from fastrnn.model import Sequential


@pytest.fixture(autouse=True)
def seed():
    fastrnn.set_seed(0)


WIDE = {"dtype": "float64"}
MODELS = {
    "embedding, stack, sequence": lambda: [
        Embedding(7, 3, **WIDE),
        LSTM(4, num_layers=2, return_sequences=True, **WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "two layers, last output": lambda: [
        Embedding(7, 3, **WIDE),
        GRU(4, return_sequences=True, **WIDE),
        RNN(3, **WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "both directions": lambda: [
        Embedding(7, 3, **WIDE),
        Bidirectional(LSTM(4, return_sequences=True, **WIDE)),
        Bidirectional(GRU(3, num_layers=2, **WIDE)),
        Dense(5, activation="softmax", **WIDE),
    ],
    "activations, logits": lambda: [
        Embedding(7, 3, **WIDE),
        Dense(6, activation="tanh", **WIDE),
        Dense(6, activation="sigmoid", use_bias=False, **WIDE),
        Dense(6, activation="gelu", **WIDE),
        Activation("silu", **WIDE),
        Dense(6, activation="softmax", **WIDE),
        Dense(5, activation="softmax", **WIDE),
        Dense(5, **WIDE),
    ],
    "merged directions, backwards": lambda: [
        Embedding(7, 3, **WIDE),
        Bidirectional(LSTM(4, return_sequences=True, **WIDE), merge_mode="mul"),
        GRU(3, return_sequences=True, go_backwards=True, **WIDE),
        Bidirectional(RNN(3, **WIDE), merge_mode="ave"),
        Dense(5, activation="softmax", **WIDE),
    ],
    "normalisation, every step by itself": lambda: [
        Embedding(7, 3, **WIDE),
        LSTM(4, return_sequences=True, use_bias=False, **WIDE),
        LayerNormalization(**WIDE),
        TimeDistributed(Dense(3, activation="elu", **WIDE)),
        LayerNormalization(center=False, **WIDE),
        GlobalAveragePooling1D(**WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "an axis after T": lambda: [
        TimeDistributed(Embedding(7, 3, **WIDE)),
        Dense(4, **WIDE),
        GRU(4, **WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "the last and the greatest": lambda: [
        Embedding(7, 3, mask_zero=True, **WIDE),
        RNN(4, return_sequences=True, **WIDE),
        Dense(4, **WIDE),
        LastStep(**WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "masked steps": lambda: [
        Embedding(7, 3, mask_zero=True, **WIDE),
        LayerNormalization(scale=False, **WIDE),
        Bidirectional(LSTM(4, return_sequences=True, **WIDE), merge_mode="sum"),
        GRU(3, return_sequences=True, go_backwards=True, **WIDE),
        LSTM(4, return_sequences=True, zero_output_for_mask=False, **WIDE),
        GlobalMaxPooling1D(**WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "repeated outputs, flattened": lambda: [
        Embedding(7, 3, mask_zero=True, **WIDE),
        LSTM(4, return_sequences=True, zero_output_for_mask=False, num_layers=2, **WIDE),
        Flatten(**WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
    "masked features": lambda: [
        Embedding(7, 3, embeddings_initializer="glorot_normal", **WIDE),
        Activation("hard_sigmoid", **WIDE),
        Masking(0.5, **WIDE),
        GRU(4, num_layers=2, go_backwards=True, **WIDE),
        Dense(5, activation="softmax", **WIDE),
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_model_agree_with_finite_differences(name):
    model = Sequential(MODELS[name]())
    x = np.random.default_rng(2).integers(0, 7, size=(3, 5))
    x[0, 2] = x[1, :2] = x[2, 3:] = 0
    if name == "an axis after T":
        x = np.random.default_rng(2).integers(0, 7, size=(3, 5, 4))
        model.layers.insert(1, TimeDistributed(Flatten(**WIDE)))
    loss = SparseCategoricalCrossentropy(from_logits=True)
    # A model that ends in softmax is differentiated through it here: training fuses it.
    output = model(x, training=True)
    y = np.random.default_rng(3).integers(0, 5, size=output.shape[:-1])
    model.backward(loss.value_and_gradient(y, output)[1])
    assert model.gradients.keys() == model.parameters.keys()

    for key, parameter in model.parameters.items():
        numeric, flat = np.empty_like(parameter), parameter.reshape(-1)
        for i in range(flat.size):
            kept = flat[i]
            around = []
            for step in (1e-5, -1e-5):
                flat[i] = kept + step
                around.append(loss(y, model(x)))
            flat[i] = kept
            numeric.flat[i] = (around[0] - around[1]) / 2e-5
        # central differences err by about step^2 and roundoff / step: 1e-10 each
        error = np.linalg.norm(model.gradients[key] - numeric)
        assert error <= 1e-6 * max(1e-3, np.linalg.norm(numeric)), key
