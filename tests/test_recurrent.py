"""fastrnn.Recurrent gives the functional API's bits, in one call or step by step."""

import contextlib
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastrnn
from cases import CELLS, WORTH_A_TEAM, Case, problem_of, run_forward, settings, stacked
from fastrnn import runtime


def prepared(case, **options):
    return fastrnn.Recurrent(case.cell, problem_of(case).weights, **case.options, **options)


def state_of(case):
    p = problem_of(case)
    return p.h0 if p.c0 is None else (p.h0, p.c0)


def assert_equal_bits(answer, result):
    """(output, state) of a prepared object against a Result."""
    output, state = answer
    h, c = state if isinstance(state, tuple) else (state, None)
    assert np.array_equal(output, result.output)
    assert np.array_equal(h, result.h)
    assert result.c is None or np.array_equal(c, result.c)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_a_call_gives_the_bits_of_the_functional_form(cell, states, dtype, isa, threads):
    case = stacked(cell, dtype=dtype, states=states, **WORTH_A_TEAM)
    p = problem_of(case)
    rnn = prepared(case)
    for _ in range(2):  # a call leaves nothing behind
        answer = rnn(p.x, state_of(case) if states else None, lengths=p.lengths)
        assert_equal_bits(answer, run_forward(case))


@pytest.mark.parametrize("cell", CELLS)
def test_one_object_serves_any_batch_and_number_of_steps(cell):
    rnn = prepared(Case(cell, layers=2))
    for T, B in [(5, 4), (1, 1), (30, 2), (2, 0), (5, 70)]:
        case = Case(cell, T=T, B=B, layers=2, states=False)
        x = np.random.default_rng(1).normal(size=(T, B, case.I))
        weights = problem_of(Case(cell, layers=2)).weights
        assert_equal_bits(rnn(x), run_forward(case, x=x, weights=weights))


@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_only_swaps_axes(cell):
    case = Case(cell, layers=2)
    p = problem_of(case)
    output, state = prepared(case, batch_first=True)(p.x.swapaxes(0, 1).copy(), state_of(case))
    assert_equal_bits((output.swapaxes(0, 1), state), run_forward(case))
    assert output.flags.c_contiguous


def as_list(x, state):
    return x, list(state)


def one_layer_apart(x, state):
    return x, tuple(np.repeat(part, 2, axis=0)[::2] for part in state)


def units_apart(x, state):
    return np.repeat(x, 2, axis=-1)[..., ::2], state


def steps_backwards(x, state):
    return x[::-1].copy()[::-1], state


def misaligned(x, state):
    room = np.empty(x.nbytes + 1, np.uint8)
    moved = room[1:].view(x.dtype).reshape(x.shape)
    moved[...] = x
    return moved, state


@pytest.mark.parametrize(
    "given", [as_list, one_layer_apart, units_apart, steps_backwards, misaligned]
)
def test_other_layouts_of_the_arguments_give_the_same_bits(given):
    case = Case("lstm", layers=2)
    p = problem_of(case)
    assert_equal_bits(prepared(case)(*given(p.x, state_of(case))), run_forward(case))


def test_lengths_and_sequences_without_a_batch_give_the_same_bits():
    case = Case("gru", layers=2, bidirectional=True)
    p, rnn = problem_of(case), prepared(case)
    output, h = rnn(p.x, p.h0)
    whole = rnn(p.x, p.h0, lengths=[case.T] * case.B)
    alone = rnn(p.x[:, 1], p.h0[:, 1])
    assert np.array_equal(whole[0], output)
    assert np.array_equal(whole[1], h)
    assert np.array_equal(alone[0], output[:, 1])
    assert np.array_equal(alone[1], h[:, 1])


@pytest.mark.parametrize("hidden", [7, 200])  # a brief call, and one that lets others run meanwhile
def test_threads_share_one_object_whatever_they_run(hidden):
    case = Case("lstm", H=hidden, states=False)
    rnn, x = prepared(case), np.random.default_rng(2).normal(size=(40, 9, case.I))
    shapes = [(1, 1), (40, 9), (13, 2), (7, 5)]
    expected = [run_forward(case, x=x[:T, :B], weights=problem_of(case).weights) for T, B in shapes]

    def use(which):
        T, B = shapes[which]
        for _ in range(100):
            assert_equal_bits(rnn(x[:T, :B]), expected[which])

    with ThreadPoolExecutor(len(shapes)) as threads:
        for done in [threads.submit(use, which) for which in range(len(shapes))]:
            done.result()


def test_the_function_that_runs_keeps_what_it_needs():
    case = Case("gru", states=False)
    rnn, x = prepared(case), problem_of(case).x
    run = rnn._run
    del rnn
    gc.collect()
    assert_equal_bits(run(x, None), run_forward(case))
    with pytest.raises(TypeError, match="expected 2 arguments, got 1"):
        run(x)


@pytest.mark.parametrize(
    "shape", [dict(B=1, H=256), dict(B=1, H=9), dict(B=3, H=130), dict(B=40, H=33)], ids=str
)
@pytest.mark.parametrize("cell", CELLS)
def test_streaming_step_by_step_gives_the_bits_of_one_long_call(cell, shape, dtype, isa):
    case = Case(cell, T=12, layers=2, dtype=dtype, **shape)
    result, rnn = run_forward(case), prepared(case)
    rnn.reset(state_of(case))
    for x_t, expected in zip(problem_of(case).x, result.output, strict=True):
        assert np.array_equal(rnn.step(x_t), expected)
    assert_equal_bits((result.output, rnn.state), result)


@pytest.mark.parametrize(("cell", "H"), [("lstm", 70), ("rnn_tanh", 280)])
def test_the_inputs_product_has_the_same_bits_ahead_of_the_steps_and_within_each(cell, H, isa):
    # Of two rows weight_ih, over 2 MiB, is read for several steps at once; a stream's step has one.
    case = Case(cell, T=5, B=2, I=1000, H=H, states=False)
    with settings(threads=1):
        result, rnn = run_forward(case), prepared(case)
        streamed = [rnn.step(x_t) for x_t in problem_of(case).x]
    assert np.array_equal(streamed, result.output)


@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_threads_may_change_between_steps(cell):
    case = Case(cell, T=9, B=1, I=40, H=300, layers=2, dtype="float32")
    result, rnn = run_forward(case), prepared(case)
    rnn.reset(state_of(case))
    for step, x_t in enumerate(problem_of(case).x):
        with settings(threads=1 + step % 3):
            assert np.array_equal(rnn.step(x_t), result.output[step])
    assert_equal_bits((result.output, rnn.state), result)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_begins_anew_after_a_reset_and_with_another_batch(cell):
    rnn = prepared(Case(cell, layers=2))
    weights = problem_of(Case(cell, layers=2)).weights
    for steps, batch in [(3, 1), (2, 4), (3, 4), (1, 0), (4, 2)]:
        case = Case(cell, T=steps, B=batch, layers=2, states=False)
        x = np.random.default_rng(1).normal(size=(steps, batch, case.I))
        expected = run_forward(case, x=x, weights=weights)
        rnn.reset()
        for x_t, output in zip(x, expected.output, strict=True):
            assert np.array_equal(rnn.step(x_t), output)
        assert_equal_bits((expected.output, rnn.state), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_reset_without_a_state_starts_from_zeros(cell):
    case = Case(cell, states=False)
    p, rnn = problem_of(case), prepared(Case(cell))
    rnn.step(p.x[1])
    rnn.reset()
    assert np.array_equal(rnn.step(p.x[0]), run_forward(case).output[0])


@pytest.mark.parametrize("rows", [3, 400])  # a brief step, and one that lets others run meanwhile
def test_threads_that_step_one_stream_take_turns(rows):
    stream, expected = (prepared(Case("gru")) for _ in range(2))
    x = np.repeat(problem_of(Case("gru")).x[0, :1], rows, axis=0)
    turns = [threading.Thread(target=lambda: [stream.step(x) for _ in range(25)]) for _ in range(4)]
    for turn in turns:
        turn.start()
    for turn in turns:
        turn.join()
    for _ in range(100):
        expected.step(x)
    assert np.array_equal(stream.state, expected.state)


def test_threads_with_other_batches_and_resets_between_leave_a_whole_stream():
    stream = prepared(Case("lstm"))
    x = np.repeat(problem_of(Case("lstm")).x[0, :1], 500, axis=0)

    def use(rows):
        for n in range(10_000):
            if n % 5 == 0:
                stream.reset()
            with contextlib.suppress(ValueError):  # another thread's state has other rows
                assert stream.step(x[:rows]).shape == (rows, 7)
            if (state := stream.state) is not None:
                assert state[0].shape == state[1].shape
                assert np.isfinite(state[0]).all()

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(use, rows) for rows in (1, 20, 500)]:
            done.result()


def test_the_function_that_steps_keeps_what_it_needs():
    case = Case("gru", states=False)
    rnn, x = prepared(case), problem_of(case).x
    step = rnn._step
    del rnn
    gc.collect()
    assert np.array_equal(step(x[0]), run_forward(case).output[0])


def test_the_outputs_of_earlier_steps_stay_as_they_were():
    case = Case("gru", T=3)
    rnn, p = prepared(case), problem_of(case)
    first = rnn.step(p.x[0])
    copy = first.copy()
    rnn.step(p.x[1])
    rnn(p.x)
    assert np.array_equal(first, copy)


def test_reset_copies_the_state_that_it_is_given():
    case = Case("gru")
    p, rnn = problem_of(case), prepared(case)
    h0 = p.h0.copy()
    rnn.reset(h0)
    rnn.step(p.x[0])
    assert np.array_equal(h0, p.h0)


@pytest.mark.parametrize("cell", CELLS)
def test_the_weights_are_a_snapshot_until_update(cell):
    case = Case(cell, layers=2)
    p = problem_of(case)
    weights = {name: array.copy() for name, array in p.weights.items()}
    rnn = fastrnn.Recurrent(cell, weights, num_layers=2)
    for array in weights.values():
        array *= 0.5
    assert_equal_bits(rnn(p.x, state_of(case)), run_forward(case))
    rnn.update(weights)
    assert_equal_bits(rnn(p.x, state_of(case)), run_forward(case, weights=weights))


def test_the_isa_is_part_of_the_snapshot(isa):
    case = Case("lstm", T=9, H=33, layers=2)
    expected, rnn = run_forward(case), prepared(case)
    for other in runtime.available_isas():
        with settings(isa=other):
            assert_equal_bits(rnn(problem_of(case).x, state_of(case)), expected)


def test_a_bidirectional_network_cannot_step():
    case = Case("gru", bidirectional=True)
    with pytest.raises(ValueError, match=r"^step: .*direction"):
        prepared(case).step(problem_of(case).x[0])


@pytest.mark.parametrize(
    ("act", "error", "name"),
    [
        (lambda rnn, x, w: fastrnn.Recurrent("LSTM2", w), ValueError, "cell"),
        (lambda rnn, x, w: fastrnn.Recurrent("gru", {}), ValueError, "weight"),
        (lambda rnn, x, w: fastrnn.Recurrent("gru", w, num_layers=2), ValueError, "weight"),
        (lambda rnn, x, w: rnn(x[..., :2]), ValueError, "x"),
        (lambda rnn, x, w: rnn(x.astype("float32")), (TypeError, ValueError), "x"),
        (lambda rnn, x, w: rnn(x, np.zeros((1, 4, 8))), ValueError, "h0"),
        (lambda rnn, x, w: rnn(x, lengths=[9, 9, 9, 9]), ValueError, "lengths"),
        (lambda rnn, x, w: rnn.step(x), ValueError, "x"),
        (lambda rnn, x, w: rnn.step(x[0, :, :2].copy()), ValueError, "x"),
        (lambda rnn, x, w: rnn.step(x[0].astype("float32")), TypeError, "x"),
        (lambda rnn, x, w: rnn.step(x[0].tolist()), TypeError, "x"),
        (lambda rnn, x, w: rnn.reset(np.zeros((2, 4, 7))), ValueError, "h0"),
        (lambda rnn, x, w: rnn.reset(3), (TypeError, ValueError), "state|h0"),
        (lambda rnn, x, w: rnn.update({}), ValueError, "weight"),
        (
            lambda rnn, x, w: rnn.update({n: a[:, :1] for n, a in w.items() if a.ndim == 2}),
            ValueError,
            "weight",
        ),
    ],
)
def test_wrong_arguments_are_named_and_leave_the_object_usable(act, error, name):
    case = Case("gru")
    p, rnn = problem_of(case), prepared(case)
    with pytest.raises(error, match=rf"^({name})"):
        act(rnn, p.x, p.weights)
    assert_equal_bits(rnn(p.x, state_of(case)), run_forward(case))


@pytest.mark.parametrize(
    ("x", "kind"), [([[0.0, 0.0]], "list"), (None, "NoneType"), (3.0, "float")]
)
def test_a_step_of_what_is_no_array_says_what_came(x, kind):
    with pytest.raises(TypeError, match=f"^x: expected a NumPy array, got {kind}$"):
        prepared(Case("lstm")).step(x)


@pytest.mark.parametrize("state", [3, "hc", (), [np.zeros((1, 4, 7))], np.zeros((1, 4, 7)), (3, 3)])
def test_what_is_no_pair_of_states_is_named(state):
    with pytest.raises(TypeError, match=r"^state: expected a pair|^h0: expected a NumPy array"):
        prepared(Case("lstm")).reset(state)


def test_a_step_with_another_batch_than_the_carried_state_is_refused():
    case = Case("gru")
    x, rnn = problem_of(case).x, prepared(case)
    rnn.step(x[0])
    with pytest.raises(ValueError, match=r"^(x|h0): "):
        rnn.step(x[0, :2])
