"""Recomputing: the same bits as without, and less memory."""

import numpy as np
import pytest

from cases import (
    CELLS,
    Case,
    assert_same_bits,
    pairwise,
    problem_of,
    row_id,
    run_backward,
    run_forward,
    settings,
    stacked,
)
from masks import SEED

MODES = ["gates", "checkpoint"]
modes = pytest.mark.parametrize("mode", MODES)
cells = pytest.mark.parametrize("cell", CELLS)

# T * B is more than the 1,024 tokens of a chunk in the first four, whose chunks have 512, 341, 25
# and 1 steps; threads share the first two by hidden units, the others by rows of the batch.
SHAPES = {
    "long": dict(T=600, B=2, I=3, H=130),
    "middle": dict(T=700, B=3, I=20, H=40),
    "wide": dict(T=60, B=40, I=5, H=33),
    "widest": dict(T=3, B=1500, I=4, H=17),
    "short": dict(T=7, B=4, I=150, H=9),
}
GRID = pairwise(
    shape=list(SHAPES),
    cell=list(CELLS),
    dtype=["float32", "float64"],
    lengths=["none", "zeros"],
    layers=[1, 2, 3],
    bidirectional=[False, True],
    dropout=[(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)],
    biases=["both", "ih", "none"],
    threads=[1, 2, 7],
    mode=MODES,
    states=[True, False],
)


@pytest.mark.parametrize("row", GRID, ids=row_id)
def test_recomputing_gives_the_same_bits(row, isa):
    row = dict(row)
    threads, mode, dropout = row.pop("threads"), row.pop("mode"), row.pop("dropout")
    options = dict(dropout=dropout[0], input_dropout=dropout[1], seed=SEED)
    case = Case(**SHAPES[row.pop("shape")], **row)
    answers = []
    for recompute, count in (("none", 1), (mode, threads)):
        with settings(threads=count):
            result = run_forward(case, recompute=recompute, **options)
            assert result.cache.recompute == recompute
            answers.append((result, run_backward(case, result.cache)))
    assert_same_bits(answers[1][0], answers[0][0])
    assert_same_bits(answers[1][1], answers[0][1])


@modes
@cells
def test_recomputing_gives_the_same_bits_for_any_layout_and_stride(cell, mode):
    case = Case(cell, T=700, B=3, I=20, H=40, dtype="float32", lengths="ragged")
    gradients = [
        run_backward(
            case, run_forward(case, batch_first=first, recompute=how).cache, batch_first=first
        )
        for first, how in ((False, "none"), (True, mode))
    ]
    assert_same_bits(gradients[1], gradients[0])
    p = problem_of(case)
    wide = np.full((case.T, case.B, case.I + 3), np.nan, np.float32)
    wide[..., 1:-2] = p.x
    strided = run_forward(case, x=wide[..., 1:-2], recompute=mode)
    assert_same_bits(run_backward(case, strided.cache), gradients[0])


@modes
@cells
def test_a_cache_that_recomputes_can_be_used_twice_and_with_other_threads(cell, mode):
    case = stacked(cell, B=3, H=130, T=400)
    with settings(threads=7):
        cache = run_forward(case, recompute=mode).cache
    answers = []
    for threads in (2, 7, 1):
        with settings(threads=threads):
            answers.append(run_backward(case, cache))
    assert_same_bits(answers[1], answers[0])
    assert_same_bits(answers[2], answers[0])


@modes
@pytest.mark.parametrize("lengths", [[0, 0], None], ids=["no step", "no sequence"])
@cells
def test_nothing_to_recompute_is_no_error(cell, lengths, mode):
    case = Case(cell, B=2 if lengths else 0)
    result = run_forward(case, recompute=mode, lengths=lengths)
    gradients = run_backward(case, result.cache)
    assert all(not g.any() for g in gradients.weights.values())


def test_what_is_not_finite_comes_back_as_it_was():
    case = Case(T=700, B=3, I=4, H=7, dtype="float32")
    x = problem_of(case).x.copy()
    x[333, 1] = np.inf
    answers = []
    for mode in ("none", "checkpoint"):
        result = run_forward(case, x=x, recompute=mode)
        answers.append(run_backward(case, result.cache))
    assert np.isnan(answers[0].weights["weight_hh_l0"]).any()
    assert_same_bits(answers[1], answers[0])


# ---- memory --------------------------------------------------------------------------------------


def kept_per_token(cell, mode, H=64, steps=8192):
    case = Case(cell, T=steps, B=2, I=4, H=H, dtype="float32", states=False)
    return run_forward(case, recompute=mode).cache.nbytes / (case.T * case.B)


@cells
def test_a_cache_holds_what_the_documentation_says(cell):
    # docs/memory.md; the layout pads each chunk of 1,024 tokens and 16 units by 64 bytes.
    H, size = 64, 4
    gates = {"lstm": 4, "gru": 4}.get(cell, 0) * H * size
    c = H * size if cell == "lstm" else 0
    assert kept_per_token(cell, "none") == pytest.approx(gates + c, rel=0.01)
    assert kept_per_token(cell, "gates") == pytest.approx(c, rel=0.01)
    assert kept_per_token(cell, "checkpoint") == c / 512


@modes
def test_inner_layers_keep_their_output_once(mode):
    case = Case("gru", T=100, B=4, I=3, H=32, layers=3, bidirectional=True, dtype="float32")
    cache = run_forward(case, recompute=mode, dropout=0.5, seed=SEED).cache
    assert cache.nbytes == 2 * 100 * 4 * 64 * 4


# ---- the choice ----------------------------------------------------------------------------------


def choose(limit, recompute=None, **changes):
    case = Case(T=2000, B=4, I=3, H=32, dtype="float32")
    return run_forward(case, recompute=recompute, memory_limit=limit, **changes).cache


def test_a_limit_chooses_the_fastest_mode_that_keeps_to_it():
    sizes = {mode: choose(None, mode).nbytes for mode in ("none", *MODES)}
    assert sizes["none"] > 4 * sizes["gates"] > 4 * sizes["checkpoint"]
    for mode, size in sizes.items():
        cache = choose(size)
        assert (cache.recompute, cache.nbytes) == (mode, size)
    assert choose(sizes["none"] - 1).recompute == "gates"
    assert choose(sizes["gates"] - 1, "auto").recompute == "checkpoint"
    with pytest.raises(ValueError, match=f"memory_limit: expected at least {sizes['checkpoint']}"):
        choose(sizes["checkpoint"] - 1)


def test_auto_keeps_everything_where_memory_is_plenty():
    assert choose(None, "auto").recompute == "none"
    assert choose(None).recompute == "none"
    assert "recompute='gates'" in repr(choose(None, "gates"))


def test_inference_keeps_nothing_and_asks_for_no_memory():
    assert choose(0, training=False) is None


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("512MB", 512 * 10**6), ("1.5 GiB", 3 << 29), ("20kb", 20_000), ("7 B", 7)],
)
def test_a_limit_may_be_text(text, bytes_):
    from fastrnn._memory import parse_bytes

    assert parse_bytes("memory_limit", text) == bytes_


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            dict(recompute="some"),
            ValueError,
            r"recompute: expected one of .*'checkpoint'.*got 'some'",
        ),
        (dict(recompute=3), ValueError, "recompute: expected one of"),
        (
            dict(recompute="gates", memory_limit=5),
            ValueError,
            'memory_limit: goes with recompute="auto"',
        ),
        (
            dict(memory_limit="5 apples"),
            ValueError,
            'memory_limit: expected bytes.*"512MB".*apples',
        ),
        (
            dict(memory_limit="9" * 400 + "TB"),
            ValueError,
            'memory_limit: expected bytes.*"512MB".*9TB',
        ),
        (dict(memory_limit=-1), ValueError, "memory_limit: expected 0 or more, got -1"),
        (dict(memory_limit=1.5), TypeError, "memory_limit: expected bytes"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        run_forward(Case(), **options)


def test_available_memory_is_the_least_of_the_machines_and_the_groups(tmp_path):
    from fastrnn._memory import available

    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    assert available(tmp_path) == 2000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    assert available(tmp_path) == 2000 * 1024
    (group / "memory.max").write_text("1005\n")
    assert available(tmp_path) == 1000
    assert available() > 0
