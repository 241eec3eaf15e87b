"""An input whose steps share rows of a table: the bits of the same input written out."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastrnn
from cases import (
    ANY_CASE,
    CELLS,
    TOLERANCE,
    WORTH_A_TEAM,
    Case,
    Result,
    assert_close,
    assert_same_bits,
    assert_same_for_any_threads,
    backward,
    expected_backward,
    forward,
    named_arrays,
    problem_of,
    run_backward,
    run_forward,
    settings,
    stacked,
)
from fastrnn import functional as F
from fastrnn._load import core
from fastrnn.layers import GRU, LSTM, RNN, Bidirectional, Dense, Dropout, Embedding
from fastrnn.model import Sequential

SHAPES = {
    "one": dict(T=6, B=5, I=4, H=19),
    "wide": dict(T=3, B=9, I=33, H=70),
    "of a team": dict(T=8, B=20, I=40, H=120),
    "single row": dict(T=5, B=1, I=7, H=32),
    "several chunks": dict(T=50, B=70, I=3, H=5),
    "full": dict(T=4, B=5, I=6, H=50, lengths="full"),
    "ragged": dict(T=6, B=7, I=5, H=33, lengths="zeros"),
}


def shared(case, rows=4, seed=0):
    """Rows for the x of a case, one row of the table not used, and x written out."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows + 1, case.I)).astype(case.dtype)
    index = rng.integers(0, rows, size=(case.T, case.B))
    return F.Rows(table, index), table[index]


def by_row(rows, dx):
    """The gradient of a table from that of x."""
    total = np.zeros(rows.table.shape, np.float64)
    np.add.at(total, rows.index, dx)
    return total.astype(dx.dtype)


def assert_sums(gradients, rows, written):
    """The gradients of a pass with rows are those of x written out, that of x added up by row."""
    dtype, dx = written.x.dtype, written.x
    assert (gradients.x.dtype, gradients.x.shape) == (dtype, rows.table.shape)
    # Few numbers may cancel in a sum: its error goes by their sizes.
    largest = by_row(rows, np.abs(dx)).max(initial=0)
    assert np.abs(gradients.x - by_row(rows, dx)).max(initial=0) <= 5 * TOLERANCE[dtype] * largest
    assert_close(replace(gradients, x=None), replace(written, x=None), dtype)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_are_the_same_bits_and_gradients_the_same_sums(cell, shape, dtype, isa, threads):
    case = Case(cell, dtype=dtype, **shape)
    rows, x = shared(case)
    looked_up, written = run_forward(case, x=rows), run_forward(case, x=x)
    assert_same_bits(looked_up, written)
    assert_sums(run_backward(case, looked_up.cache), rows, run_backward(case, written.cache))
    assert_same_bits(run_forward(case, x=rows, training=False), without_cache(written))


def without_cache(result):
    return Result(result.output, result.h, result.c, result.cells, None)


@pytest.mark.parametrize("cell", CELLS)
def test_in_a_stack_of_both_directions_too(cell, dtype, isa, threads):
    case = stacked(cell, dtype=dtype, **WORTH_A_TEAM)
    rows, x = shared(case)
    looked_up, written = run_forward(case, x=rows), run_forward(case, x=x)
    assert_same_bits(looked_up, written)
    assert_sums(run_backward(case, looked_up.cache), rows, run_backward(case, written.cache))


@pytest.mark.parametrize("cell", CELLS)
def test_they_agree_with_the_reference(cell, dtype):
    case = Case(cell, T=7, B=6, I=5, H=21, lengths="zeros", dtype=dtype)
    p = problem_of(case)
    index = np.arange(case.T * case.B).reshape(case.T, case.B)[::-1]  # each row once
    table = p.x[::-1].reshape(-1, case.I)
    expected = expected_backward(case)
    actual = run_backward(case, run_forward(case, x=F.Rows(table, index)).cache)
    actual.x = actual.x.reshape(p.x.shape)[::-1]
    assert_close(actual, expected, dtype)


@pytest.mark.parametrize("case", [Case(T=40, B=33, I=20, H=40), stacked("gru", T=9, B=40)])
def test_threads_change_no_bit(case):
    rows, _ = shared(case, rows=23)

    def compute():
        result = run_forward(case, x=rows)
        gradients = run_backward(case, result.cache)
        return [*named_arrays(result).values(), *named_arrays(gradients).values()]

    assert_same_for_any_threads(compute)


@given(ANY_CASE, st.integers(1, 40), st.integers(1, 5), st.booleans())
def test_any_shapes(case, count, threads, batch_first):
    rows, x = shared(case, count)
    given_rows = F.Rows(rows.table, rows.index.T) if batch_first else rows
    with settings(threads=threads):
        looked_up = run_forward(case, x=given_rows, batch_first=batch_first)
        written = run_forward(case, x=x)
        assert_same_bits(looked_up, written)
        actual = run_backward(case, looked_up.cache, batch_first=batch_first)
        assert_sums(actual, rows, run_backward(case, written.cache))


def test_sequences_without_a_batch_axis():
    case = Case("lstm", T=9, B=1, I=5, H=11, states=False)
    rows, x = shared(case)
    p = problem_of(case)
    alone = F.Rows(rows.table, rows.index[:, 0])
    output, _, cache = F.lstm_forward(alone, p.weights)
    assert np.array_equal(output, F.lstm_forward(x[:, 0], p.weights)[0])
    dx, _, _ = F.lstm_backward(cache, p.doutput[:, 0])
    assert dx.shape == rows.table.shape


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options",
    [
        dict(recompute="gates"),
        dict(recompute="checkpoint"),
        dict(memory_limit="1GB"),
        dict(memory_limit=300_000),
        dict(return_output=False, recompute="checkpoint"),
    ],
    ids=str,
)
def test_what_is_computed_again_changes_no_bit(cell, layers, options):
    case = Case(cell, T=120, B=70, I=6, H=9, layers=layers, lengths="zeros", dtype="float32")
    rows, _ = shared(case, rows=150)
    p = problem_of(case)
    asked = dict(lengths=p.lengths, **case.options)
    kept = forward(cell, rows, p.weights, p.h0, p.c0, **asked)
    again = forward(cell, rows, p.weights, p.h0, p.c0, **asked, **options)
    doutput = None if options.get("return_output") is False else p.doutput
    expected = backward(cell, kept.cache, doutput, p.dh, p.dc)
    assert_same_bits(backward(cell, again.cache, doutput, p.dh, p.dc), expected)
    assert_same_bits(backward(cell, again.cache, doutput, p.dh, p.dc), expected)  # once more
    assert np.array_equal(again.h, kept.h)


def test_a_dropped_input_gets_the_bits_of_x_written_out():
    case = Case("lstm", T=30, B=70, I=6, H=9)
    rows, x = shared(case)
    p = problem_of(case)
    options = dict(input_dropout=0.5, seed=3)
    runs = [forward("lstm", each, p.weights, p.h0, p.c0, **options) for each in (rows, x)]
    assert_same_bits(*(without_cache(run) for run in runs))
    looked_up, written = (backward("lstm", run.cache, p.doutput, p.dh, p.dc) for run in runs)
    sums = by_row(rows, written.x)
    assert np.abs(looked_up.x - sums).max() <= 1e-12 * np.abs(sums).max()
    looked_up.x = written.x
    assert_same_bits(looked_up, written)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("recompute", ["none", "gates"])
def test_a_table_with_more_rows_than_there_are_steps(cell, recompute):
    case = Case(cell, T=6, B=5, I=4, H=19, lengths="zeros")
    rows, x = shared(case, rows=100)
    looked_up = run_forward(case, x=rows, recompute=recompute)
    written = run_forward(case, x=x)
    assert_same_bits(looked_up, written)
    gradients = run_backward(case, looked_up.cache)
    unused = np.setdiff1d(np.arange(101), rows.index)
    assert not gradients.x[unused].any()
    assert_sums(gradients, rows, run_backward(case, written.cache))


def test_a_prepared_layer_takes_them_too():
    case = Case("gru", T=9, B=6, I=5, H=11, states=False)
    rows, x = shared(case)
    layer = fastrnn.Recurrent("gru", problem_of(case).weights)
    for a, b in zip(layer(rows), layer(x), strict=True):
        assert np.array_equal(a, b)


def test_the_documentation_runs():
    page = (Path(__file__).parents[1] / "docs" / "functional.md").read_text()
    (example,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "F.Rows(" in b)
    exec(compile(example, "docs/functional.md", "exec"), {})


def test_segments_of_their_own_reader_do_not():
    rows, _ = shared(Case("lstm"))
    with pytest.raises(TypeError, match=r"x: expected an array or a function .* got Rows"):
        F.lstm_segments(rows, problem_of(Case("lstm")).weights)


def test_a_gradient_that_is_not_wanted_is_not_made():
    case = Case("gru", T=5, B=6, I=4, H=8)
    rows, _ = shared(case)
    p = problem_of(case)
    _, _, cache = F.gru_forward(rows, p.weights)
    dx, _, dweights = F.gru_backward(cache, p.doutput)
    alone, _, nothing = F.gru_backward(cache, p.doutput, need_dweights=False)
    assert np.array_equal(dx, alone)
    assert nothing == {}
    none, _, all_weights = F.gru_backward(cache, p.doutput, need_dx=False)
    assert none is None
    assert all(np.array_equal(all_weights[name], d) for name, d in dweights.items())


def test_rows_are_an_array_when_asked():
    rows = F.Rows(np.arange(6.0).reshape(3, 2), np.array([[2, 0], [1, 1]]))
    assert (rows.shape, rows.ndim, rows.dtype) == ((2, 2, 2), 3, np.float64)
    assert np.array_equal(np.asarray(rows), rows.table[rows.index])
    assert np.asarray(rows, np.float32).dtype == np.float32
    assert repr(rows) == "<Rows of shape (2, 2, 2), 3 different>"
    with pytest.raises(ValueError, match="copy"):
        np.array(rows, copy=False)


@pytest.mark.parametrize(
    ("table", "index", "error", "message"),
    [
        ([[1.0]], np.array([0]), TypeError, "table: expected a NumPy array"),
        (np.zeros(3), np.array([0]), ValueError, r"table: expected shape \(any, any\)"),
        (np.zeros((3, 2)), np.array([0.0]), TypeError, "index: expected integers"),
        (np.zeros((3, 2)), np.array([[0, 3]]), IndexError, r"index: expected 0 .. 2, got 3"),
        (np.zeros((3, 2)), np.array([[-1, 2]]), IndexError, r"index: expected 0 .. 2, got -1"),
    ],
)
def test_wrong_rows_are_errors(table, index, error, message):
    with pytest.raises(error, match=message):
        F.Rows(table, index)


def test_rows_of_another_size_or_type_are_errors_of_x():
    p = problem_of(Case("lstm", I=3, H=4))
    for rows, error, message in (
        (F.Rows(np.zeros((3, 2)), np.zeros((5, 4), int)), ValueError, r"x: expected .*any, 3\)"),
        (F.Rows(np.zeros((3, 3), np.float32), np.zeros((5, 4), int)), TypeError, "x: expected"),
        (F.Rows(np.zeros((3, 3)), np.zeros((5, 4, 2), int)), ValueError, r"x: expected \[T, B"),
        (F.Rows(np.zeros((3, 3)), np.zeros((0, 4), int)), ValueError, "x: expected at least one"),
    ):
        with pytest.raises(error, match=message):
            F.lstm_forward(rows, p.weights)


@pytest.mark.parametrize(
    ("options", "x_rows", "error", "message"),
    [
        ({}, np.full((3, 2), 4), ValueError, r"x_rows: expected rows 0 .. 3 of x, got 4"),
        ({}, np.full((3, 2), -1), ValueError, r"x_rows: expected rows 0 .. 3 of x, got -1"),
        ({}, np.zeros((2, 3), np.int64), ValueError, r"x_rows: expected shape \(3, 2\)"),
        ({}, np.zeros((3, 2), np.int32), TypeError, "x_rows: expected dtype int64"),
        ({"input_dropout": 0.5}, np.zeros((3, 2), np.int64), ValueError, "x_rows: expected None"),
    ],
)
def test_the_core_looks_at_what_it_is_given(options, x_rows, error, message):
    plan = core.Plan("rnn_tanh", True, 3, 2, 5, 4, 1, 1, None, 0.0, 0, True, **options)
    weights = [np.zeros((4, 5)), np.zeros((4, 4)), None, None]
    with pytest.raises(error, match=message):
        core.recurrent_forward(
            plan, np.zeros((4, 5)), weights, None, None, np.zeros((3, 2, 4)), np.zeros((1, 2, 4)),
            None, None, x_rows,
        )  # fmt: skip


# ---- layers --------------------------------------------------------------------------------------

FIRST = {
    "lstm": lambda: LSTM(9, return_sequences=True),
    "gru, last output": lambda: GRU(9),
    "rnn backwards": lambda: RNN(9, go_backwards=True),
    "rnn backwards, sequence": lambda: RNN(9, go_backwards=True, return_sequences=True),
    "repeats at masked steps": lambda: GRU(9, return_sequences=True, zero_output_for_mask=False),
    "both directions": lambda: Bidirectional(LSTM(9, num_layers=2, return_sequences=True)),
    "sum of both": lambda: Bidirectional(GRU(9, return_sequences=True), merge_mode="sum"),
    "dropout": lambda: LSTM(9, dropout=0.4, seed=5),
    "recompute": lambda: LSTM(9, recompute="checkpoint"),
    "stateful": lambda: GRU(9, stateful=True),
    "float64": lambda: LSTM(9, dtype="float64"),
}


class Plain(Embedding):
    """An embedding with a forward pass of its own, which hands on an array."""

    def forward(self, x, *, training=False):
        return super().forward(x, training=training)


def trained(embedding, layer, ids, mask_zero):
    """The output, and the gradients, of a model that begins with these."""
    fastrnn.set_seed(0)
    model = Sequential([embedding(11, 6, mask_zero=mask_zero), layer(), Dense(2)])
    y = model(ids, training=True)
    model.backward(np.random.default_rng(1).normal(size=y.shape).astype(np.float32))
    return model, y


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("layer", FIRST.values(), ids=FIRST)
def test_a_model_looks_words_up_once(layer, mask_zero):
    ids = np.random.default_rng(2).integers(0, 11, size=(8, 7))
    ids[3] = 0
    model, y = trained(Embedding, layer, ids, mask_zero)
    other, expected = trained(Plain, layer, ids, mask_zero)
    assert np.array_equal(y, expected)
    assert np.array_equal(model(ids), other(ids))
    gradients, wanted = model.gradients, other.gradients
    for name, other_name in zip(gradients, wanted, strict=True):
        a, b = np.asarray(gradients[name]), np.asarray(wanted[other_name])
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 5e-6 * np.abs(b).max(initial=1e-30), name


def rows_taken(monkeypatch, layers):
    """Whether the core was given rows."""
    seen = []
    original = core.recurrent_forward

    def watched(*arguments):
        seen.append(arguments[9] is not None)
        return original(*arguments)

    monkeypatch.setattr(core, "recurrent_forward", watched)
    Sequential(layers)(np.zeros((8, 5), int))
    return seen


def test_only_by_layers_that_say_so(monkeypatch):
    class Doubled(LSTM):
        def forward(self, x, *, mask=None, training=False):
            return super().forward(2 * x, mask=mask, training=training)

    def first(*layers):
        return rows_taken(monkeypatch, layers)

    assert first(Embedding(50, 6), LSTM(4)) == [True]
    assert first(Embedding(50, 6), Doubled(4)) == [False]
    assert first(Plain(50, 6), LSTM(4)) == [False]
    assert first(Embedding(50, 6), Dropout(0.1), LSTM(4)) == [False]


def test_an_id_that_is_none_is_said_where_it_stands():
    model = Sequential([Embedding(5, 3), LSTM(2)])
    ids = np.zeros((2, 4), int)
    ids[1, 2] = 5
    with pytest.raises(IndexError, match=r"layer 'embedding': .* got 5 at position 6"):
        model(ids)


def test_ids_without_steps_are_an_error_still():
    model = Sequential([Embedding(5, 3), LSTM(2)])
    model(np.zeros((2, 4), int))
    with pytest.raises(ValueError, match=r"x of layer 'lstm': expected 3 dimensions"):
        model(np.zeros(4, int))


def test_a_frozen_table_gets_no_gradient():
    model = Sequential([Embedding(5, 3, trainable=False), LSTM(2)])
    y = model(np.zeros((2, 4), int), training=True)
    model.backward(np.ones_like(y))
    assert set(model.gradients) == {f"lstm.{name}" for name in model.layers[1].parameters}
