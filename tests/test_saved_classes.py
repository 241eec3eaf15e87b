"""Whose class a file names: fastrnn's own, or one of the user's, which must be there."""

import os

import numpy as np
import pytest

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    LayerNormalization,
    Sequential,
    TimeDistributed,
    io,
)
from fastrnn._registry import name_in_files
from fastrnn.callbacks import BackupAndRestore, ModelCheckpoint
from fastrnn.layers import Layer

BASES = (
    Layer,
    fastrnn.initializers.Initializer,
    fastrnn.losses.Loss,
    fastrnn.metrics.Metric,
    fastrnn.optimizers.Optimizer,
    fastrnn.optimizers.schedules.LearningRateSchedule,
)


@pytest.fixture(autouse=True)
def only_ours_are_known():
    """Without the classes that other tests made: a file's name may fit one of them."""
    before = [dict(base.classes) for base in BASES]
    for base in BASES:
        for name in [name for name in base.classes if "." in name]:
            del base.classes[name]
    yield
    for base, classes in zip(BASES, before, strict=True):
        base.classes.clear()
        base.classes.update(classes)


def test_a_layer_of_ones_own_is_saved_by_its_class(tmp_path):
    class Scale(Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def forward(self, x, *, training=False):
            return x * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    model = Sequential([Scale(3.0)])
    model(np.ones((1, 2)))
    model.save(tmp_path / "m")
    assert Sequential.load(tmp_path / "m").predict(np.ones((1, 2))).tolist() == [[3.0, 3.0]]
    del Layer.classes[name_in_files(Scale)]
    words = r"layer class .*Scale. is not known: define or import it before load"
    with pytest.raises(ValueError, match=words):
        Sequential.load(tmp_path / "m")


@pytest.mark.parametrize("wrap", [lambda layer: layer, Bidirectional, TimeDistributed])
def test_a_class_whose_configuration_lacks_an_argument_is_not_saved(tmp_path, wrap):
    class Wide(GRU if wrap is Bidirectional else Dense):
        def __init__(self, units, factor=1.0, **kwargs):
            super().__init__(units, **kwargs)

    class Steep(fastrnn.losses.MeanSquaredError):
        def __init__(self, slope):
            super().__init__()

    model = Sequential([wrap(Wide(3, 2.0))])
    model.build((None, 4, 2))
    words = r"Wide: it cannot be saved, since get_config\(\) lacks its argument 'factor'"
    with pytest.raises(ValueError, match=words):
        model.save(tmp_path / "m")
    model.compile("sgd", "mse")
    for callback in (BackupAndRestore(tmp_path / "m"), ModelCheckpoint(tmp_path / "m")):
        with pytest.raises(ValueError, match=words):  # before the first epoch
            model.fit(np.ones((2, 4, 2)), np.ones(2), callbacks=[callback], epochs=1)
        assert not model.optimizer.iterations
    model = Sequential([Dense(3)])
    model.build((None, 2))
    model.compile("sgd", Steep(2.0))
    with pytest.raises(ValueError, match=r"Steep: it cannot be saved.*'slope'"):
        model.save(tmp_path / "m", include_optimizer=True)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "layer",
    [LSTM(3), GRU(3), RNN(3), Dense(3), LayerNormalization(), Embedding(9, 2)],
    ids=lambda layer: layer.name,
)
def test_a_class_made_from_one_of_ours_is_saved_as_it_is(tmp_path, layer):
    kind = type("Own", (type(layer),), {})
    model = Sequential([kind.from_config(layer.get_config())])
    model.build((None,) if isinstance(layer, Embedding) else (None, 4, 3))
    model.save(tmp_path / "m")
    assert isinstance(Sequential.load(tmp_path / "m").layers[0], kind)


def registered(base, name, **methods):
    """A class outside of fastrnn, of the name."""
    return type(base)(name, (base,), {"__module__": "program", **methods})


def as_saved_before(path):
    """Write a file as earlier versions did, without the classes' modules."""
    arrays, metadata = io.load_arrays(path)
    io.save_arrays(path, arrays, {k: v.replace("program.", "") for k, v in metadata.items()})


def test_a_class_of_ones_own_does_not_take_the_place_of_ours(tmp_path):
    parts = fastrnn.initializers, fastrnn.losses, fastrnn.metrics, fastrnn.optimizers
    initializers, losses, metrics, optimizers = parts
    schedules = optimizers.schedules

    def model(dense, ones, loss, metric, adam, decay):
        model = Sequential([TimeDistributed(dense(2, kernel_initializer=ones()))])
        model.build((None, 3, 4))
        model.compile(adam(decay(0.1, 10, 0.5)), loss(), [metric()])
        return model

    def kinds(model):
        (layer,), (metric,) = model.layers, model.metrics
        things = layer.layer, layer.layer.kernel_initializer, model.loss, metric, model.optimizer
        return [type(thing) for thing in (*things, model.optimizer._learning_rate)]

    ours = [
        *(Dense, initializers.Ones, losses.MeanSquaredError, metrics.Precision),
        *(optimizers.Adam, schedules.ExponentialDecay),
    ]
    own = [registered(kind, kind.__name__) for kind in ours]
    for expected in (ours, own):
        model(*expected).save(tmp_path / "m", include_optimizer=True)
        assert kinds(Sequential.load(tmp_path / "m")) == expected
    others = [registered(kind, f"Other{kind.__name__}") for kind in ours]
    model(*others).save(tmp_path / "m", include_optimizer=True)
    as_saved_before(tmp_path / "m")
    assert kinds(Sequential.load(tmp_path / "m")) == others
    backup = BackupAndRestore(tmp_path / "b", delete_checkpoint=False)
    for epochs in (1, 3):
        again = model(*others)
        again.fit(np.ones((2, 3, 4)), np.ones((2, 3, 2)), epochs=epochs, callbacks=backup)
        assert again.optimizer.iterations == epochs
        as_saved_before(tmp_path / "b")


def test_a_loss_class_that_is_not_there_is_named(tmp_path):
    class Own(fastrnn.losses.MeanSquaredError):
        pass

    model = Sequential([Dense(3)])
    model.build((None, 2))
    model.compile("sgd", Own())
    model.save(tmp_path / "m", include_optimizer=True)
    assert isinstance(Sequential.load(tmp_path / "m").loss, Own)
    del fastrnn.losses.Loss.classes[name_in_files(Own)]
    with pytest.raises(ValueError, match=r"loss class .*Own. is not known"):
        Sequential.load(tmp_path / "m")
