"""Model files: the same bits come back, a file is written whole, and a bad one is refused."""

import json
import os
import re
import stat
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Sequential,
    io,
)
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


def test_a_models_name_is_saved_where_earlier_versions_had_none(model, tmp_path):
    path, model.name = tmp_path / "model.safetensors", "mine"
    model.save(path)
    assert Sequential.load(path).name == "mine"
    arrays, metadata = io.load_arrays(path)
    config = json.loads(metadata["model"])
    del config["name"]
    io.save_arrays(path, arrays, {**metadata, "model": json.dumps(config)})
    assert Sequential.load(path).name == "sequential"


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


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ({"__metadata__": np.ones(2)}, ValueError, "arrays: '__metadata__' cannot be"),
        ({3: np.ones(2)}, TypeError, "arrays: expected strings as names, got 3"),
        ({"a": np.ones(2), "b": np.ones(2, complex)}, TypeError, r"arrays\['b'\]: .*complex128"),
        ({"a": np.array(["text"])}, TypeError, r"arrays\['a'\]: .* got <U4"),
        ({"a": np.array([None])}, TypeError, r"arrays\['a'\]: .* got object"),
    ],
)
def test_what_no_file_can_hold_is_named_and_leaves_the_old_file(tmp_path, arrays, error, words):
    io.save_arrays(tmp_path / "a", {"x": np.ones(2)})
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(error, match=words):
        io.save_arrays(tmp_path / "a", arrays)
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize("kind", ["?", "i1", "u8", "f2", "f4", ">f8", "c8"])
def test_every_type_that_a_file_can_hold_comes_back(tmp_path, kind):
    array = np.array([[0, 1], [1, 0]], kind)
    io.save_arrays(tmp_path / "a", {"x": array})
    loaded = io.load_arrays(tmp_path / "a")[0]["x"]
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(loaded, array)


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_stays_one_and_leads_to_the_new_file(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "models" / "a")
    for number in range(2):  # there is no file at first
        io.save_arrays(tmp_path / "latest", {"x": np.full(2, number)})
        assert (tmp_path / "latest").is_symlink()
        assert io.load_arrays(tmp_path / "models" / "a")[0]["x"].tolist() == [number] * 2
        assert os.listdir(tmp_path / "models") == ["a"]


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


@pytest.mark.parametrize(("kind", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_a_type_that_numpy_does_not_have_is_named(tmp_path, kind, size):
    array = {"dtype": kind, "shape": [1], "data_offsets": [0, size]}
    header = json.dumps({"lstm.weight": array}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    words = f"'lstm.weight' is of type {kind}"
    if "ml_dtypes" in sys.modules:  # NumPy has bfloat16 from it
        words = f"({words}|not a model)"
    with pytest.raises(ValueError, match=rf"a\.safetensors: {words}"):
        Sequential.load(path)


def update(layer, sizes):
    layer["config"].update(sizes)


def huge_norm(config):
    config["layers"] = [{"class": "LayerNormalization", "config": {}}]
    config["input_shape"] = [None, 10**11]


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
        # Sizes that the arrays do not bear out take neither memory nor time.
        *(
            (lambda arrays, config, i=i, sizes=sizes: update(config["layers"][i], sizes), words)
            for i, sizes, words in (
                (0, {"input_dim": 10**12}, "embeddings_initializer"),
                (0, {"output_dim": 10**30}, "embeddings_initializer"),
                (1, {"units": 10**9}, "kernel_initializer"),
                (1, {"num_layers": 10**12}, "initializer"),
                (3, {"layer": {"class": "GRU", "config": {"units": 10**7}}}, "kernel_init"),
                (5, {"units": 10**10}, "kernel_initializer"),
            )
        ),
        (lambda arrays, config: huge_norm(config), "gamma"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda array: array[:1], r"of shape \(1, 5\)"),
        (lambda array: array.ravel(), r"of shape \(10,\)"),
        (lambda array: array.astype(np.float64), "float64 of shape"),
        (lambda array: array.astype(np.int32), "int32 of shape"),
    ],
)
def test_what_an_optimiser_remembers_is_like_its_parameter(tmp_path, change, words):
    path = tmp_path / "model.safetensors"
    model = Sequential([LSTM(5), Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 3, 4)), np.ones((2, 2)), verbose=0)
    model.save(path, include_optimizer=True)
    arrays, metadata = io.load_arrays(path)
    name = next(name for name in arrays if re.fullmatch(r"optimizer/\w+/dense\.weight", name))
    changed = change(arrays[name])
    io.save_arrays(path, {**arrays, name: changed}, metadata)
    with pytest.raises(
        ValueError, match=rf"model\.safetensors: .*{name}: expected float32 .*, got .*{words}"
    ):
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


@pytest.mark.parametrize(
    ("place", "words"),
    [("no/model", r"no/model: there is no folder .*no$"), ("", "expected a file's name")],
)
def test_a_place_that_cannot_be_written_to_is_named(model, tmp_path, place, words):
    with pytest.raises(OSError, match=words):
        model.save(tmp_path / place)


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


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"a": 3}, r"metadata\['a'\]: expected a string, got 3"),
        ({3: "a"}, r"metadata\[3\]: expected a string"),
        ("text", "metadata: expected a mapping of strings, got str"),
    ],
)
def test_metadata_are_strings(model, tmp_path, metadata, words):
    with pytest.raises(TypeError, match=words):
        model.save(tmp_path / "m", metadata)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("number", [0, 1, True])
def test_a_number_is_no_path_and_no_descriptor_is_closed(number):
    with pytest.raises(TypeError, match=f"^path: expected a str or os.PathLike, got {number}"):
        io.load_arrays(number)
    os.fstat(number)
