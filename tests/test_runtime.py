"""Threads, instruction sets, processes and signals: what a call does to the process around it."""

import concurrent.futures
import contextlib
import os
import sys
import time

import numpy as np
import pytest

import fastrnn
from cases import (
    CELLS,
    Case,
    assert_same_bits,
    forward,
    problem_of,
    run_backward,
    run_forward,
    settings,
    stacked,
)
from fastrnn import _core, runtime
from subprocesses import output_of, run_python

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# A call that is worth several threads, for code that runs in a process of its own.
SETUP = """
import os, signal, sys, time
import numpy as np
import fastrnn
from fastrnn import functional as F
rng = np.random.default_rng(0)
H, I = 256, 16
G = 4 * H
shapes = {"weight_ih": (G, I), "weight_hh": (G, H), "bias_ih": (G,), "bias_hh": (G,)}
weights = {f"{name}_l0": rng.normal(size=s).astype("float32") / 16 for name, s in shapes.items()}
x = rng.normal(size=(20, 56, I)).astype("float32")

def train(x=x):
    output, state, cache = F.lstm_forward(x, weights)
    return output.tobytes() + F.lstm_backward(cache, output)[0].tobytes()
"""


# ---- threads -------------------------------------------------------------------------------------


@linux
def test_seven_threads_are_really_started():
    code = SETUP + """
before = len(os.listdir("/proc/self/task"))
fastrnn.runtime.set_num_threads(7)
train()
print(len(os.listdir("/proc/self/task")) - before)
"""  # fmt: skip
    assert output_of(code) == "6"


LIBGOMP = _core.openmp_runtime() == "libgomp"
AFTER_OUR_SPIN = "5e-05" if LIBGOMP else "0.0009"


@linux
@pytest.mark.parametrize(
    ("code", "environment", "seconds"),
    [
        ("import fastrnn", {}, AFTER_OUR_SPIN),
        ("import fastrnn, torch", {}, AFTER_OUR_SPIN),
        ("import fastrnn", {"GOMP_SPINCOUNT": "7"}, "inf"),
        ("import fastrnn", {"OMP_WAIT_POLICY": "active"}, "inf"),
    ],
)
def test_it_is_known_how_long_idle_workers_stay_awake(code, environment, seconds):
    if "torch" in code:
        pytest.importorskip("torch")
    code += "; from fastrnn import _core; print(_core.get_awake_seconds())"
    assert output_of(code, **environment) == seconds


@linux
@pytest.mark.skipif(not LIBGOMP, reason="torch loads libgomp, which is not this build's runtime")
def test_a_runtime_that_torch_loaded_keeps_its_workers_awake_for_longer():
    pytest.importorskip("torch")
    code = "import torch, fastrnn; from fastrnn import _core; print(_core.get_awake_seconds())"
    assert output_of(code) == "0.003"


@pytest.mark.parametrize("number", [1, 3, 7])
def test_the_environment_sets_the_number_of_threads(number):
    code = "import fastrnn; print(fastrnn.runtime.get_num_threads())"
    assert output_of(code, FASTRNN_NUM_THREADS=str(number)) == str(number)


@linux
def test_the_default_number_of_threads_is_not_above_what_the_process_may_use():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import fastrnn
print(fastrnn.runtime.get_num_threads())
"""
    assert output_of(code, FASTRNN_NUM_THREADS=None, OMP_NUM_THREADS=None) == "1"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "1e9", "99999999999999999999"])
def test_a_wrong_number_of_threads_in_the_environment_is_named(value):
    process = run_python("import fastrnn", FASTRNN_NUM_THREADS=value)
    assert process.returncode == 1
    assert "FASTRNN_NUM_THREADS" in process.stderr
    assert repr(value) in process.stderr


@pytest.mark.parametrize("n", [0, -1, 1.0, "2", None, 2**31, 2**70, True])
def test_a_wrong_number_of_threads_is_refused(n):
    before = runtime.get_num_threads()
    with pytest.raises((TypeError, ValueError), match=r"^n:"):
        runtime.set_num_threads(n)
    assert runtime.get_num_threads() == before


@linux
def test_idle_workers_do_not_burn_the_processor():
    code = SETUP + """
fastrnn.runtime.set_num_threads(7)
train()
start = time.process_time()
time.sleep(0.5)
print(time.process_time() - start)
"""  # fmt: skip
    assert (
        float(output_of(code)) < 0.2
    )  # of processor time; six workers that spin on two processors would take 1


def test_calls_from_several_python_threads_at_once_are_right():
    cases = [
        stacked(cell, T=20, B=12, H=40, dtype=dtype)
        for cell in CELLS
        for dtype in ("float32", "float64")
    ]

    def train(case):
        result = run_forward(case)
        return result, run_backward(case, result.cache)

    expected = [train(case) for case in cases]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(train, cases), expected, strict=True):
                assert_same_bits(got[0], want[0])
                assert_same_bits(got[1], want[1])


def test_several_python_threads_may_share_a_cache_and_a_prepared_object():
    case = stacked("lstm", T=20, B=12, H=40)
    p, result = problem_of(case), run_forward(case)
    gradients = run_backward(case, result.cache)
    rnn = fastrnn.Recurrent("lstm", p.weights, **case.options)

    def work(_):
        output, _ = rnn(p.x, (p.h0, p.c0), lengths=p.lengths)
        return output, run_backward(case, result.cache)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for output, again in pool.map(work, range(20)):
            assert np.array_equal(output, result.output)
            assert_same_bits(again, gradients)


# ---- instruction sets ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", runtime.available_isas())
def test_the_environment_forces_an_isa(name):
    assert output_of("import fastrnn; print(fastrnn.runtime.get_isa())", FASTRNN_ISA=name) == name


def test_without_the_environment_the_fastest_isa_is_used():
    code = "import fastrnn; print(fastrnn.runtime.get_isa())"
    assert output_of(code, FASTRNN_ISA=None) == runtime.available_isas()[-1]


def test_an_unknown_isa_in_the_environment_is_named_with_those_that_there_are():
    process = run_python("import fastrnn; fastrnn.runtime.get_isa()", FASTRNN_ISA="mmx")
    assert process.returncode == 1
    assert all(word in process.stderr for word in ["FASTRNN_ISA", "mmx", *runtime.available_isas()])


@pytest.mark.parametrize("name", ["mmx", "", None, 3])
def test_an_unknown_isa_is_refused(name):
    before = runtime.get_isa()
    with pytest.raises((TypeError, ValueError), match=r"^name:"):
        runtime.set_isa(name)
    assert runtime.get_isa() == before


def test_the_scalar_isa_is_always_there():
    assert runtime.available_isas()[0] == "scalar"


# ---- processes and signals -----------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
def test_a_child_forked_after_use_works_and_so_does_its_parent():
    code = SETUP + """
fastrnn.runtime.set_num_threads(2)
expected = train()
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if train() == expected else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert train() == expected
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"  # a hang ends in TimeoutExpired


@needs_fork
def test_a_pool_of_forked_processes_works_while_other_threads_compute():
    code = SETUP + """
import multiprocessing, threading
fastrnn.runtime.set_num_threads(2)
expected = train()
stop = threading.Event()
def work():
    while not stop.is_set():
        train()
workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers:
    worker.start()
context = multiprocessing.get_context("fork")
for _ in range(4):
    with context.Pool(2) as pool:
        assert pool.map(train, [x, x]) == [expected] * 2
stop.set()
for worker in workers:
    worker.join()
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


INTERRUPT = SETUP + """
from fastrnn import _core
fastrnn.runtime.set_isa("scalar")
fastrnn.runtime.set_num_threads(THREADS)
T, B = 500, 16
weights = list(weights.values())
plan = _core.Plan("lstm", False, T, B, I, H, 1, 1, None, 0.0, 0, True)
x = rng.normal(size=(T, B, I)).astype("float32")
output, dx = np.full((T, B, H), np.nan, "float32"), np.full((T, B, I), np.nan, "float32")
hn, cn = np.zeros((2, 1, B, H), "float32")

def forward():
    return _core.recurrent_forward(plan, x, weights, None, None, output, hn, cn, None)

def backward():
    dweights = [np.empty_like(w) for w in weights]
    given = plan, cache, x, weights, None, None, output
    _core.recurrent_backward(*given, output, None, None, None, dx, None, None, dweights)

def interrupted(call):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        call()
    except KeyboardInterrupt:
        return True
    return False

signal.signal(signal.SIGALRM, signal.default_int_handler)
"""  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_a_long_call_and_the_library_works_afterwards(threads):
    """The steps that the call would have written last are still as they were: no clock is asked."""
    code = INTERRUPT.replace("THREADS", str(threads)) + """
assert interrupted(forward), "forward was not interrupted"
assert np.isnan(output[-1]).all(), "forward ran to its end"
cache = forward()
assert not np.isnan(output).any()
assert interrupted(backward), "backward was not interrupted"
assert np.isnan(dx[0]).all(), "backward ran to its end"
fastrnn.runtime.set_isa(fastrnn.runtime.available_isas()[-1])
dx[...] = np.nan
cache = forward()
backward()
assert not np.isnan(dx).any()
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
def test_a_signals_handler_within_a_step_cannot_use_its_stepper():
    """It would wait for the step, which waits for it."""
    code = SETUP + """
from fastrnn import _core
fastrnn.runtime.set_num_threads(1)
layers, B, H = 4, 2000, 512
plan = _core.Plan("lstm", False, 1, B, H, H, layers, 1, None, 0.0, 0, False)
weights = [np.zeros((4 * H, H), "float32"), np.zeros((4 * H, H), "float32"), None, None] * layers
stepper = _core.Stepper(_core.pack_weights(plan, weights))
x = np.zeros((B, H), "float32")
seen = []

def handler(*_):
    for use in (lambda: stepper.state, lambda: stepper.step(x), lambda: stepper.reset(None, None)):
        try:
            use()
        except RuntimeError as error:
            seen.append(str(error))

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.02)
stepper.step(x)
assert len(seen) == 3 and len(set(seen)) == 1 and "within a step" in seen[0], seen
assert len(stepper.state) == 2
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
@pytest.mark.parametrize(
    "measure", ["fma_peak(False, 2, 60.0)", "read_bandwidth(1 << 20, 2, 60.0)"]
)
def test_ctrl_c_stops_a_measurement(measure):
    code = INTERRUPT.replace("THREADS", "2") + f"""
assert interrupted(lambda: _core.{measure})
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


@pytest.mark.parametrize("cell", CELLS)
def test_the_callers_floating_point_mode_is_unchanged(cell, threads):
    subnormal = np.full(100, 1e-310)
    assert (subnormal * 0.5 > 0).all()
    case = stacked(cell, T=20, B=20, H=40)
    run_backward(case, run_forward(case).cache)
    assert (subnormal * 0.5 > 0).all()


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timer")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_signals_handler_runs_in_the_callers_floating_point_mode(threads):
    code = INTERRUPT.replace("THREADS", str(threads)) + """
seen = []

def handler(*_):
    seen.append(5e-324 * len(weights) / len(weights))
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, handler)
assert interrupted(forward), "forward was not interrupted"
assert seen == [5e-324], seen
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


def test_subnormal_numbers_are_flushed_inside_a_kernel(isa):
    """A subnormal input times a huge weight would otherwise give 1e-4."""
    weights = {"weight_ih_l0": np.full((40, 3), 1e306), "weight_hh_l0": np.zeros((40, 40))}
    x = np.full((4, 13, 3), 1e-310)
    for threads in (1, 2, 7):
        with settings(threads=threads):
            assert not forward("rnn_relu", x, weights).output.any()


# ---- imports and memory --------------------------------------------------------------------------


def test_importing_fastrnn_imports_no_extras_package():
    loaded = output_of(
        "import sys, fastrnn; print(*{name.split('.')[0] for name in sys.modules})"
    ).split()
    assert "fastrnn" in loaded
    extras = {
        "torch",
        "matplotlib",
        "onnxruntime",
        "tokenizers",
        "pooch",
        "hypothesis",
        "pytest",
        "threadpoolctl",
    }
    assert not extras & set(loaded)


@pytest.mark.parametrize(("first", "second"), [("torch", "fastrnn"), ("fastrnn", "torch")])
def test_torch_may_be_imported_before_or_after(first, second):
    pytest.importorskip("torch")
    code = f"import {first}, {second}" + SETUP + """
import torch
fastrnn.runtime.set_num_threads(2)
torch.set_num_threads(2)
expected, a = train(), torch.ones(500, 500)
for _ in range(3):
    assert float((a @ a)[0, 0]) == 500
    assert train() == expected
print("done")
"""  # fmt: skip
    assert output_of(code) == "done"


@linux
def test_memory_does_not_grow_over_many_calls():
    code = SETUP + """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def work(count):
    for i in range(count):
        train()
        train(x[: 1 + i % 20, : 1 + i % 56])
        try:
            F.lstm_forward(x[..., :3], weights)
        except ValueError:
            pass

work(60)
before = resident()
work(60)
print(resident() - before)
"""  # fmt: skip
    # AddressSanitizer, where it is on, must not hold back what was freed
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    grown = float(output_of(code, ASAN_OPTIONS=options))
    assert grown < 20  # MiB; a lost cache, output or gradient a call would be hundreds


@linux
def test_threads_may_run_where_they_could_before(threads):
    case = Case(H=64, B=32, T=50)

    def allowed():
        found = {}
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # one of a larger team, just ending
                found[task] = os.sched_getaffinity(int(task))
        return found

    run_forward(case)
    before = allowed()
    for pause in [0.0] * 20 + [0.02] * 5:  # after a pause workers have to be woken
        time.sleep(pause)
        run_forward(case)
    after = allowed()
    assert all(after[task] == before[task] for task in after.keys() & before.keys())
    assert all(after[task] == os.sched_getaffinity(0) for task in after.keys() - before.keys())
