"""Dropout between layers and of the first one's input: which elements, on what they depend, the
gradients."""

import itertools

import numpy as np
import pytest

from cases import (
    CELLS,
    WORTH_A_TEAM,
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
from masks import SEED, input_masks_for, masks_for, masks_of
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
            result = run_forward(case, dropout=0.5, input_dropout=0.5, seed=SEED)
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
    case, p, q = stacked(cell, layers=3, **WORTH_A_TEAM), 0.4, 0.3
    arrays, masks = problem_of(case), masks_for(case, p)
    options = case.options | dict(lengths=arrays.lengths, masks=masks)
    options["input_masks"] = input_masks_for(case, q)
    expected = reference.forward(cell, arrays.x, arrays.weights, arrays.h0, arrays.c0, **options)
    result = run_forward(case, dropout=p, input_dropout=q, seed=SEED)
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


def test_each_direction_draws_one_mask_of_the_input_for_a_sequence(dtype):
    forward, backward = input_masks_for(Case(B=60, I=70, bidirectional=True, dtype=dtype), 0.3)
    for mask in (forward, backward):
        assert np.unique(mask).tolist() == [0, np.array(1 / (1 - 0.3), dtype)]
        assert len({row.tobytes() for row in mask}) == 60
        assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask.size)
    # independent: both drop an element by chance alone
    assert abs(((forward == 0) & (backward == 0)).mean() - 0.09) < 5 * np.sqrt(0.09 / mask.size)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_the_input_is_a_mask_on_x_bit_for_bit(cell, dtype):
    case = Case(cell, T=9, B=5, I=6, H=19, lengths="zeros", dtype=dtype)
    mask = input_masks_for(case, 0.3)[0]
    dropped = run_forward(case, input_dropout=0.3, seed=SEED)
    masked = run_forward(case, x=problem_of(case).x * mask)
    assert_same_bits(dropped, masked)
    gradients, expected = (run_backward(case, r.cache) for r in (dropped, masked))
    expected.x = np.where(mask != 0, expected.x * mask, 0).astype(dtype)
    assert_same_bits(gradients, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_the_whole_input_leaves_no_trace_of_it(cell):
    case = Case(cell, T=4, B=3, bidirectional=True, lengths="ragged")
    x = np.full_like(problem_of(case).x, np.nan)
    dropped = run_forward(case, x=x, input_dropout=1.0)
    assert_same_bits(dropped, run_forward(case, x=np.zeros_like(x)))
    assert not run_backward(case, dropped.cache).x.any()


@pytest.mark.parametrize(
    "changes",
    [
        dict(dropout=0.0),
        dict(input_dropout=0.0),
        dict(dropout=0.5, input_dropout=0.5, training=False),
    ],
)
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
