"""An allocation that fails, in whichever thread, ends the call and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from subprocesses import HANGS, output_of

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if sys.platform != "linux" or not compiler or "LD_PRELOAD" in os.environ:
        pytest.skip("needs Linux, a compiler, and nothing preloaded")
    library = tmp_path_factory.mktemp("preload") / "failing_memory.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, TESTS / "failing_memory.cpp"]
    subprocess.run(command, check=True)
    code = "import ctypes; print(hasattr(ctypes.CDLL(None), 'fail_new_in'))"
    if output_of(code, LD_PRELOAD=str(library)) != "True":
        pytest.skip("the compiler's code is not for this processor")
    return str(library)


def test_every_allocation_of_the_core_may_fail(preload):
    process = subprocess.run(
        [sys.executable, TESTS / "starve_core.py"],
        env={**os.environ, "LD_PRELOAD": preload}, capture_output=True, text=True, timeout=HANGS,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-500:] + process.stderr[-3000:]
    assert "survived" in process.stdout
