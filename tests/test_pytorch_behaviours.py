"""What PyTorch's test_nn.py checks of its recurrent modules and no other file here."""

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
)

# the sizes of PyTorch's cpu-against-device tests
LENGTHS = [7, 5, 5, 2, 1, 1]


def variable(cell, **changes):
    return Case(cell, **dict(T=7, B=6, I=10, H=6, layers=2, bidirectional=True) | changes)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_is_left_out_is_zeros(cell, bidirectional, dtype):
    case = variable(cell, states=False, bidirectional=bidirectional, dtype=dtype)
    zeros = np.zeros((2 * case.directions, case.B, case.H), dtype)
    given = dict(h0=zeros, c0=zeros if cell == "lstm" else None)
    left_out, zero = run_forward(case), run_forward(case, **given)
    assert_same_bits(left_out, zero)
    assert_same_bits(run_backward(case, left_out.cache), run_backward(case, zero.cache))


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3, 4, 5], [3, 0, 5, 1, 4, 2]], ids=["sorted", "shuffled"]
)
@pytest.mark.parametrize("cell", CELLS)
def test_sequences_of_variable_length_equal_each_one_alone(cell, order, states):
    case, lengths = variable(cell, states=states), np.array(LENGTHS)[order]
    p = problem_of(case)
    together = run_forward(case, lengths=lengths)
    gradients = run_backward(case, together.cache)
    totals = dict.fromkeys(p.weights, 0)
    for b, n in enumerate(lengths):
        alone = {
            name: None if a is None else a[:, b : b + 1]
            for name, a in vars(p).items()
            if name in ("h0", "c0", "dh", "dc")
        }
        result = forward(
            cell, p.x[:n, b : b + 1], p.weights, alone["h0"], alone["c0"], **case.options
        )
        assert np.array_equal(result.output[:, 0], together.output[:n, b])
        assert np.array_equal(result.h[:, 0], together.h[:, b])
        assert result.c is None or np.array_equal(result.c[:, 0], together.c[:, b])
        dcells = None if p.dcells is None else p.dcells[:n, b : b + 1]
        single = backward(
            cell, result.cache, p.doutput[:n, b : b + 1], alone["dh"], alone["dc"], dcells
        )
        np.testing.assert_allclose(single.x[:, 0], gradients.x[:n, b], rtol=0, atol=1e-13)
        np.testing.assert_allclose(single.h0[:, 0], gradients.h0[:, b], rtol=0, atol=1e-13)
        totals = {name: totals[name] + array for name, array in single.weights.items()}
    for name, total in totals.items():
        np.testing.assert_allclose(total, gradients.weights[name], rtol=0, atol=1e-12)


def every_second(array):
    """The same values, no axis contiguous."""
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    view = wide[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


@pytest.mark.parametrize("cell", CELLS)
def test_input_states_weights_and_gradients_need_not_be_contiguous(cell, dtype):
    case = variable(cell, dtype=dtype)
    p = problem_of(case)
    x, h0, doutput, dh = (every_second(a) for a in (p.x, p.h0, p.doutput, p.dh))
    c0, dc, dcells = (None if a is None else every_second(a) for a in (p.c0, p.dc, p.dcells))
    weights = {name: every_second(array) for name, array in p.weights.items()}
    result = run_forward(case, x=x, h0=h0, c0=c0, weights=weights, lengths=LENGTHS)
    dense = run_forward(case, lengths=LENGTHS)
    assert_same_bits(result, dense)
    gradients = backward(cell, result.cache, doutput, dh, dc, dcells)
    assert_same_bits(gradients, run_backward(case, dense.cache))


@pytest.mark.parametrize("cell", CELLS)
def test_one_array_may_be_several_weights(cell):
    case = variable(cell)
    weights = dict(problem_of(case).weights)
    weights["bias_ih_l0_reverse"] = weights["bias_ih_l0"]
    weights["weight_hh_l1"] = weights["weight_hh_l0"]
    copies = {name: array.copy() for name, array in weights.items()}
    tied, separate = run_forward(case, weights=weights), run_forward(case, weights=copies)
    assert_same_bits(tied, separate)
    gradients = run_backward(case, tied.cache)
    assert_same_bits(gradients, run_backward(case, separate.cache))
    arrays = list(named_arrays(gradients).values())
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0, 0.276, 0.731, 1])
def test_dropout_acts_between_the_layers_and_nowhere_else(p, training):
    H = 1000
    weights = {
        f"weight_{kind}_l{k}": np.ones((H, 10 if (kind, k) == ("ih", 0) else H))
        for kind in ("ih", "hh")
        for k in (0, 1)
    }
    result = forward(
        "rnn_relu", np.ones((1, 1, 10)), weights, num_layers=2, dropout=p, training=training
    )
    assert (result.h[0] == 10).all()
    assert np.array_equal(result.h[1], result.output[0])
    assert (result.output == result.output[0, 0, 0]).all()
    value = result.output[0, 0, 0]
    if p == 0 or not training:
        assert value == 10_000
    elif p == 1:
        assert value == 0
    else:
        assert 8_000 < value < 12_000
        units = value * (1 - p) / 10
        assert abs(units - round(units)) < 1e-9


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_are_new_arrays(cell):
    case = variable(cell)
    first, second = run_forward(case), run_forward(case)
    inputs = [problem_of(case).x, problem_of(case).h0]
    for name, array in named_arrays(first).items():
        assert not any(
            np.shares_memory(array, other) for other in [*named_arrays(second).values(), *inputs]
        ), name
    assert_same_bits(first, second)
