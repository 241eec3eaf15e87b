"""The operators themselves: PyTorch's checks, second derivatives, memory, misuse."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import fastrnn.torch  # noqa: E402
from cases import settings  # noqa: E402
from fastrnn.torch import _kept  # noqa: E402
from reference.recurrent import GATES  # noqa: E402
from torch_cases import assert_agree, outputs_and_gradients, pair  # noqa: E402

forward = torch.ops.fastrnn.recurrent.default
backward = torch.ops.fastrnn.recurrent_backward.default

T, B, I, H = 3, 2, 2, 3  # noqa: E741
SHAPES = {"time first": (T, B, I), "batch first": (B, T, I), "packed": (2 + 2 + 1, I)}
BATCH_SIZES = [2, 2, 1]


def arguments(
    cell="lstm",
    layout="time first",
    layers=1,
    directions=1,
    biases=True,
    states=True,
    dropout=0.0,
    grad=True,
):
    """Those of ``fastrnn::recurrent``, in float64."""
    torch.manual_seed(3)

    def tensor(*shape):
        return torch.randn(shape, dtype=torch.float64).requires_grad_(grad)

    weights = []
    for layer in range(layers):
        rows, columns = GATES[cell] * H, I if layer == 0 else directions * H
        shapes = [(rows, columns), (rows, H)] + [(rows,), (rows,)] * biases
        weights += [tensor(*shape) for _ in range(directions) for shape in shapes]
    packed, state = layout == "packed", (layers * directions, B, H)
    return (
        tensor(*SHAPES[layout]),
        torch.tensor(BATCH_SIZES) if packed else None,
        tensor(*state) if states else None,
        tensor(*state) if states and cell == "lstm" else None,
        weights,
        torch.tensor([11]) if dropout else None,
        B if packed else None,
        cell,
        layers,
        directions == 2,
        layout == "batch first",
        dropout,
    )


def as_function(given):
    """(f, inputs): the operator as a function of its floating-point arguments alone, and these."""
    x, batch_sizes, h0, c0, weights, *rest = given
    inputs = [t for t in (x, h0, c0, *weights) if t is not None]

    def f(*tensors):
        left = iter(tensors)
        x, h, c = (None if t is None else next(left) for t in (given[0], h0, c0))
        output, hn, cn, _ = forward(x, batch_sizes, h, c, list(left), *rest)
        return (output, hn, cn) if given[7] == "lstm" else (output, hn)

    return f, inputs


CASES = [
    {},
    {"cell": "gru", "layout": "batch first", "states": False},
    {"cell": "rnn_tanh", "layout": "packed"},
    {"cell": "rnn_relu", "biases": False, "directions": 2},
    {"layers": 2, "directions": 2, "layout": "packed", "states": False},
    {"cell": "gru", "layers": 2, "dropout": 0.5},
]


@pytest.mark.filterwarnings("ignore")  # of what opcheck itself calls
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_opcheck_finds_no_fault_in_the_forward_operator(case, grad):
    results = torch.library.opcheck(forward, arguments(**case, grad=grad))
    assert len(results) == 4
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_opcheck_finds_no_fault_in_the_backward_operator(case):
    x, batch_sizes, h0, c0, *rest = given = arguments(**case, grad=False)
    output, hn, _, cache = forward(*given, keep=True)
    of_weights = [i % 3 != 1 for i in range(len(rest[0]))]
    needs = (True, h0 is not None, c0 is not None, of_weights)
    doutputs = (torch.ones_like(output), torch.ones_like(hn), None)
    saved = (x, batch_sizes, h0, c0, *rest[:2], output, cache)
    results = torch.library.opcheck(backward, (*doutputs, *saved, *rest[2:], *needs))
    assert len(results) == 4
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_finite_differences(case):
    f, inputs = as_function(arguments(**case))
    assert torch.autograd.gradcheck(f, inputs)


@pytest.mark.parametrize("case", [c for c in CASES if "dropout" not in c], ids=str)
def test_second_derivatives_are_those_of_finite_differences(case):
    f, inputs = as_function(arguments(**case))
    assert torch.autograd.gradgradcheck(f, inputs)


def test_a_gradient_with_a_graph_is_the_gradient_without_one():
    _, ours = pair("LSTM", 3, 5, num_layers=2, bidirectional=True)
    x = torch.randn(4, 2, 3)
    plain = torch.autograd.grad(ours(x)[0].square().sum(), ours.parameters())
    again = torch.autograd.grad(ours(x)[0].square().sum(), ours.parameters(), create_graph=True)
    assert all(g.requires_grad for g in again)
    assert_agree([g.detach() for g in again], plain, times=5)


def test_a_weight_that_serves_twice_gets_each_part_of_its_gradient_once():
    _, ours = pair("GRU", 3, 5, bidirectional=True)
    ours.weight_hh_l0_reverse = ours.weight_hh_l0
    x = torch.randn(4, 2, 3)
    plain, again = (
        torch.autograd.grad(ours(x)[0].square().sum(), ours.parameters(), create_graph=graph)
        for graph in (False, True)
    )
    assert_agree([g.detach() for g in again], plain, times=5)


def test_gradients_of_gradients_in_two_threads_leave_one_dnn_as_it_was(monkeypatch):
    """The first to begin is the first to end, while the other is still without oneDNN."""
    _, ours = pair("LSTM", 3, 5)
    x = torch.randn(4, 2, 3)
    torch_lstm, calls, seen = torch.lstm, iter(range(2)), []
    inside, left = [threading.Event(), threading.Event()], threading.Event()

    def lstm(*args):
        call = next(calls)
        inside[call].set()
        assert (left if call else inside[1]).wait(60)
        seen.append(torch.backends.mkldnn.enabled)
        return torch_lstm(*args)

    def gradients():
        loss = ours(x)[0].sum()
        torch.autograd.grad(loss, ours.parameters(), create_graph=True)

    monkeypatch.setattr(torch, "lstm", lstm)
    assert torch.backends.mkldnn.enabled
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(gradients)
            assert inside[0].wait(60)
            second = pool.submit(gradients)
            first.result()
            left.set()
            second.result()
        assert torch.backends.mkldnn.enabled
    finally:
        torch._C._set_mkldnn_enabled(True)
    assert seen == [False, False]


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_batches_of_gradients_are_the_gradients_one_by_one(name):
    _, ours = pair(name, 3, 5, batch_first=True)
    x = torch.randn(2, 4, 3)
    one_by_one, at_once = (
        torch.autograd.functional.jacobian(lambda x: ours(x)[0], x, vectorize=vectorize)
        for vectorize in (False, True)
    )
    assert_agree([at_once], [one_by_one], times=5)


def test_second_derivatives_through_dropout_are_an_error():
    f, inputs = as_function(arguments("gru", layers=2, dropout=0.5))
    with pytest.raises(RuntimeError, match="dropout between layers"):
        torch.autograd.grad(f(*inputs)[0].sum(), inputs[0], create_graph=True)


def test_the_backward_operator_has_no_derivative_and_says_so():
    x, *rest = arguments()
    output, _, _, cache = forward(x, *rest)
    needed = True, False, False, [True] * len(rest[3])
    with pytest.raises(RuntimeError, match="has no derivative"):
        backward(output, None, None, x, *rest[:5], output, cache, *rest[5:], *needed)


# ---- what is kept between the passes -------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_copied_cache_costs_the_forward_pass_again_and_not_a_bit(case):
    f, inputs = as_function(arguments(**case))

    def gradients():
        return torch.autograd.grad([o.square().sum() for o in f(*inputs)], inputs)

    expected = gradients()
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda t: t):
        actual = gradients()
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("lengths", [None, [4, 2], [4, 4]])
def test_writing_into_the_output_does_not_change_the_gradients(name, lengths):
    _, ours = pair(name, 3, 5, num_layers=2)
    x = torch.randn(4, 2, 3)
    if lengths:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)

    def gradients(change):
        output = ours(x)[0]
        return torch.autograd.grad(
            change(output.data if lengths else output).square().sum(), ours.parameters()
        )

    actual, expected = gradients(lambda o: o.mul_(2)), gradients(lambda o: o * 2)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))


def test_a_changed_input_or_weight_is_an_error_and_no_wrong_gradient():
    _, ours = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    for changed in (x, ours.weight_hh_l0):
        output = ours(x)[0]
        with torch.no_grad():
            changed.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_a_graph_that_is_retained_gives_the_same_bits_again():
    f, inputs = as_function(arguments())
    output = f(*inputs)[0]
    first = torch.autograd.grad(output.sum(), inputs, retain_graph=True)
    second = torch.autograd.grad(output.sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_checkpointing_gives_the_same_bits_also_with_dropout():
    from torch.utils.checkpoint import checkpoint

    _, ours = pair("LSTM", 3, 5, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3, requires_grad=True)
    answers = []
    for run in (ours, lambda x: checkpoint(ours, x, use_reentrant=False)):
        torch.manual_seed(5)
        answers.append(torch.autograd.grad(run(x)[0].sum(), [x, *ours.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_gradients_do_not_depend_on_the_number_of_threads():
    _, ours = pair("LSTM", 32, 64)
    answers = []
    for threads in (1, 2, 7):
        with settings(threads=threads):
            answers.append(outputs_and_gradients(ours, torch.ones(20, 16, 32)))
    for outputs, gradients in answers[1:]:
        assert all(map(torch.equal, outputs, answers[0][0]))
        assert all(map(torch.equal, gradients, answers[0][1]))


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("with_backward", [False, True])
def test_memory_does_not_grow_over_a_thousand_steps(with_backward, packed):
    _, ours = pair("LSTM", 16, 32)
    x = torch.randn(20, 8, 16)
    if packed:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, [20, 18, 15, 11, 9, 5, 2, 1])

    def step():
        output = ours(x)[0]
        if with_backward:
            (output.data if packed else output).sum().backward()

    for _ in range(50):
        step()
    gc.collect()
    assert not _kept._alive
    before = resident_megabytes()
    for _ in range(1000):
        step()
    # A step keeps 20 * 8 tokens * 32 units * 5 numbers of 4 bytes, 100 MB in all; Python's own
    # memory may move by some.
    assert resident_megabytes() - before < 10
    assert not _kept._alive


# ---- misuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(T, B, I + 1, dtype=torch.float64)}, "weights: expected shape"),
        ({0: torch.zeros(T, B, I)}, "weights: expected dtype float32"),
        ({2: torch.zeros(1, B + 1, H, dtype=torch.float64)}, "h0: expected shape"),
        ({1: torch.tensor([3, 3]), 0: torch.zeros(5, I, dtype=torch.float64)}, "batch_sizes: exp"),
        ({1: torch.tensor([1, 2]), 0: torch.zeros(3, I, dtype=torch.float64)}, "batch_sizes: exp"),
        ({7: "cnn"}, "cell: expected"),
        ({8: 3}, "weights: expected 12 arrays"),
    ],
    ids=["features", "dtype", "state", "sum", "rising", "cell", "layers"],
)
def test_a_wrong_argument_of_the_operator_is_an_error(change, message):
    given = list(arguments(grad=False))
    for position, value in change.items():
        given[position] = value
    with pytest.raises((ValueError, TypeError), match=message):
        forward(*given)


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # torch 2.11's, to everybody
def test_a_profiler_sees_the_operators_and_changes_no_bit():
    _, ours = pair("LSTM", 3, 5)
    x = torch.randn(4, 2, 3)
    expected = outputs_and_gradients(ours, x)
    with torch.profiler.profile() as profile:
        actual = outputs_and_gradients(ours, x)
    names = {event.name for event in profile.events()}
    assert {"fastrnn::recurrent", "fastrnn::recurrent_backward"} <= names
    for a, e in zip(actual, expected, strict=True):
        assert all(map(torch.equal, a, e))


@pytest.mark.parametrize("name", ["RNN", "GRU"])  # torch counts nothing of its LSTM on a CPU
@pytest.mark.parametrize("case", ["x", "x, h0", "frozen", "packed"])
def test_floating_point_operations_are_counted_as_torch_counts_its_own(name, case):
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for module in pair(name, 3, 5, num_layers=2, bidirectional=True):
        x = torch.randn(4, 2, 3, requires_grad=case.startswith("x"))
        hx = torch.randn(4, 2, 5, requires_grad=case == "x, h0")
        if case == "packed":
            x = torch.nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
        if case == "frozen":
            module.weight_hh_l0.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            output = module(x, hx)[0]
            counts.append([counter.get_total_flops()])
            if case != "packed":  # torch leaves some products with zeros out, and counts others
                output.sum().backward()
                counts[-1].append(counter.get_total_flops())
    assert counts[0] == counts[1]
    assert counts[0][0] > 0


class Logged(torch.Tensor):
    """A subclass that only watches."""


@pytest.mark.parametrize("change", [lambda x: x.as_subclass(Logged), torch._neg_view])
def test_unusual_tensors_take_the_way_through_the_dispatcher(change):
    _, ours = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    output = ours(change(x))[0]
    assert type(output) is type(change(x))
    plain = ours(change(x).as_subclass(torch.Tensor).resolve_neg())[0]
    assert torch.equal(output.as_subclass(torch.Tensor), plain)


SPECIAL = {
    "negated": lambda t: torch._neg_view(-t),
    "zeros without memory": lambda t: torch._efficientzerotensor(t.shape),
    "misaligned": lambda t: misaligned(t),
}


def misaligned(tensor):
    memory = bytearray(1 + tensor.numel() * tensor.itemsize)
    twin = torch.frombuffer(memory, dtype=tensor.dtype, offset=1).view(tensor.shape)
    return twin.copy_(tensor)


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("where", ["input", "state", "weight", "parameter"])
def test_special_tensors_are_what_they_stand_for(where, grad, special):
    _, ours = pair("LSTM", 3, 5)
    answers = []
    for change in (special, lambda t: special(t).resolve_neg() + 0):
        x, h, weight = torch.ones(4, 2, 3), torch.ones(1, 2, 5), ours.weight_hh_l0.detach()
        x = change(x) if where == "input" else x
        h = change(h) if where == "state" else h
        weight = change(weight) if where in ("weight", "parameter") else weight
        if where == "parameter":
            weight = torch.nn.Parameter(weight)
        with torch.set_grad_enabled(grad):
            call = torch.func.functional_call
            output = call(ours, {"weight_hh_l0": weight}, (x, (h, torch.ones(1, 2, 5))))[0]
        answers.append([output.detach()])
        if grad:
            answers[-1].append(torch.autograd.grad(output.sum(), ours.weight_ih_l0)[0])
    assert all(map(torch.equal, *answers))


@pytest.mark.filterwarnings("ignore")
def test_a_state_or_weight_of_a_subclass_has_its_say():
    from torch.testing._internal.two_tensor import TwoTensor

    def two(shape):
        return TwoTensor(torch.ones(shape), torch.zeros(shape))

    theirs, ours = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    assert type(ours(x, torch.ones(1, 2, 5).as_subclass(Logged))[0]) is Logged
    for arguments in (({}, (x, two((1, 2, 5)))), ({"weight_hh_l0": two((15, 5))}, (x,))):
        with torch.no_grad():
            expected, found = (
                torch.func.functional_call(module, *arguments)[0] for module in (theirs, ours)
            )
        assert_agree([found.a, found.b], [expected.a, expected.b])


def test_the_memory_of_arguments_can_be_resized_after_a_call():
    """As sharded training does with the weights between the passes, to make them anew elsewhere."""
    _, ours = pair("GRU", 3, 5)
    x = torch.randn(4, 2, 3)
    expected = torch.autograd.grad(ours(x)[0].sum(), ours.parameters())
    output, moved = ours(x)[0], []
    for tensor in (x, *ours.parameters()):
        storage, values = tensor.untyped_storage(), tensor.detach().clone()
        size = storage.nbytes()
        storage.resize_(0)
        moved.append(torch.full((size,), 7, dtype=torch.uint8))  # who else gets the memory
        storage.resize_(size)
        tensor.data.copy_(values)
    assert all(map(torch.equal, torch.autograd.grad(output.sum(), ours.parameters()), expected))
    assert x.resize_(8, 2, 3).shape == (8, 2, 3)


def test_other_modes_see_the_operator():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen = []
    with Names():
        fastrnn.torch.LSTM(3, 5)(torch.randn(4, 2, 3))
    assert seen.count("fastrnn.recurrent.default") == 1
