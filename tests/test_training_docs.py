"""The examples of docs/training.md run, one after another, and it names all there is."""

import re
from pathlib import Path

import pytest

import fastrnn
from fastrnn import callbacks, losses, metrics, optimizers
from fastrnn.cli import EXAMPLES

PAGE = Path(__file__).parents[1] / "docs" / "training.md"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """What the page's code blocks define."""
    pytest.importorskip("tokenizers")
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_pages_models_are_trained(examples):
    assert examples["history"].epoch == [0, 1, 2]
    assert examples["p"].shape == (300, 1)
    assert examples["padded"].tolist()[1] == [0, 3, 1, 3, 2]
    assert isinstance(examples["model"].optimizer, examples["SignDescent"])
    assert examples["language_model"].history.complete


def test_the_page_names_all_there_is():
    text = PAGE.read_text()
    names = {
        *(set(callbacks.__all__) - {"Callback", "History", "Logs", "tell"}),
        *set(losses._NAMES),
        *(set(metrics._NAMES) - {"acc", "mean_absolute_error", "mean_squared_error"}),
        *(kind.__name__ for kind in optimizers._NAMES.values()),
        *(f"fastrnn {name}" for name in EXAMPLES),
    }
    assert not [name for name in names if name not in text]
    schedules = fastrnn.optimizers.schedules.LearningRateSchedule.classes
    assert not [name for name in schedules if name.endswith("Decay") and name not in text]
