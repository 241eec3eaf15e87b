"""Threads, workers and several processes."""

import csv
import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from subprocesses import output_of  # noqa: E402
from torch_cases import assert_agree  # noqa: E402
from torch_distributed import gradients, make_model  # noqa: E402

TESTS = Path(__file__).parent
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


@needs_distributed
@pytest.mark.parametrize("launch", [[], TORCHRUN], ids=["one process", "torchrun"])
def test_the_sentiment_example_learns_in_one_process_and_in_two(tmp_path, launch):
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
    printed = python(*launch, "-m", "fastrnn.torch.sentiment", *files, "--epochs", 6)
    lines = printed.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [f"epoch {i}" for i in range(1, 7)]
    assert lines[0] == "swapped  lstm  LSTM(100, 100, bidirectional=True)"
    assert "test accuracy 1.0000" in lines[-1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_give_the_same_bits_on_one_thread(method):
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import torch_loader as t"
    code += f"; t.main({method!r}) if __name__ == '__main__' else None"
    assert output_of(code, timeout=300) == "True {1} 2"


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
