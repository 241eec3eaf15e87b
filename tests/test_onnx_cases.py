"""The ONNX backend node tests (onnx 1.23, Apache-2.0), where their files are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from cases import forward

FOLDER = Path(__file__).parents[1].parent / "shared" / "checks" / "onnx_node_cases"
CELL = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}


def cases():
    if not FOLDER.is_dir():
        return []
    # the others have peepholes or reset before, which PyTorch's layout does not know
    return [
        c
        for c in json.loads((FOLDER / "cases.json").read_text())
        if c["torch_layout"]["compatible"]
    ]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the ONNX node cases are not beside the project")
def test_all_sixteen_cases_are_there():
    assert len(cases()) == 16


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_an_onnx_node_case_holds(case, isa):
    arrays = dict(np.load(FOLDER / f"{case['name']}.npz"))
    direction = case["torch_layout"]["direction"]
    weights = {name: a for name, a in arrays.items() if name.startswith(("weight", "bias"))}
    x = arrays["x"][::-1] if direction == "reverse" else arrays["x"]
    result = forward(CELL[case["op"]], x, weights, bidirectional=direction == "bidirectional")
    output = result.output[::-1] if direction == "reverse" else result.output
    actual = {"expected_output": output, "expected_h_n": result.h, "expected_c_n": result.c}
    expected = {name: a for name, a in arrays.items() if name.startswith("expected")}
    assert expected
    for name, array in expected.items():  # the tolerances that ONNX itself sets
        np.testing.assert_allclose(actual[name], array, rtol=case["rtol"], atol=case["atol"])
