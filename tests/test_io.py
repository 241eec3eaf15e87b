"""Model files: the same bits come back, a file is written whole, and a bad one is refused."""

import json
import os
import stat

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, LSTM, RNN, Bidirectional, Dense, Dropout, Embedding, Sequential, io
from fastrnn.layers import Layer
from subprocesses import output_of


@pytest.fixture
def model():
    fastrnn.set_seed(0)
    model = Sequential(
        [
            Embedding(9, 4),
            LSTM(5, return_sequences=True, num_layers=2, stack_dropout=0.1, trainable=False),
            Dropout(0.2),
            Bidirectional(GRU(3, return_sequences=True)),
            RNN(4, activation="relu", name="last"),
            Dense(2, activation="softmax"),
        ]
    )
    model.build((None, None))
    return model


def test_a_loaded_model_is_the_saved_one_bit_for_bit(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path, metadata={"vocabulary": '["ä", "b"]'})
    loaded = Sequential.load(path)
    x = np.arange(9).reshape(3, 3)
    assert loaded.predict(x).tobytes() == model.predict(x).tobytes()
    assert [layer.get_config() for layer in loaded.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert loaded.metadata == {"vocabulary": '["ä", "b"]'}
    assert not loaded.layers[1].trainable
    loaded.save(tmp_path / "again.safetensors")
    assert Sequential.load(tmp_path / "again.safetensors").metadata == loaded.metadata


def test_a_model_file_can_be_read_by_safetensors_alone(model, tmp_path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    arrays, metadata = io.load_arrays(path)
    assert arrays.keys() == model.parameters.keys()
    assert [layer["class"] for layer in json.loads(metadata["model"])["layers"]] == [
        type(layer).__name__ for layer in model.layers
    ]


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
    del Layer.classes["Scale"]
    with pytest.raises(ValueError, match="Scale"):
        Sequential.load(tmp_path / "m")


def test_a_failed_save_leaves_the_old_file_whole(model, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model.save(path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    model.layers[0].parameters["weight"][...] = 0
    with pytest.raises(OSError, match="no space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o022)
    try:
        io.save_arrays(tmp_path / "a", {"x": np.ones(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o644


def test_arrays_of_any_layout_are_saved_as_they_read(tmp_path):
    array = np.arange(12.0).reshape(3, 4).T[::-1]
    io.save_arrays(tmp_path / "a", {"x": array})
    assert np.array_equal(io.load_arrays(tmp_path / "a")[0]["x"], array)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_half_written_file_is_refused(model, tmp_path, keep):
    path = tmp_path / "model.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Sequential.load(path)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    io.save_arrays(path, {"x": np.ones(2)})
    with pytest.raises(ValueError, match="not a model"):
        Sequential.load(path)
    path.write_bytes(b"\x80\x04K\x01. a pickle, for one")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Sequential.load(path)
    with pytest.raises(FileNotFoundError):
        Sequential.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays, config: arrays.pop("dense.bias"), "dense.bias"),
        (lambda arrays, config: arrays.update(more=np.ones(2)), "more"),
        (lambda arrays, config: arrays.update({"dense.bias": np.ones(3)}), "dense.bias"),
        (lambda arrays, config: config["layers"][0].update({"class": "Missing"}), "Missing"),
        (lambda arrays, config: config["layers"][0]["config"].update(input_dim=-1), "input_dim"),
        (lambda arrays, config: config["layers"][0]["config"].update(other=1), "other"),
        (lambda arrays, config: config.pop("input_shape"), "input_shape"),
        (lambda arrays, config: config.update(layers=[]), "no layers"),
        (lambda arrays, config: config.update(layers=[3]), "int"),
        (lambda arrays, config: config["layers"][0].update(config=[]), "list"),
    ],
)
def test_a_model_file_that_does_not_fit_together_is_refused(model, tmp_path, change, words):
    path = tmp_path / "model.safetensors"
    model.save(path)
    arrays, metadata = io.load_arrays(path)
    config = json.loads(metadata["model"])
    change(arrays, config)
    io.save_arrays(path, arrays, {**metadata, "model": json.dumps(config)})
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{words}"):
        Sequential.load(path)


def test_a_model_without_parameters_yet_is_not_saved(tmp_path):
    with pytest.raises(RuntimeError, match="build"):
        Sequential([Dense(2)]).save(tmp_path / "a")
    assert not os.listdir(tmp_path)


def test_one_model_is_one_file_in_every_process(tmp_path):
    code = """
import sys
import fastrnn
fastrnn.set_seed(0)
model = fastrnn.Sequential([fastrnn.GRU(3), fastrnn.Dense(2)])
model.build((None, None, 4))
model.compile("adam", "mse")
model.save(sys.argv[1], {f"key {i}": str(i) for i in range(9)}, include_optimizer=True)
"""
    files = []
    for name in "ab":
        path = tmp_path / name
        output_of(f"import sys; sys.argv = ['', {str(path)!r}]\n" + code)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    # The arrays are where a reader that maps the file can use them.
    assert int.from_bytes(files[0][:8], "little") % 8 == 0


# ---- with the training ---------------------------------------------------------------------------


def trained():
    fastrnn.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (20, 4)), rng.integers(0, 2, 20)
    model = Sequential([Embedding(9, 4), LSTM(5), Dense(1, activation="sigmoid")])
    rate = fastrnn.optimizers.schedules.CosineDecay(0.1, 50)
    model.compile(
        fastrnn.optimizers.AdamW(rate, amsgrad=True, global_clipnorm=1.0),
        fastrnn.losses.BinaryCrossentropy(label_smoothing=0.1),
        ["accuracy", fastrnn.metrics.AUC(50)],
        ["mae"],
    )
    model.fit(x, y, epochs=2, verbose=0)
    return model, x, y


def test_a_model_saved_with_its_optimiser_is_trained_further_as_if_never_saved(tmp_path):
    model, x, y = trained()
    model.save(tmp_path / "m", include_optimizer=True)
    loaded = Sequential.load(tmp_path / "m")
    assert loaded.evaluate(x, y, return_dict=True) == model.evaluate(x, y, return_dict=True)
    for each in (model, loaded):
        fastrnn.set_seed(1)
        each.fit(x, y, epochs=2, verbose=0)
    assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_a_model_saved_without_it_says_that_it_is_to_be_compiled(tmp_path):
    model, x, y = trained()
    model.save(tmp_path / "m")
    loaded = Sequential.load(tmp_path / "m")
    assert os.path.getsize(tmp_path / "m") > 0
    with pytest.raises(RuntimeError, match="compile"):
        loaded.evaluate(x, y)
    assert loaded.predict(x).tobytes() == model.predict(x).tobytes()


def test_fastrnns_own_names_are_no_metadata(model, tmp_path):
    with pytest.raises(ValueError, match=r"metadata: \['model'\] are fastrnn's own"):
        model.save(tmp_path / "m", metadata={"model": "mine"})


def test_a_loss_class_that_is_not_there_is_named(tmp_path):
    model, _, _ = trained()

    class Own(fastrnn.losses.MeanSquaredError):
        pass

    model.compile("sgd", Own())
    model.save(tmp_path / "m", include_optimizer=True)
    assert isinstance(Sequential.load(tmp_path / "m").loss, Own)
    del fastrnn.losses.Loss.classes["Own"]
    with pytest.raises(ValueError, match="Own"):
        Sequential.load(tmp_path / "m")
