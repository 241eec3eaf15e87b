"""Lengths: past a sequence's end there is nothing, neither read nor written but zeros."""

import numpy as np
import pytest

from cases import (
    CELLS,
    Case,
    assert_same_bits,
    backward,
    forward,
    problem_of,
    run_backward,
    run_forward,
    settings,
    stacked,
)

RAGGED = np.array([3, 6, 0, 1, 6, 4])


def ragged_run(cell, **changes):
    case = Case(cell, T=6, B=6, I=4, H=9, layers=2, bidirectional=True)
    return case, run_forward(case, lengths=RAGGED, **changes)


def past_the_end(array, lengths=RAGGED):
    """The elements of [T, B, ...] that lie past their sequence's end."""
    return array[np.arange(len(array))[:, None] >= lengths[None]]


@pytest.mark.parametrize("cell", CELLS)
def test_output_past_the_end_of_a_sequence_is_zero(cell, isa):
    _, result = ragged_run(cell)
    assert not past_the_end(result.output).any()
    assert result.cells is None or not past_the_end(result.cells).any()
    assert all(result.output[:n, b].all() for b, n in enumerate(RAGGED) if cell != "rnn_relu")


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_past_the_end_of_a_sequence_is_zero(cell, isa):
    case, result = ragged_run(cell)
    gradients = run_backward(case, result.cache)
    assert not past_the_end(gradients.x).any()
    assert all(gradients.x[:n, b].any(axis=-1).all() for b, n in enumerate(RAGGED))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_zeros_replace_what_was_in_memory_past_the_ends(threads, batch_first):
    case = Case("lstm", T=150, B=40, I=11, H=20, layers=2, bidirectional=True)
    lengths = np.random.default_rng(0).integers(0, case.T, case.B)  # none is full
    with settings(threads=threads):
        for _ in range(2):  # the second run's arrays lie where the dense ones lay
            dense = run_forward(case, batch_first=batch_first)
            run_backward(case, dense.cache, batch_first=batch_first)
            del dense
            result = run_forward(case, lengths=lengths, batch_first=batch_first)
            gradients = run_backward(case, result.cache, batch_first=batch_first)
            for array in (result.output, result.cells, gradients.x):
                assert not past_the_end(array, lengths).any()


@pytest.mark.parametrize("cell", CELLS)
def test_what_lies_past_the_end_is_never_read(cell, isa):
    case, clean = ragged_run(cell)
    p = problem_of(case)
    x, doutput = p.x.copy(), p.doutput.copy()
    dcells = None if p.dcells is None else p.dcells.copy()
    for array in (x, doutput, dcells):
        if array is not None:
            array[np.arange(case.T)[:, None] >= RAGGED[None]] = np.nan
    _, dirty = ragged_run(cell, x=x)
    assert_same_bits(dirty, clean)
    gradients = backward(cell, dirty.cache, doutput, p.dh, p.dc, dcells)
    assert_same_bits(gradients, run_backward(case, clean.cache))


@pytest.mark.parametrize("cell", CELLS)
def test_the_final_state_is_the_one_at_the_last_valid_step(cell):
    case, result = ragged_run(cell)
    for b, n in enumerate(RAGGED):
        if n:
            assert np.array_equal(result.h[2, b], result.output[n - 1, b, : case.H])
            assert result.c is None or np.array_equal(
                result.c[2, b], result.cells[n - 1, b, : case.H]
            )


@pytest.mark.parametrize("cell", CELLS)
def test_the_reverse_direction_starts_at_the_last_valid_step(cell):
    case, result = ragged_run(cell)
    p = problem_of(case)
    for b, n in enumerate(RAGGED):
        if n:
            assert np.array_equal(result.h[3, b], result.output[0, b, case.H :])
            c0 = None if p.c0 is None else p.c0[:, b : b + 1]
            alone = forward(
                cell, p.x[:n, b : b + 1], p.weights, p.h0[:, b : b + 1], c0, **case.options
            )
            assert np.array_equal(result.output[:n, b], alone.output[:, 0])


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_sequence_passes_its_state_and_the_state_gradient_through(cell):
    case, result = ragged_run(cell)
    p, gradients = problem_of(case), run_backward(case, result.cache)
    assert np.array_equal(result.h[:, 2], p.h0[:, 2])
    assert np.array_equal(gradients.h0[:, 2], p.dh[:, 2])
    if cell == "lstm":
        assert np.array_equal(result.c[:, 2], p.c0[:, 2])
        assert np.array_equal(gradients.c0[:, 2], p.dc[:, 2])


@pytest.mark.parametrize(
    "convert",
    [list, tuple, np.int8, np.int32, np.uint64, lambda n: np.repeat(n, 2)[::2]],
    ids=["list", "tuple", "int8", "int32", "uint64", "strided"],
)
def test_lengths_may_be_any_integers(convert):
    case, result = ragged_run("gru")
    assert_same_bits(run_forward(case, lengths=convert(RAGGED)), result)


@pytest.mark.parametrize("cell", CELLS)
def test_full_lengths_are_the_same_as_none(cell, dtype):
    case = stacked(cell, dtype=dtype, lengths="full")
    full, none = run_forward(case), run_forward(case, lengths=None)
    assert_same_bits(full, none)
    assert_same_bits(run_backward(case, full.cache), run_backward(case, none.cache))
