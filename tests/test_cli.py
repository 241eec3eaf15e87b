"""The ``fastrnn`` command."""

import re
import sys

import pytest
from click.testing import CliRunner

import fastrnn
from fastrnn import runtime
from fastrnn.cli import main
from subprocesses import output_of, run_python

TEXT = "to be, or not to be, that is the question. " * 40


@pytest.fixture
def run():
    before = runtime.get_num_threads()
    yield lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])
    runtime.set_num_threads(before)


def test_info_tells_version_isa_threads_and_peak(run):
    result = run("info")
    assert result.exit_code == 0, result.output
    for words in (
        fastrnn.__version__,
        runtime.get_isa(),
        ", ".join(runtime.available_isas()),
        "GF/s float32",
    ):
        assert words in result.output


def test_info_says_why_there_are_that_many_threads():
    code = "from fastrnn.cli import main; main(['info'])"
    assert "FASTRNN_NUM_THREADS" in output_of(code, FASTRNN_NUM_THREADS="3")
    assert "OMP_NUM_THREADS=1" in output_of(code, FASTRNN_NUM_THREADS=None, OMP_NUM_THREADS="1")
    assert "processors allowed" in output_of(code, FASTRNN_NUM_THREADS=None)


def test_the_package_runs_as_a_module():
    code = """
import runpy, sys
sys.argv = ["fastrnn", "--help"]
runpy.run_module("fastrnn", run_name="__main__")
"""
    shown = output_of(code)
    assert "demo" in shown
    assert "info" in shown
    assert "python -m fastrnn" in shown


def test_the_version_is_the_cores(run):
    assert fastrnn.__version__ in run("--version").output


def test_demo_takes_a_text_and_a_number_of_threads(run, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    result = run(
        *("demo", "--text", tmp_path / "text.txt", "--cell", "gru", "--hidden", 8, "--layers", 2),
        *("--seconds", 0.3, "--seed", 1, "--threads", 1, "--out", tmp_path / "a" / "b"),
    )
    assert result.exit_code == 0, result.output
    assert runtime.get_num_threads() == 1
    assert "gru of 2 x 8" in result.output
    assert (tmp_path / "a" / "b" / "loss.csv").exists()


def test_without_out_demo_makes_a_new_folder_and_prints_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "text.txt").write_text(TEXT)
    result = run("demo", "--text", tmp_path / "text.txt", "--hidden", 8, "--seconds", 0.3)
    (folder,) = tmp_path.glob("fastrnn-demo-*")
    assert str(folder / "model.safetensors") in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cell", "transformer"], "transformer"),
        (["--hidden", "0"], "--hidden"),
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "inf"], "'--seconds': expected a finite number, got inf"),
        (["--seconds", "nan"], "'--seconds': expected a finite number, got nan"),
        (["--seed", "-1"], "--seed"),
        (["--threads", "0"], "--threads"),
        (["--text", "missing.txt"], "missing.txt"),
    ],
)
def test_a_wrong_option_is_named(run, arguments, words):
    result = run("demo", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_an_error_is_one_line_and_no_traceback(run, tmp_path):
    (tmp_path / "text.txt").write_text("too short")
    result = run("demo", "--text", tmp_path / "text.txt")
    assert result.exit_code == 1
    assert result.output == "Error: text: expected at least 200 characters, got 9\n"


@pytest.mark.parametrize("command", ["demo", "adding"])
def test_a_size_without_memory_is_one_line_and_no_traceback(run, tmp_path, command):
    result = run(command, "--hidden", 10**13, "--out", tmp_path)  # beyond what has an address
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    *_, line = result.output.splitlines()
    assert re.match("Error: Unable to allocate .* for an array", line)


def test_a_missing_core_is_an_error_that_says_how_to_build_it():
    code = """
import re
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "fastrnn._core":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import fastrnn
"""
    process = run_python(code)
    assert process.returncode == 1
    assert "did you forget to build it? Run `pip install .`" in process.stderr


def test_importing_leaves_the_environment_as_it_was():
    code = """
import os
before = dict(os.environ)
import fastrnn
assert dict(os.environ) == before
"""
    output_of(code)
    output_of(code, GOMP_SPINCOUNT="7")
    output_of(code, OMP_WAIT_POLICY="passive")


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_importing_costs_less_than_150_milliseconds_beyond_numpy():
    code = """
import resource
import numpy
used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_utime
before = used()
import fastrnn
print(used() - before)
"""
    # The processor time of the best of three: the machine may be busy.
    assert min(float(output_of(code)) for _ in range(3)) < 0.15


def test_importing_leaves_heavy_packages_for_when_they_are_used():
    shown = output_of("import sys, fastrnn; print(*sys.modules)").split()
    assert not {"click", "tqdm", "safetensors", "matplotlib", "fastrnn.demo"} & set(shown)
