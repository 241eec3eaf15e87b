"""The bitwise promises: no bit depends on threads, batch, layout or how time is cut."""

import time

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
from fastrnn import _core
from neighbours import Neighbours

# Shapes of which each thread gets rows of the batch, and shapes of which it gets hidden units
# (small B, large H), with tiles, panels and chunks of time left incomplete; the last has a long K.
SHAPES = [
    dict(T=9, B=1, I=5, H=256),
    dict(T=5, B=3, I=20, H=130),
    dict(T=5, B=40, I=3, H=33),
    dict(T=150, B=2, I=8, H=40),
    dict(T=60, B=24, I=16, H=16),
    dict(T=3, B=8, I=600, H=9),
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
cells = pytest.mark.parametrize("cell", CELLS)


def assert_threads_give_the_same_bits(case):
    answers = []
    for threads in [1, 2, 4, 7]:  # an even number may run the directions side by side
        with settings(threads=threads):
            result = run_forward(case)
            answers.append((result, run_backward(case, result.cache)))
    for result, gradients in answers[1:]:
        assert_same_bits(result, answers[0][0])
        assert_same_bits(gradients, answers[0][1])


@shapes
@cells
def test_any_number_of_threads_gives_the_same_bits(cell, shape, dtype, isa):
    stack = dict(layers=2, bidirectional=True, lengths="zeros")
    assert_threads_give_the_same_bits(Case(cell, dtype=dtype, **shape, **stack))


@cells
def test_any_number_of_threads_gives_the_same_bits_for_a_large_network(cell, isa):
    assert_threads_give_the_same_bits(Case(cell, T=5, B=64, I=40, H=256, dtype="float32"))


@pytest.mark.parametrize("paces", [None, [1.0, 0.5, 1.0, 0.7] * 4], ids=["alike", "uneven"])
@pytest.mark.parametrize("lengths", ["none", "ragged"])
@cells
def test_groups_of_rows_and_units_give_the_same_bits(cell, lengths, paces):
    """A large team shares both, on uneven processors the rows by who is how fast."""
    case = Case(cell, T=12, B=100, I=24, H=320, lengths=lengths, dtype="float32")
    with settings(threads=1):
        expected = run_forward(case)
        gradients = run_backward(case, expected.cache)
    for threads in [8, 12, 16]:
        with settings(threads=threads):
            for _ in range(2 if paces else 0):  # what was seen twice is believed
                _core.note_paces(paces)
            result = run_forward(case)
            assert_same_bits(result, expected)
            assert_same_bits(run_backward(case, result.cache), gradients)


@pytest.mark.parametrize("paces", [[1.0, 0.6, 0.8], [0.3, 1.0, 0.5]], ids=str)
@pytest.mark.parametrize(
    "shape", [dict(T=12, H=320), dict(T=12, H=200, bidirectional=True), dict(T=4, H=640)], ids=str
)
@cells
def test_units_of_uneven_members_give_the_same_bits(cell, shape, paces, isa):
    """A small team shares the units by who is how fast; its parts begin within panels."""
    recompute = "none" if cell.startswith("rnn") else "checkpoint"
    case = Case(cell, B=24, I=24, lengths="ragged", dtype="float32", **shape)
    with settings(threads=1):
        expected = run_forward(case)
        gradients = run_backward(case, expected.cache)
    for threads in [2, 3]:
        with settings(threads=threads):
            for again in ("none", recompute):
                for _ in range(2):  # what was seen twice is believed
                    _core.note_paces(paces[:threads])
                result = run_forward(case, recompute=again)
                assert_same_bits(result, expected)
                for _ in range(2):
                    _core.note_paces(paces[:threads])
                assert_same_bits(run_backward(case, result.cache), gradients)


@cells
def test_a_call_that_leaves_sleeping_workers_asleep_gives_the_same_bits(cell):
    """What two were to share is done by one at first; later calls wake the other."""
    for case in (Case(cell, T=6, B=16, I=64, H=48), Case(cell, T=1, B=1, I=256, H=200)):
        with settings(threads=2):
            expected = run_forward(case)
            gradients = run_backward(case, expected.cache)
            _core.set_awake_seconds(0.001)
            try:
                time.sleep(0.01)
                for _ in range(5):
                    result = run_forward(case)
                    assert_same_bits(result, expected)
                    assert_same_bits(run_backward(case, result.cache), gradients)
            finally:
                _core.set_awake_seconds(float("inf"))


def test_neighbours_change_no_bit():
    """Beside them a team may shrink between two calls, and sleeps at its barriers."""
    case = Case("lstm", T=100, B=64, I=64, H=64, dtype="float32")
    with settings(threads=2), Neighbours(2) as neighbours:
        expected = run_forward(case)
        gradients = run_backward(case, expected.cache)
        with neighbours.busy():
            for _ in range(20):
                result = run_forward(case)
                assert_same_bits(result, expected)
                assert_same_bits(run_backward(case, result.cache), gradients)


@cells
def test_two_runs_give_the_same_bits(cell, dtype):
    case = stacked(cell, T=40, B=30, H=50, dtype=dtype)
    with settings(threads=7):
        results = [run_forward(case) for _ in range(3)]
        gradients = [run_backward(case, result.cache) for result in results]
    for again in (1, 2):
        assert_same_bits(results[again], results[0])
        assert_same_bits(gradients[again], gradients[0])


@cells
def test_a_backward_pass_may_have_another_number_of_threads_than_its_forward_pass(cell):
    case, answers = stacked(cell, B=3, H=130), []
    for forward_threads, backward_threads in [(1, 1), (7, 2), (2, 7)]:
        with settings(threads=forward_threads):
            cache = run_forward(case).cache
        with settings(threads=backward_threads):
            answers.append(run_backward(case, cache))
    assert_same_bits(answers[1], answers[0])
    assert_same_bits(answers[2], answers[0])


def rows_of(case, rows, x, lengths):
    """A forward run of some rows of a case's batch, in the given order."""
    p = problem_of(case)
    c0 = None if p.c0 is None else np.ascontiguousarray(p.c0[:, rows])
    h0, x = np.ascontiguousarray(p.h0[:, rows]), np.ascontiguousarray(x[:, rows])
    return forward(case.cell, x, p.weights, h0, c0, lengths=lengths[rows], **case.options)


@shapes
@cells
def test_a_sequence_gives_the_same_bits_alone_and_in_any_batch(cell, shape, dtype, isa):
    case = Case(cell, dtype=dtype, layers=2, bidirectional=True, **shape)
    p, rng = problem_of(case), np.random.default_rng(5)
    lengths = rng.integers(1, case.T + 1, size=case.B)
    whole = rows_of(case, np.arange(case.B), p.x, lengths)
    cuts = [rng.permutation(case.B), *([b] for b in {0, case.B // 2, case.B - 1})]
    for rows in [*cuts, np.repeat(cuts[-1], 5), np.arange(case.B // 2, case.B)]:
        part = rows_of(case, rows, p.x, lengths)
        assert part.output.tobytes() == whole.output[:, rows].tobytes()
        assert part.h.tobytes() == whole.h[:, rows].tobytes()
        assert part.c is None or part.c.tobytes() == whole.c[:, rows].tobytes()


@cells
def test_steps_that_follow_a_sequence_do_not_change_it(cell, dtype, isa):
    case = Case(cell, dtype=dtype, T=70, B=5, I=6, H=21, layers=2)
    whole = run_forward(case)
    for steps in [1, 2, 3, 31, 32, 33, 64, 69]:
        part = run_forward(case, x=problem_of(case).x[:steps])
        assert part.output.tobytes() == whole.output[:steps].tobytes()


@pytest.mark.parametrize("pieces", [[1] * 7, [3, 3, 1], [6, 1], [35, 35]], ids=str)
@cells
def test_a_sequence_cut_into_calls_that_carry_the_state_gives_the_same_bits(
    cell, pieces, dtype, isa
):
    for shape in [dict(B=1, I=5, H=256), dict(B=9, I=30, H=40)]:
        case = Case(cell, dtype=dtype, T=sum(pieces), layers=2, **shape)
        p, whole, start, outputs = problem_of(case), run_forward(case), 0, []
        h, c = p.h0, p.c0
        for steps in pieces:
            piece = forward(cell, p.x[start : start + steps], p.weights, h, c, **case.options)
            start, h, c = start + steps, piece.h, piece.c
            outputs.append(piece.output)
        assert np.concatenate(outputs).tobytes() == whole.output.tobytes()
        assert h.tobytes() == whole.h.tobytes()
        assert c is None or c.tobytes() == whole.c.tobytes()


@cells
def test_time_major_and_batch_first_give_the_same_bits(cell, dtype, isa):
    for shape in SHAPES[:4]:
        case = Case(cell, dtype=dtype, lengths="ragged", layers=2, **shape)
        results = [run_forward(case, batch_first=flag) for flag in (False, True)]
        assert_same_bits(results[1], results[0])
        gradients = [
            run_backward(case, result.cache, batch_first=flag)
            for result, flag in zip(results, (False, True), strict=True)
        ]
        assert_same_bits(gradients[1], gradients[0])


@cells
def test_longer_padding_changes_no_bit_of_a_result_or_gradient(cell, dtype):
    case, longer = (Case(cell, T=T, B=3, I=4, H=12, dtype=dtype) for T in (80, 120))
    p, lengths = problem_of(longer), np.array([80, 41, 64])
    answers = []
    for T in (case.T, longer.T):
        result = forward(cell, p.x[:T], p.weights, p.h0, p.c0, lengths=lengths)
        gradients = backward(cell, result.cache, p.doutput[:T], p.dh, p.dc)
        assert not result.output[case.T :].any()
        assert not gradients.x[case.T :].any()
        result.output, gradients.x = result.output[: case.T], gradients.x[: case.T]
        answers.append((result, gradients))
    assert_same_bits(answers[1][0], answers[0][0])
    assert_same_bits(answers[1][1], answers[0][1])
