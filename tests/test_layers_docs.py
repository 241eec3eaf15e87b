"""The examples of docs/layers.md run, and its custom layer has the right gradient."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastrnn

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"


@pytest.fixture(scope="module")
def examples():
    """What the page's code blocks define, run one after another."""
    fastrnn.set_seed(0)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_pages_own_layer_is_trained_with_the_model(examples):
    parameters = examples["model"].parameters
    assert parameters["scale.scale"].shape == (16,)
    assert (parameters["scale.scale"] != 0.5).all()


def test_its_gradient_agrees_with_finite_differences(examples):
    layer = examples["Scale"](0.5, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    dy = np.random.default_rng(1).normal(size=(2, 3, 4))
    layer(x, training=True)
    dx = layer.backward(dy)
    scale = layer.parameters["scale"]
    for array, gradient in ((scale, layer.gradients["scale"]), (x, dx)):
        for place in np.ndindex(array.shape):
            kept, around = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                around.append((layer(x) * dy).sum())
            array[place] = kept
            # linear in each of them: only the roundoff of sums of order 10, over the step
            assert gradient[place] == pytest.approx((around[0] - around[1]) / 2e-6, abs=1e-8)


def test_a_model_with_it_is_saved_and_loaded(examples, tmp_path):
    model = examples["model"]
    model.save(tmp_path / "model.safetensors")
    again = fastrnn.Sequential.load(tmp_path / "model.safetensors")
    assert again(examples["left"]).tobytes() == model(examples["left"]).tobytes()


def test_the_page_names_every_layer_and_activation():
    text = PAGE.read_text()
    for name in {*fastrnn.layers.__all__, *fastrnn.ops.ACTIVATIONS} - {"Layer"}:
        assert re.search(rf"\b{name}\b", text), name
