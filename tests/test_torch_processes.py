"""Threads, workers and several processes."""

import csv
import gzip
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from subprocesses import output_of  # noqa: E402
from torch_cases import assert_agree  # noqa: E402
from torch_distributed import gradients, make_model  # noqa: E402

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "pytorch.md"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch is built without torch.distributed"
)


def python(*arguments):
    """What a new interpreter with these arguments prints; it must end well."""
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@needs_distributed
def test_two_processes_give_the_gradients_of_one(tmp_path):
    file = tmp_path / "gradients.pt"
    python(*TORCHRUN, TESTS / "torch_distributed.py", file)
    two, one = torch.load(file), gradients(make_model())
    assert two.keys() == one.keys()
    assert_agree(list(two.values()), list(one.values()), times=5)


def commands_of_the_page():
    """docs/pytorch.md's commands that train the example, for two processes of this machine."""
    (block,) = (
        block
        for block in re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
        if "sentiment" in block
    )
    for command in block.replace("\\\n", "").splitlines():
        program, *arguments = shlex.split(command.replace("HOST:29400", "localhost:0"))
        for option, here in (("--nnodes", "1"), ("--nproc-per-node", "2")):
            if option in arguments:
                arguments[arguments.index(option) + 1] = here
        if program == "torchrun" and "--rdzv-backend" not in arguments:
            arguments.insert(0, "--standalone")  # at a free port, not always the same
        yield {"python": [], "torchrun": ["-m", "torch.distributed.run"]}[program] + arguments


def test_the_page_shows_one_process_several_and_several_machines():
    assert [len(command) for command in commands_of_the_page()] == [4, 9, 14]


@needs_distributed
@pytest.mark.parametrize("number", range(3))
def test_the_sentiment_example_learns_however_it_is_started(tmp_path, number):
    *launch, train, test = list(commands_of_the_page())[number]
    assert (train, test) == ("train.csv", "test.csv")
    generator = random.Random(0)
    files = []
    for name, reviews in (("train.csv", 400), ("test.csv.gz", 50)):
        files.append(tmp_path / name)
        opener = gzip.open if name.endswith(".gz") else open
        with opener(files[-1], "wt", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "text"])
            for i in range(reviews):
                words = generator.choices(["the", "film", "is"], k=generator.randrange(1, 9))
                words.insert(generator.randrange(len(words)), ["bad", "good"][i % 2])
                writer.writerow([i % 2, " ".join(words)])
    printed = python(*launch, *files, "--epochs", 6).splitlines()
    lines = [line for line in printed if line.startswith(("swapped", "epoch"))]  # Gloo prints too
    assert [line.split(":")[0] for line in lines[1:]] == [f"epoch {i}" for i in range(1, 7)]
    assert lines[0] == "swapped  lstm  LSTM(100, 100, bidirectional=True)"
    assert "test accuracy 1.0000" in lines[-1]


GOOD = "text,label\na good film,1\na bad film,0\n"


@needs_distributed
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"review,label\nfine,1\n", r"expected columns text and label, got \['review', "),
        ("a.csv", b"", r"expected columns text and label, got \[\]"),
        ("a.csv", b"text,label\nfine,1\nbad,maybe\n", "line 3: expected a label .* got 'maybe'"),
        ("a.csv", b"text,label\nfine,nan\n", "line 2: expected a label of 0 or 1, got 'nan'"),
        ("a.csv", b"text,label\nfine,2\n", "line 2: expected a label of 0 or 1, got '2'"),
        ("a.csv", b"text,label\nfine\n", "line 2: expected a label of 0 or 1, got None"),
        ("a.csv", b"text,label\n", "expected at least one review that has words, got none"),
        ("a.csv", b"text,label\n...,1\n", "expected at least one review that has words"),
        ("a.csv", b"text,label\n\xff,1\n", "'utf-8' codec"),
        ("a.csv.gz", GOOD.encode(), "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:-9], "ended before"),
        ("a.csv.xz", GOOD.encode(), "format not supported"),
    ],
)
@pytest.mark.parametrize("bad", ["train", "test"])
def test_a_file_without_reviews_is_named_in_one_line(tmp_path, name, content, words, bad):
    good, wrong = tmp_path / "good.csv", tmp_path / name
    good.write_text(GOOD)
    wrong.write_bytes(content)
    result = sentiment(*((wrong, good) if bad == "train" else (good, wrong)))
    assert result.exit_code == 1
    *_, line = result.output.splitlines()
    assert re.match(rf"Error: {re.escape(str(wrong))}: .*{words}", line)


@needs_distributed
@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--words", "--maxlen"])
def test_an_option_of_the_example_is_at_least_1(tmp_path, option):
    (tmp_path / "good.csv").write_text(GOOD)
    result = sentiment(tmp_path / "good.csv", tmp_path / "good.csv", option, 0)
    assert result.exit_code == 2
    assert f"'{option}': 0 is not in the range x>=1" in result.output


def sentiment(*arguments):
    """Call the example's command in this process."""
    from click.testing import CliRunner

    from fastrnn.torch.sentiment import main

    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_give_the_same_bits_on_one_thread(method):
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import torch_loader as t"
    code += f"; t.main({method!r}) if __name__ == '__main__' else None"
    assert output_of(code, timeout=300) == "True {1} 2"


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_backward_pass_can_be_interrupted_and_called_again():
    code = """
        import gc, os, signal, threading, torch, fastrnn.torch
        from fastrnn.torch import _kept
        torch.manual_seed(0)
        layer = fastrnn.torch.LSTM(128, 256)
        x = torch.randn(1500, 64, 128)  # a backward pass of some seconds
        output = layer(x)[0]
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            output.sum().backward()
        except KeyboardInterrupt:
            print("interrupted", layer.weight_hh_l0.grad)
        del output
        gc.collect()
        print(len(_kept._alive))
        layer(x[:5])[0].sum().backward()
        print(layer.weight_hh_l0.grad.isfinite().all().item())
    """
    assert output_of(code, timeout=300).splitlines() == ["interrupted None", "0", "True"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_trains_the_shared_parameters(method):
    if method == "fork" and torch.cuda.is_available():
        pytest.skip("torch's threads for the GPU's gradients do not outlive a fork, nor torch.nn's")
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import torch_loader as t"
    code += f"; t.share({method!r}) if __name__ == '__main__' else None"
    assert output_of(code, timeout=300) == "0 True"


@pytest.mark.parametrize("first", ["fastrnn.torch", "torch", "fastrnn"])
def test_a_forked_child_computes(first):
    code = f"""
        import {first}, os, torch, fastrnn.torch
        torch.set_num_threads(2)
        layer = fastrnn.torch.GRU(64, 64)
        x = torch.ones(20, 32, 64)
        expected = layer(x)[0].detach()
        a = torch.ones(500, 500)
        a @ a
        child = os.fork()
        if child == 0:
            a @ a
            os._exit(0 if torch.equal(layer(x)[0], expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
        a @ a
        print(torch.equal(layer(x)[0], expected))
    """
    assert output_of(code, timeout=300) == "True"


FOLLOWING = """
    import torch, fastrnn.torch
    layer, x, seen = fastrnn.torch.LSTM(4, 4), torch.ones(3, 2, 4, requires_grad=True), []
    for n in (1, 3, 2):
        torch.set_num_threads(n)
        layer(x)[0].sum().backward()
        seen.append(fastrnn.get_num_threads())
    print(seen, torch.get_num_threads())
"""


def test_the_number_of_threads_follows_torchs():
    assert output_of(FOLLOWING, timeout=300, FASTRNN_NUM_THREADS=None) == "[1, 3, 2] 2"


def test_a_number_of_threads_for_fastrnn_alone_stays():
    assert output_of(FOLLOWING, timeout=300, FASTRNN_NUM_THREADS="5") == "[5, 5, 5] 2"
    told = FOLLOWING.replace("for n in", "fastrnn.set_num_threads(4)\n    for n in")
    assert output_of(told, timeout=300, FASTRNN_NUM_THREADS=None) == "[4, 4, 4] 2"


def test_info_says_whose_number_of_threads_it_is():
    code = f"{FOLLOWING}    print(fastrnn.runtime.info(0.001).threads_reason)"
    assert output_of(code, timeout=300, FASTRNN_NUM_THREADS=None).endswith(
        "torch.get_num_threads()"
    )


def test_torchs_handling_of_denormal_numbers_is_left_alone():
    code = """
        import torch, fastrnn.torch
        fastrnn.torch.LSTM(64, 64)(torch.ones(20, 32, 64))[0].sum().backward()
        print((torch.full((100_000,), 1e-40) * 2 > 0).all().item())
    """
    assert output_of(code, timeout=300) == "True"
