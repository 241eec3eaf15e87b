"""What the tests share: cases and their arrays, one calling form for all cells, comparison."""

import functools
import itertools
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from fastrnn import functional as F
from fastrnn import runtime
from reference import recurrent as reference

CELLS = tuple(reference.GATES)

# Relative to the largest element of an array. Measured over 1,600 cases: results 1.5e-6 and
# 2.9e-15, gradients 6.6e-6 and 2.9e-14 (sums over time that cancel). That is K fused multiply-adds,
# which err by about sqrt(K) u with u = 6e-8 and 1e-16, handed on from step to step.
TOLERANCE = {np.dtype("float32"): 1e-5, np.dtype("float64"): 2e-14}


# Half a unit in the last place of 1: what one rounding may change, relatively.
U = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Case:
    """One recurrent problem without the way in which it is run (ISA, threads, layout)."""

    cell: str = "lstm"
    T: int = 5
    B: int = 4
    I: int = 3  # noqa: E741 (the letters of the equations)
    H: int = 7
    layers: int = 1
    bidirectional: bool = False
    dtype: str = "float64"
    lengths: str = "none"  # or "full", "ragged", "zeros" (ragged, one sequence empty)
    biases: str = "both"  # or "ih", "none"
    states: bool = True

    @property
    def directions(self):
        return 1 + self.bidirectional

    @property
    def options(self):
        return {"num_layers": self.layers, "bidirectional": self.bidirectional}


def stacked(cell, **changes):
    """Two layers, both directions, unsorted lengths with an empty sequence."""
    return replace(
        Case(cell=cell, T=6, B=5, I=4, H=19, layers=2, bidirectional=True, lengths="zeros"),
        **changes,
    )


# With these sizes `stacked` is worth a team in every cell: a member needs 5e5 floating-point
# operations (cpp/parallel/team.cpp), and less is done by one thread whatever was asked for.
WORTH_A_TEAM = {"B": 8, "H": 70}


@dataclass(frozen=True)
class Problem:
    """The arrays of a case, time-major; c0, dc and dcells are None for a cell without c."""

    x: np.ndarray
    weights: dict
    h0: np.ndarray | None
    c0: np.ndarray | None
    lengths: np.ndarray | None
    doutput: np.ndarray
    dh: np.ndarray
    dc: np.ndarray | None
    dcells: np.ndarray | None


@dataclass
class Result:
    output: np.ndarray
    h: np.ndarray
    c: np.ndarray | None
    cells: np.ndarray | None
    cache: object


def random_weights(rng, case):
    """PyTorch's names; standard deviation 1 / sqrt(columns), so that pre-activations are of order
    1."""
    weights, gates = {}, reference.GATES[case.cell] * case.H
    for layer, suffix in itertools.product(range(case.layers), ("", "_reverse")[: case.directions]):
        columns = case.I if layer == 0 else case.directions * case.H
        shapes = {"weight_ih": (gates, columns), "weight_hh": (gates, case.H)}
        if case.biases != "none":
            shapes["bias_ih"] = (gates,)
        if case.biases == "both":
            shapes["bias_hh"] = (gates,)
        for kind, shape in shapes.items():
            array = rng.normal(size=shape) / np.sqrt(shape[-1] if len(shape) == 2 else 4)
            weights[f"{kind}_l{layer}{suffix}"] = array.astype(case.dtype)
    return weights


def random_lengths(rng, case):
    if case.lengths == "none":
        return None
    if case.lengths == "full":
        return np.full(case.B, case.T)
    lengths = rng.integers(1, case.T + 1, size=case.B)
    if case.lengths == "zeros" and case.B:
        lengths[rng.integers(case.B)] = 0
    return lengths


@functools.cache
def problem_of(case):
    rng = np.random.default_rng(20)
    state_shape = (case.layers * case.directions, case.B, case.H)
    output_shape = (case.T, case.B, case.directions * case.H)

    def array(shape, wanted=True):
        return rng.normal(size=shape).astype(case.dtype) if wanted else None

    lstm = case.cell == "lstm"
    return Problem(
        x=array((case.T, case.B, case.I)),
        weights=random_weights(rng, case),
        h0=array(state_shape, case.states),
        c0=array(state_shape, case.states and lstm),
        lengths=random_lengths(rng, case),
        doutput=array(output_shape),
        dh=array(state_shape),
        dc=array(state_shape, lstm),
        dcells=array(output_shape, lstm),
    )


@functools.cache
def expected_forward(case):
    p = problem_of(case)
    return reference.forward(
        case.cell, p.x, p.weights, p.h0, p.c0, lengths=p.lengths, **case.options
    )


@functools.cache
def expected_backward(case):
    p = problem_of(case)
    return reference.backward(
        case.cell,
        expected_forward(case),
        p.x,
        p.weights,
        p.doutput,
        p.dh,
        p.dc,
        p.dcells,
        lengths=p.lengths,
        **case.options,
    )


# ---- one calling form for all cells --------------------------------------------------------------


def forward(cell, x, weights, h0=None, c0=None, **options):
    if cell == "lstm":
        state = None if h0 is None and c0 is None else (h0, c0)
        output, (h, c), cache, *cells = F.lstm_forward(x, weights, state, **options)
        return Result(output, h, c, cells[0] if cells else None, cache)
    if cell == "gru":
        return Result(*_without_c(F.gru_forward(x, weights, h0, **options)))
    nonlinearity = cell.removeprefix("rnn_")
    return Result(*_without_c(F.rnn_forward(x, weights, h0, nonlinearity=nonlinearity, **options)))


def _without_c(returned):
    output, h, cache = returned
    return output, h, None, None, cache


def backward(cell, cache, doutput=None, dh=None, dc=None, dcells=None):
    if cell == "lstm":
        dstate = None if dh is None and dc is None else (dh, dc)
        dx, (dh0, dc0), dweights = F.lstm_backward(cache, doutput, dstate, dcells)
        return reference.Gradients(dx, dh0, dc0, dweights)
    undo = F.gru_backward if cell == "gru" else F.rnn_backward
    dx, dh0, dweights = undo(cache, doutput, dh)
    return reference.Gradients(dx, dh0, None, dweights)


def run_forward(case, *, batch_first=False, training=True, **changes):
    """The core's answer to a case, time-major whatever the layout; `changes` replace arguments."""
    p = problem_of(case)
    x = p.x.swapaxes(0, 1).copy() if batch_first else p.x
    arguments = dict(x=x, weights=p.weights, h0=p.h0, c0=p.c0, lengths=p.lengths) | case.options
    if case.cell == "lstm":
        arguments["return_cells"] = True
    arguments |= dict(batch_first=batch_first, training=training) | changes
    result = forward(case.cell, **arguments)
    if batch_first:
        result.output = result.output.swapaxes(0, 1)
        result.cells = None if result.cells is None else result.cells.swapaxes(0, 1)
    return result


def run_backward(case, cache, *, batch_first=False):
    p = problem_of(case)
    doutput, dcells = p.doutput, p.dcells
    if batch_first:
        doutput = doutput.swapaxes(0, 1).copy()
        dcells = None if dcells is None else dcells.swapaxes(0, 1).copy()
    gradients = backward(case.cell, cache, doutput, p.dh, p.dc, dcells)
    if batch_first and gradients.x.ndim == 3:  # not a table's, where x was F.Rows
        gradients.x = gradients.x.swapaxes(0, 1)
    return gradients


@contextmanager
def settings(isa=None, threads=None):
    """Another ISA and number of threads for a while."""
    before = runtime.get_isa(), runtime.get_num_threads()
    try:
        if isa is not None:
            runtime.set_isa(isa)
        if threads is not None:
            runtime.set_num_threads(threads)
        yield
    finally:
        runtime.set_isa(before[0])
        runtime.set_num_threads(before[1])


# ---- samples -------------------------------------------------------------------------------------

DTYPES = ["float32", "float64"]
LENGTHS = ["none", "full", "ragged", "zeros"]
BIASES = ["both", "ih", "none"]
ANY_CASE = st.builds(
    Case,
    cell=st.sampled_from(CELLS),
    T=st.integers(1, 9),
    B=st.integers(0, 15),
    I=st.integers(1, 40),
    H=st.integers(1, 70),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    lengths=st.sampled_from(LENGTHS),
    biases=st.sampled_from(BIASES),
    states=st.booleans(),
)


# ---- comparison ----------------------------------------------------------------------------------


def named_arrays(answer):
    """The arrays of a Result, Forward or Gradients under their names, None left out."""
    names = [n for n in ("output", "h", "c", "cells", "x", "h0", "c0") if hasattr(answer, n)]
    arrays = {name: getattr(answer, name) for name in names} | getattr(answer, "weights", {})
    return {name: array for name, array in arrays.items() if array is not None}


def assert_close(actual, expected, dtype):
    """The core returned the reference's arrays, and each agrees with the one of that name."""
    actual, wanted = named_arrays(actual), named_arrays(expected)
    assert actual.keys() == wanted.keys()
    relative = TOLERANCE[np.dtype(dtype)] * (5 if isinstance(expected, reference.Gradients) else 1)
    for name, array in actual.items():
        assert array.dtype == dtype, name
        assert array.shape == wanted[name].shape, name
        largest = np.abs(wanted[name]).max(initial=0)
        error = np.abs(array - wanted[name]).max(initial=0)
        assert error <= relative * largest, f"{name}: error {error:.3g} of {largest:.3g}"


def assert_same_bits(actual, expected):
    """Two answers hold the same arrays, bit for bit."""
    actual, expected = named_arrays(actual), named_arrays(expected)
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype), name
        assert array.tobytes() == expected[name].tobytes(), name


def assert_same_for_any_threads(compute):
    """`compute` returns a list of arrays and numbers; returns those of one thread."""
    answers = []
    for threads in (1, 2, 7):
        with settings(threads=threads):
            answers.append([np.asarray(a) for a in compute()])
    for answer in answers[1:]:
        assert [a.tobytes() for a in answer] == [a.tobytes() for a in answers[0]]
    return answers[0]


def filled(shape, dtype):
    """An output that holds no right answer yet."""
    return np.full(shape, np.nan, dtype)


# ---- covering samples ----------------------------------------------------------------------------


def pairwise(**factors):
    """Rows (dicts) such that any two values of two factors meet in one of them; the same rows every
    time."""
    values = [(name, value) for name, options in factors.items() for value in options]
    missing = {pair: None for pair in itertools.combinations(values, 2) if pair[0][0] != pair[1][0]}
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for name in factors:
            if name not in row:
                turned = factors[name][len(rows) % len(factors[name]) :] + factors[name]
                row[name] = max(turned, key=lambda v: _new_pairs(missing, row, name, v))
        rows.append({name: row[name] for name in factors})
        for pair in itertools.combinations(rows[-1].items(), 2):
            missing.pop(pair, None)
    return rows


def _new_pairs(missing, row, name, value):
    item = (name, value)
    return sum((item, other) in missing or (other, item) in missing for other in row.items())


def row_id(row):
    return "-".join(f"{name}={value}".replace(" ", "") for name, value in row.items())
