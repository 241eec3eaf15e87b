"""Model files: the same bits come back, a file is written whole, and a bad one is refused."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

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
    LayerNormalization,
    Sequential,
    TimeDistributed,
    io,
)
from fastrnn._registry import name_in_files
from fastrnn.callbacks import BackupAndRestore, ModelCheckpoint
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


def test_a_models_name_is_saved_where_earlier_versions_had_none(model, tmp_path):
    path, model.name = tmp_path / "model.safetensors", "mine"
    model.save(path)
    assert Sequential.load(path).name == "mine"
    arrays, metadata = io.load_arrays(path)
    config = json.loads(metadata["model"])
    del config["name"]
    io.save_arrays(path, arrays, {**metadata, "model": json.dumps(config)})
    assert Sequential.load(path).name == "sequential"


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
    del Layer.classes[name_in_files(Wide)], fastrnn.losses.Loss.classes[name_in_files(Steep)]


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
    del Layer.classes[name_in_files(kind)]


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
    bases = Layer, initializers.Initializer, losses.Loss, metrics.Metric, optimizers.Optimizer
    try:
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
    finally:
        for base in (*bases, schedules.LearningRateSchedule):
            for name in [name for name in base.classes if name.startswith("program.")]:
                del base.classes[name]


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


# ---- several at once, and none to the end --------------------------------------------------------

# Saves models of 4 MB whose numbers are all the same, each another than the one before.
SAVES = """
import sys
import numpy as np
from fastrnn import Dense, Sequential
model = Sequential([Dense(1000)])
model.build((None, 1000))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    model.set_weights([np.full(w.shape, number) for w in model.get_weights()])
    model.save(sys.argv[1])
    print(number, flush=True)
"""


def saving(path, first, last):
    arguments = [sys.executable, "-c", SAVES, str(path), str(first), str(last)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def assert_whole(path):
    """The file holds one of the models and not parts of two."""
    weights = Sequential.load(path).get_weights()
    assert len({number for weight in weights for number in np.unique(weight)}) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    path = tmp_path / "model"
    for moment in range(6):
        with saving(path, moment * 1000, moment * 1000 + 1000) as process:
            try:
                process.stdout.readline()
                time.sleep(0.003 * moment)
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        assert_whole(path)


def test_processes_that_save_to_one_place_leave_one_whole_file(tmp_path):
    path = tmp_path / "model"
    with saving(path, 0, 8) as one, saving(path, 100, 108) as other:
        while one.poll() is None or other.poll() is None:
            if path.exists():
                assert_whole(path)
    assert one.returncode == other.returncode == 0
    assert Sequential.load(path).get_weights()[0][0, 0] in (7, 107)
    assert os.listdir(tmp_path) == ["model"]


def test_threads_that_save_to_one_place_leave_one_whole_file(tmp_path):
    path = tmp_path / "arrays"
    arrays = [{"x": np.full(200_000, number)} for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: io.save_arrays(path, each), arrays * 4))
    assert len(np.unique(io.load_arrays(path)[0]["x"])) == 1
    assert os.listdir(tmp_path) == ["arrays"]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_where_the_disk_is_full_the_old_model_and_the_training_stay(tmp_path):
    """A limit on the size of files stands for the disk's: writing fails in the midst of a file."""
    code = f"""
        import os, resource
        import numpy as np
        import fastrnn
        from fastrnn.callbacks import BackupAndRestore, LambdaCallback

        os.chdir({str(tmp_path)!r})
        fastrnn.set_seed(0)
        model = fastrnn.Sequential([fastrnn.Input((64,)), fastrnn.Dense(1)])
        model.compile("adam", "mse")
        x, y = np.ones((8, 64)), np.ones(8)
        model.save("model")

        def fill(epoch, logs):
            if epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))

        full = LambdaCallback(on_epoch_begin=fill)
        try:
            model.fit(x, y, epochs=3, verbose=0, callbacks=[full, BackupAndRestore("backup")])
        except OSError as error:
            print(type(error).__name__, len(model.history.epoch))
        try:
            model.save("model")
        except OSError as error:
            print(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        fastrnn.Sequential.load("model")
        again = fastrnn.Sequential([fastrnn.Input((64,)), fastrnn.Dense(1)])
        again.compile("adam", "mse")
        history = again.fit(x, y, epochs=3, verbose=0, callbacks=[BackupAndRestore("backup")])
        print(history.epoch, sorted(os.listdir()))
    """
    assert output_of(code).splitlines() == ["OSError 2", "OSError", "[0, 1, 2] ['model']"]


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


def test_a_loss_class_that_is_not_there_is_named(tmp_path):
    model, _, _ = trained()

    class Own(fastrnn.losses.MeanSquaredError):
        pass

    model.compile("sgd", Own())
    model.save(tmp_path / "m", include_optimizer=True)
    assert isinstance(Sequential.load(tmp_path / "m").loss, Own)
    del fastrnn.losses.Loss.classes[name_in_files(Own)]
    with pytest.raises(ValueError, match=r"loss class .*Own. is not known"):
        Sequential.load(tmp_path / "m")
