"""Nothing that reaches the compiled core, even past the Python checks, ends the process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastrnn import _core
from subprocesses import HANGS, output_of


def test_any_arguments_end_in_a_result_or_an_exception():
    fuzz = Path(__file__).with_name("fuzz_core.py")
    process = subprocess.run(
        [sys.executable, str(fuzz)], capture_output=True, text=True, timeout=HANGS
    )
    assert process.returncode == 0, process.stdout[-500:] + process.stderr[-3000:]
    assert "survived" in process.stdout


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_a_linear_map_without_rows_or_columns_is_refused(shape):
    rows, columns = shape
    x, weight, out = ones(5, columns), ones(*shape), ones(5, rows)
    with pytest.raises(ValueError, match="weight: expected one row and one column or more, got"):
        _core.linear_forward(x, weight, None, out)
    with pytest.raises(ValueError, match="weight: expected one row and one column or more, got"):
        _core.linear_backward(x, weight, out, x, weight, None)


class Copies:
    """A sequence whose items nobody keeps."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i].copy()


def test_arrays_that_only_a_sequence_made_live_through_the_call():
    plan = _core.Plan("rnn_tanh", False, 2, 3, 40, 50, 1, 1, None, 0.0, 0, False)
    weights = [ones(50, 40), ones(50, 50), ones(50), ones(50)]
    outputs = []
    for given in (weights, Copies(weights)):
        output, hn = ones(2, 3, 50), ones(1, 3, 50)
        _core.recurrent_forward(plan, ones(2, 3, 40), given, None, None, output, hn, None, None)
        outputs.append(output)
    np.testing.assert_array_equal(*outputs)
    assert _core.global_norm(Copies([ones(300, 300)])) == pytest.approx(300)


class NewEachTime(tuple):
    """A pair whose items are new whenever Python asks for them."""

    def __getitem__(self, i):
        return super().__getitem__(i).copy()


def test_the_rows_of_a_tuples_subclass_live_through_the_call():
    params = [ones(400, 3000)]
    rows = NewEachTime((np.arange(400), ones(400, 3000)))
    _core.sgd(params, [rows], [], 1.0, 0.0, False, 0.0, 1.0, "none", 0.0)
    assert not params[0].any()


INDEXED = {
    "embedding_forward": lambda ids: _core.embedding_forward(ids, ones(9, 64), ones(ids.size, 64)),
    "embedding_backward": lambda ids: _core.embedding_backward(
        ids, ones(ids.size, 64), ones(9, 64)
    ),
    "cross_entropy": lambda ids: _core.cross_entropy(
        ones(ids.size, 9), ids, None, 1.0, ones(ids.size), ones(ids.size, 9)
    ),
}


@pytest.mark.parametrize("name", INDEXED)
def test_indices_that_another_thread_writes_to_meanwhile_do_no_harm(name):
    code = f"""
import sys, threading, numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_core_survives import INDEXED
ids = np.zeros(200_000, np.int64)
stop = threading.Event()
def write():
    while not stop.is_set():
        ids.fill(10**9)
        ids.fill(0)
writer = threading.Thread(target=write)
writer.start()
for _ in range(20):
    try:
        INDEXED["{name}"](ids)
    except IndexError:
        pass
stop.set()
writer.join()
print("survived")
"""
    assert output_of(code) == "survived"


def frozen(*shape):
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.activation("tanh", ones(3), frozen(3)),
        lambda: _core.linear_forward(ones(3, 2), ones(4, 2), None, frozen(3, 4)),
        lambda: _core.linear_backward(ones(3, 2), ones(4, 2), ones(3, 4), None, frozen(4, 2), None),
        lambda: _core.embedding_forward(np.zeros(3, np.int64), ones(2, 2), frozen(3, 2)),
        lambda: _core.dropout(ones(1, 2, 3), frozen(1, 2, 3), 0.5, 0, 0, 0),
        lambda: _core.sgd([frozen(3)], [ones(3)], [], 0.1, 0.0, False, 0.0, 1.0, "none", 0.0),
        lambda: _core.softmax_cross_entropy(
            ones(1, 2), np.zeros(1, np.int64), None, 1.0, ones(1), frozen(1, 2)
        ),
    ],
)
def test_a_read_only_output_is_refused(call):
    with pytest.raises((TypeError, ValueError)):
        call()
