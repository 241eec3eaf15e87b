"""Saving that is killed, finds the disk full, or goes to one place twice: a file stays whole."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastrnn import Sequential, io
from subprocesses import output_of

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
