"""fastrnn.torch's modules are modules like torch.nn's, and leave to them what only those can do."""

import copy
import io
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import parametrizations, parametrize, prune  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import explain  # noqa: E402
from torch_cases import (  # noqa: E402
    CELLS,
    SEQUENCES,
    always_fastrnn,
    assert_agree,
    assert_same_answers,
    outputs_and_gradients,
    pair,
    tensors_of,
)

T, B, I, H = 6, 5, 4, 7  # noqa: E741


# ---- a module like torch.nn's --------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_state_dicts_go_both_ways_bit_for_bit(name):
    options = {} if name in CELLS else {"num_layers": 2, "bidirectional": True}
    theirs, ours = pair(name, I, H, **options)
    back = getattr(torch.nn, name)(I, H, **options)
    back.load_state_dict(ours.state_dict())
    for state in (ours.state_dict(), back.state_dict()):
        assert list(state) == list(theirs.state_dict())
        assert all(map(torch.equal, state.values(), theirs.state_dict().values()))


@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_a_module_is_an_instance_of_torch_nns_and_prints_like_it(name):
    theirs, ours = pair(name, I, H, bias=False)
    assert isinstance(ours, type(theirs))
    assert type(ours) is getattr(fastrnn.torch, name)
    assert repr(ours) == repr(theirs)
    assert type(ours).__module__ == "fastrnn.torch"


def through_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_torch_save],
    ids=["deepcopy", "pickle", "torch.save"],
)  # fmt: skip
@pytest.mark.parametrize("name", SEQUENCES)
def test_a_copy_computes_the_same_and_shares_nothing(name, copied):
    _, ours = pair(name, I, H)
    x = torch.randn(T, B, I)
    twin = copied(ours)
    assert type(twin) is type(ours)
    expected = outputs_and_gradients(ours, x)
    for actual, wanted in zip(outputs_and_gradients(twin, x), expected, strict=True):
        assert all(map(torch.equal, actual, wanted))
    with torch.no_grad():
        twin.weight_hh_l0.zero_()
    assert all(map(torch.equal, outputs_and_gradients(ours, x)[0], expected[0]))


def test_hooks_are_called():
    _, ours = pair("LSTM", I, H)
    called = []
    ours.register_forward_pre_hook(lambda m, args: called.append("before"))
    ours.register_forward_hook(lambda m, args, output: called.append("after"))
    ours.register_full_backward_hook(lambda m, gi, go: called.append("backward"))
    ours.weight_hh_l0.register_hook(lambda grad: called.append("parameter"))
    ours(torch.randn(T, B, I, requires_grad=True))[0].sum().backward()
    assert called[:2] == ["before", "after"]
    assert sorted(called[2:]) == ["backward", "parameter"]


def test_conversions_move_between_the_paths():
    _, ours = pair("GRU", I, H)
    x = torch.randn(T, B, I)
    assert ours.double()(x.double())[0].dtype == torch.float64
    assert explain(ours, x.double()).path == "fastrnn"
    assert ours.to(torch.bfloat16)(x.bfloat16())[0].dtype == torch.bfloat16
    assert explain(ours, x.bfloat16()).path == "torch.nn"
    assert ours.to("cpu", torch.float32)(x)[0].dtype == torch.float32
    ours.flatten_parameters()
    assert explain(ours, x).path == "fastrnn"
    assert ours.to("meta")(x.to("meta"))[0].shape == (T, B, H)


@pytest.mark.parametrize("name", SEQUENCES)
def test_parametrizations_are_seen(name):
    theirs, ours = pair(name, I, H)
    x = torch.randn(T, B, I)
    for module in (theirs, ours):
        parametrizations.weight_norm(module, "weight_hh_l0")
        parametrizations.orthogonal(module, "weight_ih_l0")
    ours.load_state_dict(theirs.state_dict())
    assert explain(ours, x).path == "fastrnn"
    assert_same_answers(theirs, ours, x)
    for weight in ("weight_hh_l0", "weight_ih_l0"):
        parametrize.remove_parametrizations(ours, weight)
    assert type(ours) is getattr(fastrnn.torch, name)
    assert_agree([ours(x)[0].detach()], [theirs(x)[0].detach()])


def test_weight_norm_and_pruning_of_the_older_kind_are_seen():
    theirs, ours = pair("LSTM", I, H)
    x = torch.randn(T, B, I)
    for module in (theirs, ours):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            torch.nn.utils.weight_norm(module, "weight_hh_l0")
        prune.l1_unstructured(module, "weight_ih_l0", amount=0.5)
    with torch.no_grad():
        for module in (theirs, ours):
            module.weight_hh_l0_g.mul_(3)
    assert explain(ours, x).path == "fastrnn"
    assert_same_answers(theirs, ours, x)


def test_functional_call_uses_the_parameters_that_it_is_given():
    _, ours = pair("GRU", I, H)
    x = torch.randn(T, B, I)
    others = {name: 2 * p.detach() for name, p in ours.named_parameters()}
    doubled = copy.deepcopy(ours)
    doubled.load_state_dict(others)
    called = torch.func.functional_call(ours, others, (x,))
    assert all(map(torch.equal, tensors_of(called), tensors_of(doubled(x))))


@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet")
def test_transforms_of_torch_func_work():
    _, ours = pair("LSTM", I, H)
    x = torch.randn(3, T, B, I)
    parameters = {name: p.detach() for name, p in ours.named_parameters()}

    def loss(parameters, x):
        return torch.func.functional_call(ours, parameters, (x,))[0].square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for i in range(3):
        expected = torch.autograd.grad(ours(x[i])[0].square().sum(), ours.parameters())
        assert_agree([g[i] for g in per_sample.values()], expected, times=5)


def test_one_parameter_may_serve_both_directions():
    theirs, ours = pair("GRU", I, H, bidirectional=True)
    for module in (theirs, ours):
        module.weight_hh_l0_reverse = module.weight_hh_l0
    assert len(list(ours.parameters())) == 7
    assert_same_answers(theirs, ours, torch.randn(T, B, I))


def test_a_subclass_may_bring_its_own_constructor():
    class Encoder(fastrnn.torch.LSTM):
        def __init__(self, size):
            super().__init__(size, size, batch_first=True)

    assert explain(Encoder(4), torch.zeros(2, 3, 4)).path == "fastrnn"


# ---- what is torch.nn's business -----------------------------------------------------------------


def test_autocast_goes_to_torch_nn():
    theirs, ours = pair("LSTM", I, H)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert explain(ours, x) == ("torch.nn", "autocast is on")
        outputs = [tensors_of(m(x)) for m in (ours, theirs)]
    assert outputs[0][0].dtype == torch.bfloat16
    assert all(map(torch.equal, *outputs))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projection_goes_to_torch_nn():
    theirs, ours = pair("LSTM", I, H, proj_size=3)
    x = torch.randn(T, B, I)
    assert explain(ours, x) == ("torch.nn", "proj_size is not covered")
    assert all(map(torch.equal, tensors_of(ours(x)), tensors_of(theirs(x))))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch itself does
def test_forward_mode_differentiation_goes_to_torch_nn():
    from torch.autograd import forward_ad

    theirs, ours = pair("GRU", I, H)
    x, tangent = torch.randn(T, B, I), torch.randn(T, B, I)
    derivatives = []
    for module in (ours, theirs):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, tangent)
            assert explain(ours, dual).path == "torch.nn"
            derivatives.append(forward_ad.unpack_dual(module(dual)[0]).tangent.detach())
    assert torch.equal(*derivatives)


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_torchscript_gets_torch_nns_operators():
    _, ours = pair("LSTM", I, H)
    x = torch.randn(T, B, I)
    expected = ours(x)[0].detach()
    traced = torch.jit.trace(ours, x)
    assert "fastrnn::" not in str(traced.inlined_graph)
    assert_agree([traced(x)[0].detach()], [expected])
    scripted = torch.jit.script(torch.nn.Sequential(ours))
    assert_agree([scripted(x)[0].detach()], [expected])
    assert scripted.state_dict()["0.weight_hh_l0"].data_ptr() == ours.weight_hh_l0.data_ptr()


@pytest.mark.filterwarnings("ignore")
def test_torchscript_leaves_the_model_as_it_is():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Sequential(fastrnn.torch.GRU(I, I))
            self.again, self.plain, self.nothing = self.inner[0], torch.nn.Linear(I, I), None

        def forward(self, x: torch.Tensor):
            return self.plain(self.again(self.inner(x)[0])[0])

    model = Model()
    modules, x = list(model.modules()), torch.randn(T, B, I)
    for _ in range(2):
        scripted = torch.jit.script(model)
        assert "fastrnn" not in str(scripted.inlined_graph)
        assert_agree([scripted(x).detach()], [model(x).detach()])
        assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
        assert type(model.inner[0]) is fastrnn.torch.GRU


@pytest.mark.filterwarnings("ignore")
def test_torchscript_refuses_a_subclass_as_it_does_one_of_torch_nns():
    for base in (torch.nn.GRU, fastrnn.torch.GRU):

        class Doubling(base):
            def forward(self, x, hx=None):
                output, state = super().forward(x, hx)
                return output * 2, state

        with pytest.raises(RuntimeError):
            torch.jit.script(torch.nn.Sequential(Doubling(I, H)))


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_calls_of_few_steps_go_to_torch_nn_where_that_is_quicker(name):
    ours = getattr(fastrnn.torch, name)(600, 600)
    few, many = torch.zeros(1, 2, 600), torch.zeros(60, 2, 600)
    assert explain(ours, few).path == "torch.nn"
    assert explain(ours, torch.zeros(2, 2, 600)).path == "torch.nn"
    assert explain(ours, torch.zeros(1, 500, 600)).path == "torch.nn"
    assert explain(ours, torch.zeros(2, 128, 600)).path == "fastrnn"
    packed = pack_padded_sequence(torch.zeros(3, 100, 600), [3] * 56 + [2] * 44)  # 256 rows
    assert explain(ours, packed).path == "fastrnn"
    assert explain(ours, many).path == "fastrnn"
    assert explain(fastrnn.torch.LSTM(600, 600), few).path == "fastrnn"
    with always_fastrnn():
        assert explain(ours, few).path == "fastrnn"
