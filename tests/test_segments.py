"""Segments of time: the same bits as one call over the whole, in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from cases import CELLS, Case, assert_same_bits, pairwise, problem_of, row_id, settings
from cases import backward as run_cell_backward
from cases import forward as run_cell_forward
from fastrnn import functional as F
from fastrnn.data import continuous_batches
from masks import SEED
from reference import recurrent as reference

cells = pytest.mark.parametrize("cell", CELLS)


def segments_of(cell, x, weights, h0=None, c0=None, **options):
    if cell == "lstm":
        return F.lstm_segments(x, weights, None if h0 is None else (h0, c0), **options)
    if cell == "gru":
        return F.gru_segments(x, weights, h0, **options)
    return F.rnn_segments(x, weights, h0, nonlinearity=cell.removeprefix("rnn_"), **options)


def run_segments(case, p, segment_steps, *, threads=(1, 1), as_function=False, **options):
    """Forward and backward by segments: (output, final state) and the gradients, put together."""
    outputs, parts = {}, {}
    x, doutput = p.x, p.doutput
    if as_function:
        options["shape"] = x.shape[:2]
        x, doutput = (lambda a, b: p.x[a:b].copy()), (lambda a, b, output: p.doutput[a:b].copy())
    with settings(threads=threads[0]):
        segments = segments_of(
            case.cell, x, p.weights, p.h0, p.c0, num_layers=case.layers, lengths=p.lengths,
            segment_steps=segment_steps, **options,
        )  # fmt: skip
        state = segments.forward(outputs.__setitem__)
    dstate = p.dh if p.dc is None else (p.dh, p.dc)
    with settings(threads=threads[1]):
        dstate0, dweights = segments.backward(doutput, dstate, consume=parts.__setitem__)
    assert list(outputs) == [start for start, _ in segments.bounds]
    assert list(parts) == list(outputs)[::-1]
    h, c = state if case.cell == "lstm" else (state, None)
    dh0, dc0 = dstate0 if case.cell == "lstm" else (dstate0, None)
    dx = np.concatenate([parts[start] for start in outputs])
    return (
        reference.Forward(np.concatenate(list(outputs.values())), h, c, None, {}),
        reference.Gradients(dx, dh0, dc0, dweights),
        segments,
    )


def run_whole(case, p, **options):
    result = run_cell_forward(
        case.cell, p.x, p.weights, p.h0, p.c0, lengths=p.lengths, **case.options, **options
    )
    return result, run_cell_backward(case.cell, result.cache, p.doutput, p.dh, p.dc)


GRID = pairwise(
    # Chunks of 512, 102, 25 and 1 steps; the last segment is a short one.
    shape=["T1100-B2", "T700-B10", "T90-B40", "T5-B1500"],
    cell=list(CELLS),
    dtype=["float32", "float64"],
    lengths=["none", "zeros"],
    layers=[1, 3],
    dropout=[(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)],
    biases=["both", "ih", "none"],
    states=[True, False],
    threads=[(1, 1), (7, 2), (2, 7)],
    as_function=[False, True],
    chunks=[1, 2],
)


@pytest.mark.parametrize("row", GRID, ids=row_id)
def test_segments_give_the_bits_of_one_call(row):
    row = dict(row)
    T, B = (int(size[1:]) for size in row.pop("shape").split("-"))
    chunks, threads, dropout = row.pop("chunks"), row.pop("threads"), row.pop("dropout")
    as_function = row.pop("as_function")
    case = Case(T=T, B=B, I=5, H=18, **row)
    p = problem_of(case)
    options = dict(dropout=dropout[0], input_dropout=dropout[1], seed=SEED)
    steps = chunks * max(1, 1024 // B)
    result, gradients, segments = run_segments(
        case, p, steps, threads=threads, as_function=as_function, **options
    )
    assert len(segments) == -(-T // steps) > 1
    whole, expected = run_whole(case, p, **options)
    for name in ("output", "h", "c"):
        array = getattr(whole, name)
        assert array is None or getattr(result, name).tobytes() == array.tobytes(), name
    assert_same_bits(gradients, expected)


@cells
def test_sequences_that_end_before_the_last_segments_give_the_same_bits(cell):
    case = Case(cell, T=700, B=10, I=5, H=18, dtype="float32")
    p = problem_of(case)
    # The longest ends with the second of seven segments; unsorted, so that sorting by what is left
    # of them in a segment would put the tokens in another order.
    p = type(p)(**{**vars(p), "lengths": np.array([150, 180, 0, 204, 7, 102, 103, 190, 1, 55])})
    result, gradients, segments = run_segments(case, p, 102)
    assert len(segments) == 7
    whole, expected = run_whole(case, p)
    assert result.output.tobytes() == whole.output.tobytes()
    assert_same_bits(gradients, expected)


@pytest.mark.parametrize("lengths", [[0] * 10, None], ids=["no step", "no sequence"])
def test_nothing_to_run_is_no_error(lengths):
    case = Case("lstm", T=300, B=10 if lengths else 0, dtype="float32")
    p = problem_of(case)
    p = type(p)(**{**vars(p), "lengths": None if lengths is None else np.array(lengths)})
    _, gradients, _ = run_segments(case, p, 102)
    assert not any(d.any() for d in gradients.weights.values())


def test_backward_may_be_called_twice_and_needs_a_forward_pass():
    case = Case("gru", T=300, B=10, dtype="float32")
    p = problem_of(case)
    segments = F.gru_segments(p.x, p.weights, segment_steps=102)
    with pytest.raises(RuntimeError, match="backward: call forward first"):
        segments.backward(p.doutput)
    segments.forward()
    first, second = segments.backward(p.doutput), segments.backward(p.doutput)
    assert first[0].tobytes() == second[0].tobytes()
    assert all(first[1][n].tobytes() == second[1][n].tobytes() for n in first[1])


def test_the_gradient_function_sees_the_outputs_again():
    case = Case("lstm", T=300, B=10, dtype="float32")
    p = problem_of(case)
    seen = {}
    segments = F.lstm_segments(p.x, p.weights, segment_steps=102)
    outputs = {}
    segments.forward(outputs.__setitem__)
    segments.backward(lambda start, stop, output: seen.__setitem__(start, output))
    assert all(seen[start].tobytes() == outputs[start].tobytes() for start in outputs)


def test_segments_keep_to_a_memory_limit():
    case = Case("lstm", T=1200, B=16, I=8, H=64, dtype="float32", states=False)
    p = problem_of(case)
    sizes, bits = [], set()
    for limit in (None, 8 * 10**6, 4 * 10**6, 2 * 10**6, 10**6, "800 kB"):
        segments = F.lstm_segments(p.x, p.weights, memory_limit=limit)
        segments.forward()
        _, dweights = segments.backward(p.doutput)
        sizes.append(segments.nbytes)
        bits.add(dweights["weight_hh_l0"].tobytes())
        assert limit is None or segments.nbytes <= (800_000 if isinstance(limit, str) else limit)
    assert sizes == sorted(sizes, reverse=True)
    assert len(bits) == 1
    with pytest.raises(ValueError, match=r"memory_limit: expected at least \d+ bytes.*got 1000"):
        F.lstm_segments(p.x, p.weights, memory_limit=1000)


# ---- inputs --------------------------------------------------------------------------------------


def test_an_input_on_disk_is_read_by_segments(tmp_path):
    case = Case("gru", T=3000, B=4, I=6, H=12, dtype="float32")
    p = problem_of(case)
    path = tmp_path / "x.npy"
    np.save(path, p.x)
    x = np.load(path, mmap_mode="r")
    assert isinstance(x, np.memmap)
    segments = F.gru_segments(x, p.weights, p.h0, segment_steps=256)
    segments.forward()
    _, dweights = segments.backward(np.load(path, mmap_mode="r")[..., :1].repeat(12, axis=-1))
    result = run_cell_forward("gru", p.x, p.weights, p.h0)
    expected = run_cell_backward("gru", result.cache, p.x[..., :1].repeat(12, axis=-1))
    assert all(dweights[n].tobytes() == expected.weights[n].tobytes() for n in dweights)


def test_the_rows_of_continuous_batches_can_be_trained_as_whole_sequences(tmp_path):
    ids = np.lib.format.open_memmap(tmp_path / "ids.npy", "w+", np.int32, (4 * 2000 + 1,))
    ids[:] = np.arange(len(ids)) % 7
    batches = continuous_batches(ids, batch_size=4, steps=50)
    assert np.shares_memory(batches.x, ids)  # nothing was read into memory
    table = np.eye(7, dtype=np.float32)
    case = Case("gru", I=7, H=5, dtype="float32")
    weights = problem_of(case).weights
    segments = F.gru_segments(
        lambda a, b: table[batches.x[:, a:b].T], weights, shape=batches.x.shape[::-1]
    )
    state = segments.forward()
    expected = None
    for x, _ in batches:
        _, expected, _ = F.gru_forward(table[x.T], weights, expected, training=False)
    assert state.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            dict(x=np.zeros((9, 4), np.float32)),
            ValueError,
            r"x: expected shape \(T, B, 3\), T >= 1",
        ),
        (dict(x=np.zeros((0, 4, 3), np.float32)), ValueError, "T >= 1"),
        (dict(x=[1, 2]), TypeError, r"x: expected an array, or a function .* twice, got list"),
        (dict(x=iter([1]), shape=(5, 4)), TypeError, "x: expected .* twice, got list_iterator"),
        (dict(x=(a for a in "ab")), TypeError, "x: expected .* twice, got generator"),
        (dict(x=len), ValueError, r"shape: expected \(T, B\), two ints, .*, got None"),
        (dict(x=len, shape=300), ValueError, "shape: expected .*, got 300"),
        (dict(x=len, shape=(300, 4.0)), ValueError, r"shape: expected .*, got \(300, 4.0\)"),
        (dict(x=len, shape=(300, 4, 3)), ValueError, r"shape: expected .*, got \(300, 4, 3\)"),
        (dict(x=len, shape=(0, 4)), ValueError, "shape: expected T >= 1"),
        (dict(x=len, shape=(300, -1)), ValueError, "B >= 0"),
        (dict(x=len, shape=(10**25, 2)), ValueError, r"shape: expected at most \d+ .*\(1000"),
        (dict(x=len, shape=(2**62, 2**62)), ValueError, "shape: expected at most"),
        (dict(shape=(5, 4)), ValueError, "shape: expected None where x is an array"),
        (dict(segment_steps=0), ValueError, "segment_steps: expected 1 or more"),
        (dict(segment_steps=5, memory_limit=5), ValueError, "memory_limit: expected None beside"),
        (dict(lengths=[1, 2]), ValueError, r"lengths: expected shape \(4,\)"),
        (dict(state=np.zeros((1, 4, 6), np.float32)), ValueError, r"h0: expected shape"),
        (dict(dropout=2.0), ValueError, "dropout"),
        (dict(input_dropout=2.0), ValueError, "input_dropout"),
    ],
)
def test_wrong_arguments_are_named(changes, error, message):
    weights = problem_of(Case("gru", dtype="float32")).weights
    arguments = dict(x=np.zeros((300, 4, 3), np.float32), weights=weights) | changes
    with pytest.raises(error, match=message):
        F.gru_segments(**arguments)


def test_what_is_to_consume_must_be_a_function():
    p = problem_of(Case("gru", dtype="float32"))
    segments = F.gru_segments(p.x, p.weights)
    with pytest.raises(TypeError, match=r"consume: expected a function \(start, array\), got 5"):
        segments.forward(5)
    segments.forward()
    with pytest.raises(TypeError, match="consume: expected a function"):
        segments.backward(consume=[])


def test_two_directions_are_refused():
    case = Case("lstm", bidirectional=True, dtype="float32")
    p = problem_of(case)
    with pytest.raises(ValueError, match="weights: expected one direction"):
        F.lstm_segments(p.x, p.weights)


def test_what_functions_return_is_checked():
    case = Case("gru", T=300, B=10, dtype="float32")
    p = problem_of(case)

    def gru(x, doutput=None):
        segments = F.gru_segments(x, p.weights, shape=(300, 10), segment_steps=102)
        segments.forward()
        segments.backward(doutput)

    with pytest.raises(ValueError, match=r"x: .*\(102, 10, 3\) for the steps 0 .. 101, got \(9,"):
        gru(lambda a, b: p.x[:9])
    with pytest.raises(TypeError, match="x: expected float32, got float64"):
        gru(lambda a, b: p.x[a:b].astype(float))
    rows = F.Rows(p.x[0], np.zeros((102, 10), np.int64))
    with pytest.raises(TypeError, match=r"x: expected an array for the steps 0 .. 101, got Rows"):
        F.gru_segments(lambda a, b: rows, p.weights, shape=(300, 10), segment_steps=102).forward()
    with pytest.raises(ValueError, match=r"doutput: .*\(96, 10, 7\) for the steps 204 .. 299"):
        gru(lambda a, b: p.x[a:b], lambda a, b, output: output[:-1])
    with pytest.raises(ValueError, match=r"doutput: expected shape \(300, 10, 7\), got \(1,"):
        gru(lambda a, b: p.x[a:b], p.doutput[:1])


def test_what_a_function_does_to_an_output_is_an_error_and_never_a_wrong_gradient():
    p = problem_of(Case("gru", T=300, B=10, dtype="float32"))
    segments = F.gru_segments(p.x, p.weights, segment_steps=102)

    def mse(start, stop, output):
        output -= 1
        return output

    with pytest.raises(ValueError, match="read-only"):
        segments.forward(lambda start, output: np.negative(output, out=output))
    segments.forward()
    for first in (0, 204):  # of a segment that is computed again, and of the last, which was kept
        with pytest.raises(ValueError, match="read-only"):
            segments.backward(lambda a, b, o, at=first: mse(a, b, o) if a == at else None)


def test_an_input_function_may_fill_one_buffer_again_and_again():
    p = problem_of(Case("lstm", T=300, B=10, dtype="float32"))
    buffer = np.empty((102, *p.x.shape[1:]), np.float32)

    def read(start, stop):
        buffer[: stop - start] = p.x[start:stop]
        return buffer[: stop - start]

    class Slices:
        shape = p.x.shape

        def __getitem__(self, steps):
            return read(steps.start, steps.stop)

    def gradient(start, stop, output):
        buffer[:] = 7  # scratch memory of the caller's
        return output

    def gradients(x, **options):
        segments = F.lstm_segments(x, p.weights, segment_steps=102, **options)
        segments.forward()
        return [segments.backward(gradient)[1] for _ in range(2)]

    expected = gradients(p.x)[0]
    for found in (*gradients(read, shape=(300, 10)), *gradients(Slices())):
        assert all(d.tobytes() == expected[name].tobytes() for name, d in found.items())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_stops_between_chunks():
    code = """
import numpy as np, os, signal, threading, fastrnn.functional as F
weights = {"weight_ih_l0": np.zeros((256, 8), np.float32),
           "weight_hh_l0": np.zeros((256, 64), np.float32)}
x = np.broadcast_to(np.float32(1), (10_000_000, 8, 8))
segments = F.lstm_segments(x, weights)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    segments.forward()
except KeyboardInterrupt:
    print("stopped")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "stopped\n", done.stderr


# ---- checkpoints of the state in the ordinary calls ----------------------------------------------


@pytest.mark.parametrize("layers", [1, 3])
@cells
def test_a_call_without_an_output_keeps_states_alone(cell, layers):
    case = Case(cell, T=20000, B=2, I=4, H=10, layers=layers, dtype="float32", lengths="ragged")
    p = problem_of(case)
    answers = []
    for recompute in ("none", "checkpoint"):
        result = run_cell_forward(
            cell, p.x, p.weights, p.h0, p.c0, lengths=p.lengths, return_output=False,
            recompute=recompute, **case.options,
        )  # fmt: skip
        gradients = run_cell_backward(cell, result.cache, None, p.dh, p.dc)
        answers.append((result, gradients))
    assert answers[1][0].output is None
    assert answers[1][0].h.tobytes() == answers[0][0].h.tobytes()
    assert_same_bits(answers[1][1], answers[0][1])
    cache = answers[1][0].cache
    assert cache.recompute == "checkpoint"
    assert cache.nbytes < 0.6 * answers[0][0].cache.nbytes  # one segment of 4,096 steps


@cells
def test_checkpoints_of_a_stack_do_not_keep_the_inner_layers(cell):
    case = Case(cell, T=9000, B=4, I=4, H=16, layers=3, dtype="float32")
    p = problem_of(case)
    answers = []
    for mode in ("none", "checkpoint"):
        result = run_cell_forward(
            cell,
            p.x,
            p.weights,
            p.h0,
            p.c0,
            recompute=mode,
            dropout=0.3,
            input_dropout=0.2,
            seed=SEED,
            **case.options,
        )
        answers.append((result, run_cell_backward(cell, result.cache, p.doutput, p.dh, p.dc)))
    assert_same_bits(answers[1][0], answers[0][0])
    assert_same_bits(answers[1][1], answers[0][1])
    assert answers[1][0].cache.nbytes < 0.3 * answers[0][0].cache.nbytes


def test_a_gradient_by_an_output_that_was_not_wanted_is_refused():
    p = problem_of(Case("gru", dtype="float32"))
    output, _, cache = F.gru_forward(p.x, p.weights, return_output=False)
    assert output is None
    with pytest.raises(ValueError, match=r"doutput: expected None .* return_output=False"):
        F.gru_backward(cache, p.doutput)
