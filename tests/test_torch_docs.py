"""docs/pytorch.md: its programs print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

PAGE = Path(__file__).parents[1] / "docs" / "pytorch.md"


def test_the_programs_of_the_page_print_what_it_says():
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    names, printed, shown = {}, "", 0
    for language, text in blocks:
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(text, names)
            printed = output.getvalue()
        elif not language:
            assert text == printed
            shown += 1
    assert shown == 2
