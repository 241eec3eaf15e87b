"""The demo: a character model trained for a moment on a small text."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastrnn import Sequential, demo
from subprocesses import run_python

TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_demo_learns_and_leaves_model_curve_and_sample(cell, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    result = demo.run(TEXT, cell=cell, hidden_size=32, num_layers=2, seconds=2.0, out=tmp_path)
    # Guessing each of the 29 characters alike gives log(29) = 3.37.
    assert result.validation_loss < 3.2
    assert result.characters > len(TEXT)
    assert {path.name for path in tmp_path.iterdir()} == {
        "loss.csv",
        "loss.png",
        "model.safetensors",
    }
    with open(tmp_path / "loss.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {
        *("seconds", "characters", "train_loss", "validation_loss", "learning_rate")
    }
    best = min(float(row["validation_loss"]) for row in rows)
    assert best == result.validation_loss
    assert int(rows[-1]["characters"]) == result.characters
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(result.sample) == 401
    assert set(result.sample) <= set(TEXT)
    shown = capsys.readouterr().out
    assert result.sample in shown
    assert "nats" in shown
    assert str(tmp_path) in shown


def test_the_written_model_is_the_best_one_and_carries_its_vocabulary(tmp_path):
    result = demo.run(TEXT, hidden_size=16, seconds=0.5, out=tmp_path)
    model = Sequential.load(tmp_path / "model.safetensors")
    vocabulary = json.loads(model.metadata["vocabulary"])
    assert vocabulary == sorted(set(TEXT))
    ids = np.array([vocabulary.index(character) for character in TEXT])[-(len(TEXT) // 10) :]
    model.compile("sgd", "sparse_categorical_crossentropy")
    # The held-out 270 characters are too few for several parts: one row.
    loss = model.evaluate([(ids[None, :-1], ids[None, 1:])])
    assert loss == pytest.approx(result.validation_loss, rel=1e-5)


def test_the_time_is_kept(tmp_path):
    start = time.perf_counter()
    result = demo.run(TEXT, hidden_size=16, seconds=1.0, out=tmp_path)
    assert result.seconds < 3.0
    assert time.perf_counter() - start < 20


def test_without_matplotlib_there_is_a_line_that_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    demo.run(TEXT, hidden_size=8, seconds=0.2, out=tmp_path)
    assert (tmp_path / "loss.csv").exists()
    assert not (tmp_path / "loss.png").exists()
    assert "pip install 'fastrnn[plot]'" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "too short", "a" * 199])
def test_a_text_that_is_too_short_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=f"at least 200 characters, got {len(text)}"):
        demo.run(text, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, np.inf, np.nan])
def test_a_time_that_has_no_end_is_refused(seconds, tmp_path):
    with pytest.raises(ValueError, match=f"seconds: expected a finite number .* got {seconds}"):
        demo.run(TEXT, seconds=seconds, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["a" * 200, "ab\n" * 100, "日本語のテキスト。" * 30])
def test_a_small_text_will_do(text, tmp_path):
    result = demo.run(text, hidden_size=8, seconds=0.2, out=tmp_path)
    assert np.isfinite(result.validation_loss)
    assert set(result.sample) <= set(text)


def test_the_default_text_is_pythons_reference_in_a_fixed_order():
    text = demo.read_text(None)
    assert len(text) > 300_000
    assert "assert" in text
    assert text == demo.read_text(None)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        demo.read_text(tmp_path / "a")


def test_the_learning_rate_warms_up_and_decays_to_nothing():
    factors = [demo._schedule(done) for done in np.linspace(0, 1, 101)]
    peak = int(np.argmax(factors))
    assert factors[0] == 0
    assert factors[peak] == pytest.approx(1.0, abs=1e-3)
    assert 1 < peak < 10
    assert all(np.diff(factors[:peak]) > 0)
    assert all(np.diff(factors[peak + 1 :]) < 0)
    assert factors[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_demo_cleanly_with_the_best_model_written(tmp_path):
    code = "from fastrnn.cli import main; main()"
    (tmp_path / "text.txt").write_text(TEXT)
    command = [sys.executable, "-c", code, "demo", "--text", tmp_path / "text.txt"]
    command += ["--hidden", "16", "--seconds", "300", "--out", tmp_path / "out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert "held out" in process.stdout.readline()
            time.sleep(1.0)
            process.send_signal(signal.SIGINT)
            shown, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "held-out loss" in shown
    Sequential.load(tmp_path / "out" / "model.safetensors")


def test_on_a_terminal_the_demo_shows_a_bar(tmp_path):
    code = f"""
import sys
sys.stderr.isatty = lambda: True
from fastrnn import demo
demo.run({TEXT!r}, hidden_size=16, seconds=1.0, out=__import__("pathlib").Path({str(tmp_path)!r}))
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert "chars/s" in process.stderr
    assert "validation" in process.stderr
