"""Nothing that reaches the compiled core, even past the Python checks, ends the process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastrnn import _core
from subprocesses import HANGS


def test_any_arguments_end_in_a_result_or_an_exception():
    fuzz = Path(__file__).with_name("fuzz_core.py")
    process = subprocess.run(
        [sys.executable, str(fuzz)], capture_output=True, text=True, timeout=HANGS
    )
    assert process.returncode == 0, process.stdout[-500:] + process.stderr[-3000:]
    assert "survived" in process.stdout


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
