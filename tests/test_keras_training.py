"""Losses, optimisers, metrics, schedules, text and a whole training against Keras itself.

Runs where Keras 3 and torch, here its back end, are installed: pip install keras torch.
"""

import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that Keras imports
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras", minversion="3.0")

import fastrnn
from fastrnn import convert, losses, metrics, optimizers
from fastrnn.optimizers import schedules

pytestmark = pytest.mark.filterwarnings("ignore")

# Keras computes in float32, in operations of its own: each side errs by a few roundings of 6e-8,
# and sums of 60 terms.
CLOSE = dict(rtol=5e-6, atol=1e-6)
RNG = np.random.default_rng(0)
ROWS = (12, 5)
P = RNG.dirichlet(np.full(4, 3.0), size=ROWS).astype("float32")
LABELS = RNG.integers(0, 4, size=ROWS)
ONE_HOT = np.eye(4, dtype="float32")[LABELS]
NUMBERS = RNG.normal(size=(*ROWS, 4)).astype("float32")
WEIGHTS, MASK = RNG.uniform(0.2, 2, ROWS).astype("float32"), RNG.random(ROWS) < 0.7


# ---- losses --------------------------------------------------------------------------------------

LOSSES = {
    "binary": ("BinaryCrossentropy", {}, ONE_HOT, P),
    "binary, smoothed": ("BinaryCrossentropy", {"label_smoothing": 0.2}, ONE_HOT, P),
    "binary, logits": ("BinaryCrossentropy", {"from_logits": True}, ONE_HOT, NUMBERS),
    "binary, of 0 and 1": ("BinaryCrossentropy", {}, ONE_HOT, np.round(P)),
    "categorical": ("CategoricalCrossentropy", {}, ONE_HOT, P),
    "categorical, smoothed": ("CategoricalCrossentropy", {"label_smoothing": 0.2}, ONE_HOT, P),
    "categorical, logits": ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, NUMBERS),
    "categorical, of 0 and 1": (
        "CategoricalCrossentropy",
        {},
        ONE_HOT,
        np.maximum(np.round(P), [0, 0, 0, 1]),
    ),
    "categorical, not of sum 1": ("CategoricalCrossentropy", {}, ONE_HOT, 3 * P),
    "sparse": ("SparseCategoricalCrossentropy", {}, LABELS, P),
    "sparse, logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, NUMBERS),
    "sparse, one ignored": ("SparseCategoricalCrossentropy", {"ignore_class": 2}, LABELS, P),
    "squared": ("MeanSquaredError", {}, ONE_HOT, NUMBERS),
    "absolute": ("MeanAbsoluteError", {}, ONE_HOT, NUMBERS),
    "huber": ("Huber", {"delta": 0.7}, ONE_HOT, NUMBERS),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_kerass(name, reduction, weighted, masked):
    kind, options, y, p = LOSSES[name]
    p = np.asarray(p, "float32")
    weights, mask = WEIGHTS if weighted else None, MASK if masked else None
    if "ignore_class" in options and (masked or weighted):
        pytest.skip("Keras loses one of the two masks")
    ours = getattr(losses, kind)(reduction=reduction, **options)(y, p, weights, mask)
    tensor = keras.ops.convert_to_tensor(p)
    if mask is not None:
        keras.src.backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(mask))
    theirs = getattr(keras.losses, kind)(reduction=reduction, **options)(y, tensor, weights)
    assert ours == pytest.approx(float(theirs), rel=5e-6)


def test_the_shapes_of_targets_are_kerass():
    p = RNG.uniform(0.1, 0.9, (6, 1)).astype("float32")
    for y in (np.arange(6) % 2, (np.arange(6) % 2)[:, None]):
        ours = losses.BinaryCrossentropy()(y, p)
        assert ours == pytest.approx(float(keras.losses.BinaryCrossentropy()(y, p)), rel=5e-6)


NAMES = {
    "losses": "mse MSE bce BCE mae MAE huber Huber BinaryCrossentropy binary_crossentropy "
    "MeanSquaredError MeanAbsoluteError CategoricalCrossentropy SparseCategoricalCrossentropy",
    "metrics": "mse MSE mae MAE AUC auc BinaryAccuracy binary_accuracy MeanSquaredError Precision "
    "TopKCategoricalAccuracy RootMeanSquaredError",
    "initializers": "Zeros zero zeros one Ones GlorotUniform glorot_uniform normal uniform "
    "variance_scaling VarianceScaling Orthogonal TruncatedNormal",
    "optimizers": "Adam adam SGD sgd RMSprop AdamW",
}


@pytest.mark.parametrize("module", NAMES)
def test_a_name_that_keras_knows_is_known(module):
    for name in NAMES[module].split():
        given = ("argument", name) if module == "initializers" else (name,)
        ours = getattr(fastrnn, module).get(*given)
        theirs = getattr(keras, module).get(name)
        known = getattr(theirs, "__name__", type(theirs).__name__)  # of a function, or an object
        assert type(ours).__name__.lower() == known.replace("_", "").lower()


# ---- optimisers ----------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd, decayed": ("SGD", {"learning_rate": 0.1, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop, centered": ("RMSprop", {"centered": True, "rho": 0.8}),
    "rmsprop, momentum": ("RMSprop", {"momentum": 0.9, "epsilon": 1e-3}),
    "rmsprop, all": ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.01}),
    "adam": ("Adam", {}),
    "adam, large epsilon": ("Adam", {"learning_rate": 0.01, "epsilon": 0.1}),
    "amsgrad": ("Adam", {"learning_rate": 0.1, "amsgrad": True}),
    "adamw": ("AdamW", {}),
    "adamw, more": ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.3}),
}
CLIPS = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.3}, {"global_clipnorm": 0.8}]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "".join(clip) or "unclipped")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_of_an_optimiser_are_kerass(name, clip):
    kind, options = OPTIMIZERS[name]
    ours = getattr(optimizers, kind)(**options, **clip)
    theirs = getattr(keras.optimizers, kind)(**options, **clip)
    start = [RNG.normal(size=(7, 3)).astype("float32"), RNG.normal(size=5).astype("float32")]
    variables = [keras.Variable(p) for p in start]
    parameters = {str(i): p.copy() for i, p in enumerate(start)}
    for _ in range(10):
        grads = [RNG.normal(size=p.shape).astype("float32") * 0.5 for p in start]
        ours.apply(parameters, {str(i): g for i, g in enumerate(grads)})
        theirs.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
    close = dict(CLOSE)
    if kind.startswith("Adam"):
        # Keras makes 1 - 0.999^t in float32: for t = 1 it errs by 6e-5, its root and so the step by
        # 3e-5 of the learning rate; ten steps.
        close["atol"] += 10 * 3e-5 * ours.learning_rate
    if options.get("centered"):
        # A centered variance is a difference of larger numbers, and its error that of the step.
        close["atol"] = 1e-5
    for i, variable in enumerate(variables):
        assert np.abs(parameters[str(i)] - start[i]).max() > 1e-3
        np.testing.assert_allclose(parameters[str(i)], np.asarray(variable), **close)


# ---- metrics -------------------------------------------------------------------------------------

METRICS = {
    "accuracy, binary": ("BinaryAccuracy", {"threshold": 0.3}, ONE_HOT, P),
    "accuracy, categorical": ("CategoricalAccuracy", {}, ONE_HOT, P),
    "accuracy, sparse": ("SparseCategoricalAccuracy", {}, LABELS, P),
    "top 2": ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, P),
    "top 2, sparse": ("SparseTopKCategoricalAccuracy", {"k": 2}, LABELS, P),
    "absolute": ("MeanAbsoluteError", {}, ONE_HOT, NUMBERS),
    "squared": ("MeanSquaredError", {}, ONE_HOT, NUMBERS),
    "root": ("RootMeanSquaredError", {}, ONE_HOT, NUMBERS),
    "precision": ("Precision", {"thresholds": 0.3}, ONE_HOT, P),
    "precision of a class": ("Precision", {"thresholds": 0.3, "class_id": 1}, ONE_HOT, P),
    "recall": ("Recall", {"thresholds": 0.3}, ONE_HOT, P),
    "auc": ("AUC", {}, ONE_HOT, P),
    "auc, 10 thresholds": ("AUC", {"num_thresholds": 10}, ONE_HOT, P),
    "auc, pr": ("AUC", {"curve": "PR"}, ONE_HOT, P),
    "auc, logits": ("AUC", {"from_logits": True}, ONE_HOT, NUMBERS),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_over_batches_is_kerass(name, weighted):
    kind, options, y, p = METRICS[name]
    ours, theirs = getattr(metrics, kind)(**options), getattr(keras.metrics, kind)(**options)
    for rows in (slice(0, 5), slice(5, 12)):
        weights = WEIGHTS[rows] if weighted else None
        ours.update_state(y[rows], p[rows], weights)
        # Keras's confusion metrics want two axes.
        two = [a[rows].reshape(-1, a.shape[-1]) if a.ndim == 3 else a[rows].ravel() for a in (y, p)]
        theirs.update_state(*two, None if weights is None else _for_keras(kind, weights))
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-5)


def _for_keras(kind, weights):
    return weights.ravel()[:, None] if kind in ("Precision", "Recall", "AUC") else weights.ravel()


def test_accuracy_picks_what_keras_picks():
    for y in (LABELS, LABELS[..., None], ONE_HOT):
        ours = metrics.get("accuracy")
        ours.update_state(y, P)
        found = keras.src.trainers.compile_utils.get_metric("accuracy", y, P)
        found.update_state(y, P)
        assert ours.result() == pytest.approx(float(found.result()), rel=1e-6)


# ---- schedules -----------------------------------------------------------------------------------

SCHEDULES = {
    "exponential": ("ExponentialDecay", (0.1, 10, 0.5)),
    "exponential, stairs": ("ExponentialDecay", (0.1, 10, 0.5, True)),
    "inverse": ("InverseTimeDecay", (0.1, 10, 0.5)),
    "inverse, stairs": ("InverseTimeDecay", (0.1, 10, 0.5, True)),
    "piecewise": ("PiecewiseConstantDecay", ([5, 20], [0.3, 0.2, 0.1])),
    "polynomial": ("PolynomialDecay", (0.1, 20, 0.01, 2.0)),
    "polynomial, cycles": ("PolynomialDecay", (0.1, 7, 0.01, 1.0, True)),
    "cosine": ("CosineDecay", (0.1, 20, 0.1)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_kerass(name):
    kind, arguments = SCHEDULES[name]
    ours = getattr(schedules, kind)(*arguments)
    theirs = getattr(keras.optimizers.schedules, kind)(*arguments)
    for step in (0, 1, 4, 5, 6, 7, 8, 13, 14, 19, 20, 21, 50):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=2e-6, abs=1e-9), step


def test_a_warm_up_is_kerass():
    options = dict(warmup_target=0.1, warmup_steps=5, alpha=0.05)
    ours = schedules.CosineDecay(0.01, 20, **options)
    theirs = keras.optimizers.schedules.CosineDecay(0.01, 20, **options)
    for step in range(40):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=2e-6), step


# ---- text ----------------------------------------------------------------------------------------

TEXTS = ["The cat sat on the mat.", "The dog, the DOG!", "", "A cat -- a cat\tand\na dog's é mat"]
OTHERS = [*TEXTS, "the zebra: a dog", ["the", "A", "."]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_words": 4},
        {"oov_token": "?"},
        {"num_words": 4, "oov_token": "the"},
        {"char_level": True, "num_words": 9},
        {"lower": False, "filters": ".,"},
        {"split": "a"},
    ],
    ids=str,
)
def test_a_tokenizer_is_kerass(options):
    pytest.importorskip("tokenizers")
    text = pytest.importorskip("keras.src.legacy.preprocessing.text")
    from fastrnn.text import Tokenizer, tokenizer_from_json

    ours, theirs = Tokenizer(**options), text.Tokenizer(**options)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(TEXTS)
    assert ours.word_index == theirs.word_index
    assert ours.index_docs == dict(theirs.index_docs)
    assert list(ours.word_counts.items()) == list(theirs.word_counts.items())
    ids = theirs.texts_to_sequences(OTHERS)
    assert ours.texts_to_sequences(OTHERS) == ids
    assert ours.sequences_to_texts(ids) == theirs.sequences_to_texts(ids)
    for mode in ("binary", "count", "freq", "tfidf"):
        assert np.allclose(ours.texts_to_matrix(OTHERS, mode), theirs.texts_to_matrix(OTHERS, mode))
    assert tokenizer_from_json(theirs.to_json()).texts_to_sequences(OTHERS) == ids
    assert text.tokenizer_from_json(ours.to_json()).texts_to_sequences(OTHERS) == ids


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 1, 2, 7])
def test_padding_is_kerass(maxlen, truncating, padding):
    from fastrnn.text import pad_sequences

    sequences = [[1, 2, 3], [], [4], [5, 6, 7, 8]]
    options = dict(maxlen=maxlen, truncating=truncating, padding=padding, value=-2)
    ours, theirs = (
        pad_sequences(sequences, **options),
        keras.utils.pad_sequences(sequences, **options),
    )
    assert ours.tolist() == theirs.tolist()
    assert ours.dtype == theirs.dtype


# ---- a whole training ----------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", ["SimpleRNN", "LSTM", "GRU"])
def test_the_learning_curve_is_kerass(cell, masked):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.integers(1, 20, (96, 7))
    x[np.arange(7) < rng.integers(0, 5, 96)[:, None]] = 0
    y = (x.max(axis=1) > 17).astype(int)
    weights = rng.uniform(0.5, 1.5, 96)
    models = []
    for library in (fastrnn, keras):
        kind = library.layers
        model = library.Sequential(
            [
                kind.Embedding(20, 6, mask_zero=masked),
                getattr(kind, cell)(8, return_sequences=True),
                getattr(kind, cell)(5),
                kind.Dense(1, activation="sigmoid"),
            ]
        )
        model.build((None, 7))
        optimizer = library.optimizers.Adam(0.01, global_clipnorm=1.0)
        model.compile(
            optimizer, "binary_crossentropy", metrics=["accuracy"], weighted_metrics=["mae"]
        )
        models.append(model)
    ours, theirs = models
    convert.from_keras(ours, theirs.get_weights())
    histories = [
        model.fit(
            x, y, sample_weight=weights, batch_size=16, epochs=5, shuffle=False, verbose=0,
            class_weight=None, validation_data=(x[:32], y[:32]),
        ).history
        for model in models
    ]  # fmt: skip
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        # 30 steps of float32, whose roundings Adam's quotients hand on.
        assert values == pytest.approx(histories[1][name], rel=2e-4), name
    for a, b in zip(convert.to_keras(ours), theirs.get_weights(), strict=True):
        assert np.abs(a - b).max() < 2e-4 < np.abs(b).max()
