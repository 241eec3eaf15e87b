"""lstm_, gru_ and rnn_forward and _backward against the reference, over one grid."""

import gc
import inspect
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cases import (
    ANY_CASE,
    BIASES,
    CELLS,
    DTYPES,
    LENGTHS,
    Case,
    assert_close,
    assert_same_bits,
    backward,
    expected_backward,
    expected_forward,
    pairwise,
    problem_of,
    row_id,
    run_backward,
    run_forward,
    settings,
    stacked,
)
from fastrnn import functional as F
from fastrnn import runtime
from reference import recurrent as reference

# (T, B, I, H): ones, primes, one below, at and above vector widths and tile heights, long, wide.
# The second last line is worth several threads, which own rows, hidden units, or either; the last
# is of several chunks, in which sums over time and batch are made.
SIZES = [
    *[(5, 4, 3, 7), (1, 1, 1, 1), (4, 1, 7, 17), (3, 13, 5, 33), (2, 3, 65, 64), (6, 2, 1, 65)],
    *[(4, 6, 9, 1), (1, 5, 3, 8), (3, 7, 31, 15), (2, 12, 16, 16), (300, 1, 2, 3), (50, 5, 3, 20)],
    *[(20, 30, 8, 40), (9, 1, 5, 256), (3, 2, 200, 130)],
    *[(70, 20, 3, 9), (2, 1100, 2, 3)],
]

GRID = pairwise(
    kernel=[(cell, dtype) for cell in CELLS for dtype in DTYPES],
    sizes=SIZES,
    layers=[1, 2, 3],
    bidirectional=[False, True],
    lengths=LENGTHS,
    biases=BIASES,
    states=[True, False],
    batch_first=[False, True],
    isa=runtime.available_isas(),
    threads=[1, 2, 7],
)


def check_against_reference(case, isa, threads, batch_first):
    with settings(isa, threads):
        result = run_forward(case, batch_first=batch_first)
        gradients = run_backward(case, result.cache, batch_first=batch_first)
    assert_close(result, expected_forward(case), case.dtype)
    assert_close(gradients, expected_backward(case), case.dtype)


@pytest.mark.parametrize("row", GRID, ids=row_id)
def test_forward_and_backward_agree_with_the_reference_over_the_grid(row):
    cell, dtype = row["kernel"]
    chosen = {n: row[n] for n in ("layers", "bidirectional", "lengths", "biases", "states")}
    case = Case(cell=cell, dtype=dtype, **dict(zip("TBIH", row["sizes"], strict=True)), **chosen)
    check_against_reference(case, row["isa"], row["threads"], row["batch_first"])


@given(
    case=ANY_CASE,
    isa=st.sampled_from(runtime.available_isas()),
    threads=st.integers(1, 7),
    batch_first=st.booleans(),
)
@hypothesis_settings(max_examples=50)
def test_forward_and_backward_agree_with_the_reference_at_any_size(case, isa, threads, batch_first):
    check_against_reference(case, isa, threads, batch_first)


@pytest.mark.parametrize("H", range(17, 33))
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_any_number_of_units_in_the_last_register_gives_the_right_numbers(cell, H, dtype, isa):
    # Nine rows are tiles of several heights.
    case = Case(cell, T=3, B=9, I=5, H=H, dtype=dtype)
    result = run_forward(case)
    assert_close(result, expected_forward(case), dtype)
    assert_close(run_backward(case, result.cache), expected_backward(case), dtype)


def test_every_two_values_of_the_grid_meet_in_a_row():
    pairs = {frozenset(pair) for row in GRID for pair in itertools.combinations(row.items(), 2)}
    assert {("sizes", size) for size in SIZES} <= {item for pair in pairs for item in pair}
    for cell, dtype, isa in itertools.product(CELLS, DTYPES, runtime.available_isas()):
        assert frozenset([("kernel", (cell, dtype)), ("isa", isa)]) in pairs
    for size, lengths in itertools.product(SIZES, LENGTHS):
        assert frozenset([("sizes", size), ("lengths", lengths)]) in pairs


# ---- training and inference, caches, gradients that are left out ---------------------------------


@pytest.mark.parametrize("lengths", ["none", "zeros"])
@pytest.mark.parametrize("cell", CELLS)
def test_inference_gives_the_bits_of_training_and_no_cache(cell, lengths, dtype, isa):
    for size in [dict(T=6, B=5, H=19), dict(T=40, B=20, H=32), dict(T=30, B=1, H=70)]:
        case = stacked(cell, dtype=dtype, lengths=lengths, **size)
        inference = run_forward(case, training=False)
        assert inference.cache is None
        assert_same_bits(inference, run_forward(case, training=True))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cache_may_be_used_again_and_gives_the_same_gradients(cell):
    case = stacked(cell)
    cache = run_forward(case).cache
    first = run_backward(case, cache)
    for _ in range(3):
        assert_same_bits(run_backward(case, cache), first)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cache_keeps_alive_what_it_refers_to(cell):
    case = stacked(cell)
    p = problem_of(case)
    copies = {name: array.copy() for name, array in p.weights.items()}
    result = run_forward(case, x=p.x.copy(), weights=copies, h0=p.h0.copy())
    expected, cache = run_backward(case, result.cache), result.cache
    del result, copies
    gc.collect()
    garbage = [np.full(n, np.nan) for n in (10, 100, 1000, 10000) for _ in range(50)]
    assert_same_bits(run_backward(case, cache), expected)
    assert len(garbage) == 200


@pytest.mark.parametrize(
    ("cell", "given_names"),
    [(cell, names) for cell in CELLS for names in [("doutput",), ("dh",), ("doutput", "dh"), ()]]
    + [("lstm", ("dc",)), ("lstm", ("dcells",)), ("lstm", ("doutput", "dcells"))],
)
def test_a_gradient_that_is_left_out_counts_as_zero(cell, given_names):
    case = stacked(cell)
    p = problem_of(case)
    incoming = {name: getattr(p, name) for name in given_names}
    gradients = backward(cell, run_forward(case).cache, **incoming)
    expected = reference.backward(
        cell, expected_forward(case), p.x, p.weights, **incoming, lengths=p.lengths, **case.options
    )
    assert_close(gradients, expected, case.dtype)


@pytest.mark.parametrize("need_dweights", [False, True])
@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_left_out_on_request_and_the_others_stay(cell, need_dx, need_dweights):
    case = stacked(cell)
    p, cache = problem_of(case), run_forward(case).cache
    undo = {"lstm": F.lstm_backward, "gru": F.gru_backward}.get(cell, F.rnn_backward)
    dx, dstate, dweights = undo(cache, p.doutput, need_dx=need_dx, need_dweights=need_dweights)
    expected = backward(cell, cache, p.doutput)
    assert (dx is None) if not need_dx else np.array_equal(dx, expected.x)
    assert dweights.keys() == (expected.weights.keys() if need_dweights else set())
    assert all(np.array_equal(dweights[name], expected.weights[name]) for name in dweights)
    states = dstate if cell == "lstm" else (dstate,)
    assert all(map(np.array_equal, states, (expected.h0, expected.c0)))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_output_of_training_is_read_only_because_the_cache_refers_to_it(cell, batch_first):
    case = stacked(cell)
    training, inference = (
        run_forward(case, batch_first=batch_first, training=flag) for flag in (True, False)
    )
    assert not training.output.flags.writeable
    assert inference.output.flags.writeable


@pytest.mark.parametrize("cell", CELLS)
def test_a_backward_pass_runs_on_the_isa_of_its_forward_pass(cell, isa):
    case = stacked(cell)
    cache = run_forward(case).cache
    expected = run_backward(case, cache)
    for other in runtime.available_isas():
        with settings(isa=other):
            assert_same_bits(run_backward(case, cache), expected)


def test_cells_are_returned_only_when_asked_for():
    p = problem_of(Case("lstm"))
    assert len(F.lstm_forward(p.x, p.weights)) == 3
    output, (_, c), _, cells = F.lstm_forward(p.x, p.weights, return_cells=True)
    assert cells.shape == output.shape
    assert np.array_equal(cells[-1], c[0])


@pytest.mark.parametrize("cell", CELLS)
def test_arguments_are_only_read(cell):
    case = stacked(cell)
    p = problem_of(case)
    given_arrays = [p.x, *p.weights.values(), p.h0, p.lengths, p.doutput, p.dh]
    copies = [array.copy() for array in given_arrays]
    frozen = [array for array in given_arrays if array.flags.writeable]
    try:
        for array in frozen:
            array.flags.writeable = False
        run_backward(case, run_forward(case).cache)
    finally:
        for array in frozen:
            array.flags.writeable = True
    for array, copy in zip(given_arrays, copies, strict=True):
        assert np.array_equal(array, copy)


def test_the_page_has_the_arguments_that_the_functions_have():
    page = (Path(__file__).parents[1] / "docs" / "functional.md").read_text()
    calls = re.findall(r"= F\.(lstm_\w+ward)\(([^)]*)\)", page.split("```")[1])
    for name, arguments in calls:
        exec(f"def written({arguments}): ...", names := {})
        said = inspect.signature(names["written"]).parameters.values()
        taken = inspect.signature(getattr(F, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in said] == [
            (p.name, p.kind, p.default) for p in taken
        ]
    assert [name for name, _ in calls] == ["lstm_forward", "lstm_backward"]
