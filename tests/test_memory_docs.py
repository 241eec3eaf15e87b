"""The examples of docs/memory.md run, one after another, and say what they say."""

import re
from pathlib import Path

import pytest

import fastrnn

PAGE = Path(__file__).parents[1] / "docs" / "memory.md"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """What the page's code blocks define and print."""
    fastrnn.set_seed(0)
    names = {"printed": []}
    names["print"] = lambda *values: names["printed"].append(" ".join(map(str, values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_says_what_is_printed(examples):
    comments = re.findall(r"print\(.*\)  # (.*)", PAGE.read_text())
    assert len(comments) == len(examples["printed"]) == 3
    assert re.fullmatch(re.escape(comments[0]).replace(r"\.\.\.", r"\d+"), examples["printed"][0])
    mode, nbytes = examples["printed"][1].split()
    assert mode == "gates"
    assert int(nbytes) == pytest.approx(int(comments[1].split()[1]), rel=0.01)  # pads of the ISA
    assert examples["printed"][2] in ("gates", "checkpoint")


def test_the_pages_segments_see_all_outputs(examples):
    expected = float((examples["output"].astype(float) ** 2).sum()) / 2
    # sums of 1.3 million float32 squares in pieces
    assert examples["total"] == pytest.approx(expected, rel=1e-4)
