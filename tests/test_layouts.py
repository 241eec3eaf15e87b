"""Strides, layouts and batch axes change how an array lies in memory, never a bit of the result."""

import numpy as np
import pytest

from cases import (
    CELLS,
    Case,
    assert_same_bits,
    backward,
    forward,
    named_arrays,
    problem_of,
    run_backward,
    run_forward,
    stacked,
)


def strided_forms(array):
    """The same values with other strides of the outer axes; the last axis stays contiguous."""
    T, B, _ = array.shape
    every_second = np.full((T, 2 * B, *array.shape[2:]), np.nan, array.dtype)[:, ::2]
    every_second[...] = array
    inside = np.full(tuple(n + 5 for n in array.shape), np.nan, array.dtype)[2:-3, 1:-4, 3:-2]
    inside[...] = array
    records = np.zeros(array.shape[:2], [("tag", "u1"), ("values", array.dtype, array.shape[2])])
    records["values"] = array
    shifted = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    return {
        "every second row": every_second,
        "transposed outer axes": array.swapaxes(0, 1).copy().swapaxes(0, 1),
        "reversed time": array[::-1].copy()[::-1],
        "part of a larger array": inside,
        "field of packed records": records["values"],
        "not aligned": shifted,
    }


FORMS = list(strided_forms(np.zeros((2, 2, 2))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", CELLS)
def test_strides_do_not_change_a_bit(cell, form, dtype, isa):
    case = stacked(cell, dtype=dtype)
    p = problem_of(case)
    dense, strided = run_forward(case), run_forward(case, x=strided_forms(p.x)[form])
    assert_same_bits(strided, dense)
    doutput = strided_forms(p.doutput)[form]
    dcells = None if p.dcells is None else strided_forms(p.dcells)[form]
    gradients = backward(cell, strided.cache, doutput, p.dh, p.dc, dcells)
    assert_same_bits(gradients, run_backward(case, dense.cache))


@pytest.mark.parametrize("cell", CELLS)
def test_one_row_may_stand_for_the_whole_batch(cell):
    case = stacked(cell)
    same = np.broadcast_to(problem_of(case).x[:, :1], (case.T, case.B, case.I))
    assert_same_bits(run_forward(case, x=same), run_forward(case, x=same.copy()))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_without_a_batch_axis_is_a_batch_of_one(cell, states, batch_first):
    case = Case(cell, B=1, layers=2, bidirectional=True, states=states)
    p = problem_of(case)
    flat = {
        name: None if a is None else a[:, 0]
        for name, a in vars(p).items()
        if name not in ("weights", "lengths")
    }
    extra = {"return_cells": True} if cell == "lstm" else {}
    result = forward(
        cell,
        flat["x"],
        p.weights,
        flat["h0"],
        flat["c0"],
        batch_first=batch_first,
        **case.options,
        **extra,
    )
    batched = run_forward(case)
    for name, array in named_arrays(result).items():
        assert np.array_equal(array, named_arrays(batched)[name][:, 0]), name
    incoming = (flat[name] for name in ("doutput", "dh", "dc", "dcells"))
    gradients, batched = backward(cell, result.cache, *incoming), run_backward(case, batched.cache)
    for name, array in named_arrays(gradients).items():
        expected = named_arrays(batched)[name]
        assert np.array_equal(array, expected if name in p.weights else expected[:, 0]), name


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch_gives_empty_outputs_and_zero_weight_gradients(cell, dtype):
    case = stacked(cell, B=0, dtype=dtype)
    result = run_forward(case)
    gradients = run_backward(case, result.cache)
    assert result.output.shape == (case.T, 0, 2 * case.H)
    assert result.h.shape == (4, 0, case.H)
    assert gradients.x.shape == (case.T, 0, case.I)
    for name, array in gradients.weights.items():
        assert array.shape == problem_of(case).weights[name].shape
        assert not array.any()
