"""docs/tutorial.md and its Chinese edition: what they show runs, and is the library's own."""

import ast
import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EDITIONS = ["tutorial.md", "tutorial.zh.md"]
PAGES = {edition: (DOCS / edition).read_text(encoding="utf-8") for edition in EDITIONS}

RNG = np.random.default_rng(0)
WORDS = {
    "pos": ["wonderful", "film", "see", "again", "fine"],
    "neg": ["dull", "film", "money", "back", "want"],
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def displayed(page):
    return re.findall(r"^\$\$\n(.*?)^\$\$$", page, re.M | re.S)


def prose(page):
    return re.sub(r"^(```.*?^```|\$\$.*?^\$\$)$|`[^`]*`", "", page, flags=re.M | re.S)


@pytest.fixture(scope="module", params=EDITIONS)
def names(request, tmp_path_factory):
    """What an edition's pieces of Python define, run one after another beside made reviews."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tutorial")
    for part in ("train", "test"):
        for label, words in WORDS.items():
            (folder / "aclImdb" / part / label).mkdir(parents=True)
            for number in range(20):
                text = " ".join(RNG.choice(words, RNG.integers(3, 80)))
                (folder / "aclImdb" / part / label / f"{number}_1.txt").write_text(text)
    defined = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks(PAGES[request.param], "python"):
            exec(compile(block, request.param, "exec"), defined)
    return defined


def test_the_python_of_the_page_runs_and_its_models_learn(names):
    assert names["dweights"]["weight_hh_l0"].shape == (16, 4)
    assert names["baseline"] == 1  # the made reviews' words tell
    assert len(names["history"].epoch) > 0
    assert names["p"].shape == (2, 1)
    assert names["reader"].history.complete
    assert names["stream"].step(np.zeros((1, 3), np.float32)).shape == (1, 4)


def test_the_cache_is_as_large_as_the_page_says(names):
    # A block that an earlier call left is used again where it is up to twice as large.
    kept = 5 * names["H"] * 4
    assert kept <= names["per_token"] <= 2 * 1.01 * kept


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_the_cpp_of_the_page_stands_in_the_file_that_it_names(page):
    parts = re.split(r"^```cpp\n(.*?)^```$", page, flags=re.M | re.S)
    told, shown = parts[0::2], parts[1::2]
    path = None
    for text, code in zip(told, shown, strict=False):
        path = (re.findall(r"\]\(\.\./(cpp/[^)]+)\)", text) or [path])[-1]
        source = [line.strip() for line in (ROOT / path).read_text().splitlines()]
        lines = [line.strip() for line in code.splitlines()]
        places = range(len(source) - len(lines) + 1)
        assert any(source[k : k + len(lines)] == lines for k in places), f"not in {path}:\n{code}"
    assert len(shown) == 6


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_what_the_page_links_to_is_there(page):
    for link in re.findall(r"\]\(([^)]+)\)", page):
        if not link.startswith("http"):
            assert (DOCS / link.partition("#")[0]).exists(), link


def test_both_editions_show_the_same_equations_code_and_pictures():
    def shown(page):
        equations = [re.sub(r"\\text\{.*?\}", "", e) for e in displayed(page)]
        python = [ast.dump(ast.parse(code)) for code in blocks(page, "python")]  # no comments
        pictures = re.findall(r"\]\((img/[^)]+)\)", page)
        return equations, python, blocks(page, "cpp"), pictures

    english, chinese = map(shown, PAGES.values())
    assert all(english)
    assert english == chinese


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_equations_have_nothing_that_github_takes_for_markdown(page):
    """Markdown unescapes a backslash before punctuation, and takes * for emphasis; a formula within
    a line ends before white space or ASCII punctuation."""
    assert page.count("$$") == 2 * len(displayed(page))
    text = prose(page)
    inline = re.findall(r"(.?)\$([^$]+)\$(.?)", text)
    assert text.count("$") == 2 * len(inline)
    for before, equation, after in inline:
        assert "\n" not in equation
        assert before in " (", equation
        assert after in " .,:;)", equation
    for equation in [*displayed(page), *(equation for _, equation, _ in inline)]:
        assert not re.search(r"\\[^a-zA-Z]|\*|[^\w}]_", equation), equation


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_emphasis_ends_where_markdown_sees_the_end(page):
    """Asterisks after punctuation close only before white space or other punctuation."""
    for strong, after in re.findall(r"\*\*([^*]+)\*\*(\w?)", prose(page)):
        assert not (after and unicodedata.category(strong[-1]).startswith("P")), strong


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_how_gradients_fade_is_what_was_measured(page):
    gradients = json.loads((DOCS / "img" / "tutorial_gradients.json").read_text())["gradients"]

    def per_word(name):  # once the fall at the first word is over
        rows = gradients[name]["before"]
        return f"{(rows[50]['median'] / rows[20]['median']) ** (1 / 30):.2f}"

    section = page[page.index("tutorial_gradients.png") :].partition("## 7")[0]
    for name in ("lstm", "lstm, forget bias 0", "gru"):
        assert per_word(name) in section, name


@pytest.mark.parametrize("page", PAGES.values(), ids=EDITIONS)
def test_the_table_of_accuracies_is_what_was_measured(page):
    curves = json.loads((DOCS / "img" / "tutorial_curves.json").read_text())["curves"]
    rows = re.findall(r"^\| (LSTM|GRU|RNN) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.M)
    assert len(rows) == 3
    for cell, *shown in rows:
        curve = curves[cell.lower()]
        measured = curve[1]["val_accuracy"], curve[-1]["val_accuracy"], curve[-1]["accuracy"]
        assert shown == [f"{value:.3f}" for value in measured]


def test_the_pages_initializer_is_the_chrono_papers(names):
    layer = names["LSTM"](50, unit_forget_bias=False, bias_initializer=names["chrono"](400))
    layer.ensure_built((None, None, 3))
    i, f, g, o = layer.parameters["bias_ih_l0"].reshape(4, 50)
    assert np.array_equal(i, -f)
    assert 0 <= f.min() < f.max() <= np.log(399)
    assert not g.any()
    assert not o.any()
