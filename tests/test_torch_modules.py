"""fastrnn.torch's modules give torch.nn's numbers and errors."""

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")


import fastrnn.torch  # noqa: E402
from cases import pairwise, row_id  # noqa: E402
from fastrnn.torch import explain  # noqa: E402
from torch_cases import (  # noqa: E402
    CELLS,
    SEQUENCES,
    always_fastrnn,
    assert_agree,
    assert_same_answers,
    outputs_and_gradients,
    pair,
    state_of,
    tensors_of,
)

T, B, I, H = 6, 5, 4, 7  # noqa: E741


# ---- the same numbers ----------------------------------------------------------------------------

GRID = pairwise(
    name=SEQUENCES,
    num_layers=(1, 2, 3),
    bidirectional=(False, True),
    bias=(True, False),
    batch_first=(False, True),
    input=("batched", "unbatched", "one sequence", "no sequence"),
    states=(True, False),
    dtype=(torch.float64, torch.float32),
)


@pytest.mark.parametrize("case", GRID, ids=row_id)
def test_outputs_and_gradients_are_those_of_torch_nn(case):
    options = {k: case[k] for k in ("num_layers", "bidirectional", "bias", "batch_first", "dtype")}
    theirs, ours = pair(case["name"], I, H, **options)
    rows = {"batched": B, "unbatched": None, "one sequence": 1, "no sequence": 0}[case["input"]]
    shape = (T, I) if rows is None else (rows, T, I) if case["batch_first"] else (T, rows, I)
    x = torch.randn(shape, dtype=case["dtype"])
    args = (x, state_of(theirs, rows)) if case["states"] else (x,)
    with always_fastrnn():
        assert explain(ours, *args).path == "fastrnn"
        assert_same_answers(theirs, ours, *args)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("rows", [3, 1, 0, None])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_gives_the_outputs_and_gradients_of_torch_nn(name, bias, rows, states, dtype):
    dtype = getattr(torch, dtype)
    theirs, ours = pair(name, I, H, bias=bias, dtype=dtype)
    shape = () if rows is None else (rows,)
    hx = torch.randn(*shape, H, dtype=dtype)
    args = (torch.randn(*shape, I, dtype=dtype),)
    if states:
        args += ((hx, hx + 1) if name == "LSTMCell" else hx,)
    with always_fastrnn():
        assert explain(ours, *args).path == "fastrnn"
        assert_same_answers(theirs, ours, *args)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("name", ["RNN", "RNNCell"])
def test_the_nonlinearity_is_the_chosen_one(name, nonlinearity):
    theirs, ours = pair(name, I, H, nonlinearity=nonlinearity)
    x = torch.randn(B, I) if name == "RNNCell" else torch.randn(T, B, I)
    with always_fastrnn():
        assert_same_answers(theirs, ours, x)


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_input_may_have_any_strides(name):
    theirs, ours = pair(name, I, H)
    x = torch.randn(I, B, 2 * T)
    views = [x.permute(2, 1, 0)[::2], x[:, :, :T].transpose(0, 2), x[:, :1, :T].permute(2, 1, 0)]
    for view in [*views, views[2].expand(T, B, I), torch.randn(I).expand(T, B, I)]:
        for module in (theirs, ours):
            module.zero_grad()
            module(view)[0].square().sum().backward()
        assert_agree([ours(view)[0].detach()], [theirs(view)[0].detach()])
        gradients = [[p.grad for p in m.parameters()] for m in (ours, theirs)]
        assert_agree(*gradients, times=5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_learned_state_shared_by_all_sequences_gets_its_gradient(name):
    theirs, ours = pair(name, I, H)
    x, gradients = torch.randn(T, B, I), []
    for module in (theirs, ours):
        first = torch.full((1, 1, H), 0.3, requires_grad=True)
        state = first.expand(1, B, H)
        hx = (state, 2 * state) if name == "LSTM" else state
        module(x, hx)[0].square().sum().backward()
        gradients.append([first.grad])
    assert_agree(gradients[1], gradients[0], times=5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_only_the_last_state_may_be_used(name):
    theirs, ours = pair(name, I, H, num_layers=2)
    x = torch.randn(T, B, I)
    for part in (0, -1):  # h, and c of the LSTM
        gradients = []
        for module in (ours, theirs):
            state = tensors_of(module(x)[1])[part]
            gradients.append(torch.autograd.grad(state.square().sum(), module.parameters()))
        assert_agree(*gradients, times=5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_frozen_parameter_gets_no_gradient_and_the_others_keep_theirs(name):
    _, ours = pair(name, I, H)
    x = torch.randn(T, B, I)
    expected = dict(zip(ours.state_dict(), outputs_and_gradients(ours, x)[1][1:], strict=True))
    for frozen in expected:
        ours.zero_grad()
        ours.get_parameter(frozen).requires_grad_(False)
        generator = torch.Generator().manual_seed(1)
        outputs = tensors_of(ours(x))
        sum((o * torch.randn(o.shape, generator=generator)).sum() for o in outputs).backward()
        for parameter_name, parameter in ours.named_parameters():
            if parameter_name == frozen:
                assert parameter.grad is None
            else:
                assert torch.equal(parameter.grad, expected[parameter_name])
        ours.get_parameter(frozen).requires_grad_(True)


@pytest.mark.parametrize("name", SEQUENCES)
def test_gradients_and_inference_modes_change_no_bit(name):
    _, ours = pair(name, I, H, num_layers=2)
    x = torch.randn(T, B, I)
    expected = tensors_of(ours(x))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), always_fastrnn():
            assert all(map(torch.equal, tensors_of(ours(x)), expected))
            assert all(map(torch.equal, tensors_of(ours.eval()(x)), expected))


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_else_is_in_the_batch_changes_no_bit(name):
    _, ours = pair(name, I, H)
    x = torch.randn(T, B, I)
    with always_fastrnn(), torch.no_grad():
        together = ours(x)[0]
        for i in range(B):
            assert torch.equal(ours(x[:, i : i + 1])[0], together[:, i : i + 1])


def test_a_parameter_may_be_replaced():
    theirs, ours = pair("LSTM", I, H)
    x, new = torch.randn(T, B, I), torch.nn.Parameter(torch.randn(4 * H, H))
    for module in (theirs, ours):
        with torch.no_grad():
            module.weight_ih_l0.set_(torch.ones(4 * H, I))  # another storage
        module.bias_ih_l0.data = torch.ones(4 * H)
        del module.weight_hh_l0
        module.weight_hh_l0 = new
    assert_same_answers(theirs, ours, x)


CHANGES = {
    "the last state": lambda output, state: tensors_of(state)[0].mul_(2),
    "the last state, unseen": lambda output, state: tensors_of(state)[0].data.zero_(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", SEQUENCES)
def test_writing_into_results_changes_gradients_as_in_torch_nn(name, change):
    theirs, ours = pair(name, I, H, num_layers=2)
    x, gradients = torch.randn(T, B, I), []
    for module in (ours, theirs):
        output, state = module(x)
        change(output, state)
        loss = sum(t.square().sum() for t in (output, *tensors_of(state)))
        gradients.append(torch.autograd.grad(loss, module.parameters()))
    assert_agree(*gradients, times=5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_nan_and_infinity_stay_in_their_sequence_as_in_torch_nn(name):
    theirs, ours = pair(name, I, H)
    x = torch.randn(T, B, I)
    x[2, 0, 1], x[1, 1, 0], x[3, 2, 2] = torch.nan, torch.inf, -torch.inf
    outputs = [module(x)[0].detach() for module in (ours, theirs)]
    assert outputs[0][:, 0].isnan().any()
    assert not outputs[0][:, 3:].isnan().any()
    torch.testing.assert_close(*outputs, equal_nan=True, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_states_carried_over_segments_give_the_gradients_of_torch_nn(name):
    theirs, ours = pair(name, I, H, num_layers=2)
    x, gradients = torch.randn(3, T, B, I), []
    for module in (ours, theirs):
        state, loss = None, 0
        for segment in x:
            output, state = module(segment, state)
            loss = loss + output.square().sum()
        gradients.append(torch.autograd.grad(loss, module.parameters()))
    assert_agree(*gradients, times=10)


@pytest.mark.parametrize("name", SEQUENCES)
def test_two_modules_may_share_their_parameters(name):
    answers = []
    for package in (fastrnn.torch, torch.nn):
        torch.manual_seed(0)
        first, second = (getattr(package, name)(I, I) for _ in range(2))
        for key, parameter in first.named_parameters():
            setattr(second, key, parameter)
        x = torch.randn(T, B, I)
        loss = second(first(x)[0])[0].square().sum()
        answers.append(torch.autograd.grad(loss, first.parameters()))
    assert_agree(*answers, times=5)


def test_weights_may_be_views_of_one_tensor():
    whole, gradients = torch.randn(4 * H, I + H, requires_grad=True), []
    for module in pair("LSTM", I, H):
        del module.weight_ih_l0, module.weight_hh_l0
        module.weight_ih_l0, module.weight_hh_l0 = whole.split([I, H], dim=1)
        torch.manual_seed(0)
        output = module(torch.randn(T, B, I))[0]
        gradients.append(torch.autograd.grad(output.square().sum(), whole))
    assert_agree(gradients[1], gradients[0], times=5)


@pytest.mark.parametrize("assign", [True, False])
def test_a_module_made_on_the_meta_device_can_be_filled(assign):
    _, ours = pair("GRU", I, H)
    with torch.device("meta"):
        empty = fastrnn.torch.GRU(I, H)
    if not assign:
        empty.to_empty(device="cpu")
    empty.load_state_dict(ours.state_dict(), assign=assign)
    x = torch.randn(T, B, I)
    assert explain(empty, x).path == "fastrnn"
    assert torch.equal(empty(x)[0], ours(x)[0])


def test_threads_may_call_one_module_at_once():
    _, ours = pair("LSTM", I, H, num_layers=2)
    xs = [torch.randn(T, B, I, requires_grad=True) for _ in range(8)]

    def gradients(x):
        return torch.autograd.grad(ours(x)[0].sum(), [x, *ours.parameters()])

    with ThreadPoolExecutor(8) as pool:
        for x, found in zip(xs, pool.map(gradients, xs), strict=True):
            assert all(map(torch.equal, found, gradients(x)))


def wrong_calls(module, cell):
    """(name, arguments) of calls that cannot be right, for sequences [T, B, I] or cells [B, I]."""
    lstm = isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell)
    lead, layers = ((), ()) if cell else ((T,), (1 if module.num_layers == 1 else 2,))

    def state(batch=B, size=H, layers=layers):
        return torch.zeros(*layers, batch, size)

    def call(x, h, c=None):
        c = h if c is None else c
        return (x, (h, c) if lstm else h)

    x = torch.zeros(*lead, B, I)
    yield "features", (x[..., :-1],)
    yield "batch", call(x[..., :-1, :], state())
    yield "state's batch", call(x, state(B - 1))
    yield "state's batch of one", call(x, state(1))
    yield "state's size", call(x, state(size=H + 1))
    yield "state's rank", call(x, state().unsqueeze(0))
    yield "input's rank", (x.unsqueeze(0),)
    yield "integers", (x.long(),)
    if not cell:
        yield "layers", call(x, state(layers=(3,)))
        yield "no steps", (x[:0],)
        yield "unbatched state", call(x, state()[:, 0])
        yield "unbatched input", call(x[:, 0], state())
    if lstm:
        yield "c's size", call(x, state(), state(size=H - 1))
        yield "h's batch", call(x, state(B - 1), state())


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_a_wrong_call_raises_torch_nns_error(name, num_layers):
    cell = name in CELLS
    theirs, ours = pair(name, I, H, **({} if cell else {"num_layers": num_layers}))
    for what, args in wrong_calls(theirs, cell):
        errors = []
        for module in (theirs, ours):
            with always_fastrnn(), pytest.raises((RuntimeError, ValueError)) as error:
                module(*args)
            errors.append((type(error.value), str(error.value)))
        assert errors[0] == errors[1], what


def weight_of(name, *shape):
    return lambda module: setattr(module, name, torch.nn.Parameter(torch.ones(shape)))


def attribute(name, value):
    return lambda module: setattr(module, name, value)


CHANGED = {
    "hidden_size": attribute("hidden_size", H + 1),
    "num_layers": attribute("num_layers", 1),
    "bidirectional": attribute("bidirectional", True),
    "bias": attribute("bias", False),
    "rows": weight_of("weight_ih_l0", 3 * H + 1, I),
    "columns": weight_of("weight_hh_l0", 3 * H, H + 1),
    "upper layer": weight_of("weight_ih_l1", 3 * H, I),
    "rank": weight_of("weight_ih_l0", 3 * H * I),
    "bias of one": weight_of("bias_ih_l0", 1),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_weights_that_are_not_as_the_module_says_are_torch_nns_business(change):
    answers, x = [], torch.randn(T, B, I)
    for module in pair("GRU", I, H, num_layers=2):
        change(module)
        try:
            answers.append(module(x)[0].tolist())
        except RuntimeError as error:
            answers.append(str(error))
    assert answers[0] == answers[1]
    assert explain(module, x).reason.startswith("the parameters do not have the shapes")


# ---- dropout between layers ----------------------------------------------------------------------


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", SEQUENCES)
def test_dropout_follows_the_seed_and_is_on_in_training_alone(name, grad):
    _, ours = pair(name, I, H, num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I)

    def output(seed):
        torch.manual_seed(seed)
        with torch.set_grad_enabled(grad):
            return ours(x)[0].detach()

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))
    torch.manual_seed(1)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(output(1), output(2))
    ours.train()
    ours.dropout = 0.0
    assert torch.equal(output(1), output(2))


def test_dropout_takes_the_share_that_it_says_and_scales_the_rest():
    # A first layer with all outputs relu(1) = 1; a second one that adds up what it gets.
    H, p = 400, 0.3
    _, ours = pair("RNN", 1, H, num_layers=2, nonlinearity="relu", dropout=p, bias=False)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.zero_()
        ours.weight_ih_l0.fill_(1.0)
        ours.weight_ih_l1.copy_(torch.eye(H))
    output = ours(torch.ones(T, 100, 1))[0]
    kept = output != 0
    torch.testing.assert_close(output[kept], torch.full_like(output[kept], 1 / (1 - p)))
    # 240,000 independent draws: the share's standard deviation is sqrt(0.3 * 0.7 / 240000) < 0.001
    assert abs(kept.double().mean() - (1 - p)) < 5e-3


@pytest.mark.parametrize("sizes", [(0, H), (I, 0), (0, 0)])
@pytest.mark.parametrize("name", CELLS)
def test_cells_without_input_or_state_are_left_to_torch_nn(name, sizes):
    theirs, ours = pair(name, *sizes)
    x = torch.randn(B, sizes[0])
    with always_fastrnn():
        assert explain(ours, x).reason.startswith("a size is 0 (input_size=")
        outputs = [[o.detach() for o in tensors_of(module(x))] for module in (theirs, ours)]
    assert all(map(torch.equal, *outputs))


def test_dropout_of_everything_leaves_the_upper_layer_its_biases():
    theirs, ours = pair("LSTM", I, H, num_layers=2, dropout=1.0, dtype=torch.float64)
    assert_same_answers(theirs, ours, torch.randn(T, B, I, dtype=torch.float64))


@pytest.mark.parametrize("dropout", [-0.5, 1.5, float("nan")])
@pytest.mark.parametrize("name", SEQUENCES)
def test_a_dropout_that_is_no_probability_is_left_to_torch_nn(name, dropout):
    x = torch.randn(T, B, I)
    for module in pair(name, I, H, num_layers=2):
        module.dropout = dropout  # the constructor would refuse it
        with pytest.raises(RuntimeError, match="dropout probability has to be between 0 and 1"):
            module(x)
    assert explain(module, x) == ("torch.nn", f"dropout={dropout} is not in [0, 1]")
