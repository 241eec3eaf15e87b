"""Dropout between layers: which elements it drops, what it depends on, and its gradient."""

import itertools

import numpy as np
import pytest

from cases import (
    CELLS,
    Case,
    assert_close,
    assert_same_bits,
    backward,
    problem_of,
    run_backward,
    run_forward,
    settings,
    stacked,
)
from masks import SEED, masks_for, masks_of
from reference import recurrent as reference


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_a_mask_keeps_one_minus_p_of_the_elements_and_scales_them_up(p):
    for mask in masks_of(3, 50, 10, 40, True, p, SEED):
        kept = mask != 0
        np.testing.assert_allclose(mask[kept], 1 / (1 - p), rtol=1e-15)
        # 40,000 draws: five standard deviations of their mean, which a right generator fails once
        # in two million
        assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / mask.size)


def test_no_two_steps_rows_units_layers_or_seeds_share_a_mask():
    shape = (3, 30, 20, 32, True)
    masks = [mask != 0 for seed in (SEED, SEED + 1) for mask in masks_of(*shape, 0.5, seed)]
    for mask in masks:
        for axis, count in enumerate(mask.shape):
            slices = {part.tobytes() for part in np.moveaxis(mask, axis, 0)}
            assert len(slices) == count, f"axis {axis}"
    # independent masks agree on half of the elements, here to five standard deviations
    for one, another in itertools.combinations(masks, 2):
        assert abs((one == another).mean() - 0.5) < 5 * 0.5 / np.sqrt(one.size)


def test_a_mask_does_not_depend_on_the_lengths_of_time_and_batch():
    (longer,), (shorter,) = (
        masks_of(2, 20, 9, 16, False, 0.5, SEED),
        masks_of(2, 7, 4, 16, False, 0.5, SEED),
    )
    assert np.array_equal(longer[:7, :4], shorter)


@pytest.mark.parametrize("cell", CELLS)
def test_a_seed_fixes_every_bit_for_any_number_of_threads(cell, dtype):
    case = stacked(cell, B=13, T=9, H=33, layers=3, dtype=dtype)
    answers = []
    for threads in [1, 2, 7, 1]:
        with settings(threads=threads):
            result = run_forward(case, dropout=0.5, seed=SEED)
            answers.append((result, run_backward(case, result.cache)))
    for result, gradients in answers[1:]:
        assert_same_bits(result, answers[0][0])
        assert_same_bits(gradients, answers[0][1])


def test_without_a_seed_every_call_draws_another_mask():
    outputs = [run_forward(stacked("gru"), dropout=0.5).output.tobytes() for _ in range(4)]
    assert len(set(outputs)) == 4


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1, np.int64(5)])
def test_any_seed_of_64_bits_is_accepted(seed):
    case = stacked("rnn_tanh")
    first, second = (run_forward(case, dropout=0.5, seed=seed) for _ in range(2))
    assert_same_bits(first, second)


@pytest.mark.parametrize("cell", CELLS)
def test_forward_and_backward_agree_with_the_reference_under_the_same_masks(cell, isa, threads):
    case, p = stacked(cell, layers=3), 0.4
    arrays, masks = problem_of(case), masks_for(case, p)
    options = case.options | dict(lengths=arrays.lengths, masks=masks)
    expected = reference.forward(cell, arrays.x, arrays.weights, arrays.h0, arrays.c0, **options)
    result = run_forward(case, dropout=p, seed=SEED)
    assert_close(result, expected, case.dtype)
    incoming = arrays.doutput, arrays.dh, arrays.dc, arrays.dcells
    gradients = reference.backward(cell, expected, arrays.x, arrays.weights, *incoming, **options)
    assert_close(backward(cell, result.cache, *incoming), gradients, case.dtype)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_everything_hands_zeros_to_the_upper_layer(cell):
    case = stacked(cell)
    arrays, nothing = problem_of(case), [np.zeros((case.T, case.B, 2 * case.H))]
    expected = reference.forward(
        cell,
        arrays.x,
        arrays.weights,
        arrays.h0,
        arrays.c0,
        lengths=arrays.lengths,
        masks=nothing,
        **case.options,
    )
    result = run_forward(case, dropout=1.0)
    assert_close(result, expected, case.dtype)
    gradients = run_backward(case, result.cache)
    expected_gradients = reference.backward(
        cell,
        expected,
        arrays.x,
        arrays.weights,
        arrays.doutput,
        arrays.dh,
        arrays.dc,
        arrays.dcells,
        lengths=arrays.lengths,
        masks=nothing,
        **case.options,
    )
    assert_close(gradients, expected_gradients, case.dtype)


@pytest.mark.parametrize("changes", [dict(dropout=0.0), dict(dropout=0.5, training=False)])
@pytest.mark.parametrize("cell", CELLS)
def test_no_dropout_and_inference_ignore_the_seed(cell, changes):
    case = stacked(cell)
    assert_same_bits(run_forward(case, seed=SEED, **changes), run_forward(case))


def test_a_single_layer_has_nothing_to_drop():
    case = Case("lstm", layers=1, bidirectional=True)
    assert_same_bits(run_forward(case, dropout=0.9, seed=SEED), run_forward(case))


def test_final_states_are_taken_before_dropout():
    case = stacked("lstm", lengths="none")
    dropped, plain = run_forward(case, dropout=0.5, seed=SEED), run_forward(case)
    assert np.array_equal(dropped.h[:2], plain.h[:2])
    assert np.array_equal(dropped.c[:2], plain.c[:2])
    assert not np.array_equal(dropped.h[2:], plain.h[2:])
