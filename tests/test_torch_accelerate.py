"""accelerate, restore and explain."""

import copy
import functools

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import accelerate, explain, restore  # noqa: E402
from torch_cases import SEQUENCES, assert_agree, outputs_and_gradients  # noqa: E402


class Own(nn.LSTM):
    """Somebody's subclass, which may do anything."""


class Model(nn.Module):
    """Recurrent modules of every kind, at several depths."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.encoder = nn.Sequential(nn.LSTM(8, 6, num_layers=2, bidirectional=True))
        self.decoder = nn.ModuleList([nn.GRU(12, 8, batch_first=True), nn.RNN(8, 8)])
        self.again = self.decoder[0]
        self.cell = nn.GRUCell(8, 8)
        self.projected = nn.LSTM(8, 8, proj_size=2)
        self.half = nn.GRU(8, 8).half()
        self.elsewhere = nn.GRU(8, 8, device="meta")
        self.own = Own(8, 8)
        self.head = nn.Linear(8, 11)

    def forward(self, ids):
        x = self.encoder[0](self.embedding(ids))[0]
        for layer in self.decoder:
            x = layer(x)[0]
        return self.head(x)


SWAPPED = {"encoder.0": "LSTM", "decoder.0": "GRU", "decoder.1": "RNN"}
LEFT = {
    "cell": "in a single step torch.nn is quicker",
    "projected": "proj_size is not covered",
    "half": "is torch.float16, not float32 or float64",
    "elsewhere": "is on the device meta",
    "own": "is of a class of its own, test_torch_accelerate.Own",
}


def test_every_sequence_module_is_swapped_and_the_rest_is_left_with_a_reason():
    model = Model()
    report = accelerate(model)
    assert {entry.name for entry in report.swapped} == SWAPPED.keys()
    assert {entry.name: entry.reason for entry in report.left} == LEFT
    for name, module in model.named_modules():
        ours = type(module).__module__ == "fastrnn.torch"
        assert ours == (name in SWAPPED)
        assert not ours or type(module).__name__ == SWAPPED[name]
    assert model.again is model.decoder[0]


def test_the_report_is_a_table():
    model = nn.Sequential(nn.LSTM(8, 6, num_layers=2), nn.GRUCell(6, 4))
    assert str(accelerate(model)).splitlines() == [
        "swapped  0  LSTM(8, 6, num_layers=2)",
        "left     1  GRUCell(6, 4): in a single step torch.nn is quicker",
    ]
    assert str(accelerate(nn.Linear(2, 2))) == "no recurrent module found"
    assert str(accelerate(nn.GRU(2, 2))) == "swapped  (the model)  GRU(2, 2)"


def test_a_second_time_changes_nothing():
    model = Model()
    accelerate(model)
    report = accelerate(model)
    assert not report.swapped
    assert {e.name for e in report.left if e.reason == "is fastrnn's already"} == SWAPPED.keys()


def test_parameters_state_and_modules_stay_the_same_objects():
    model = Model()
    modules = list(model.modules())
    parameters = dict(model.named_parameters())
    state = list(model.state_dict())
    text = repr(model)
    for change in (accelerate, restore):
        change(model)
        assert all(map(lambda a, b: a is b, model.modules(), modules))
        assert all(p is parameters[name] for name, p in model.named_parameters())
        assert list(model.state_dict()) == state
        assert repr(model) == text


def test_restore_gives_torch_nns_classes_back():
    model = Model()
    classes = [type(m) for m in model.modules()]
    accelerate(model)
    report = restore(model)
    assert {entry.name for entry in report.swapped} == SWAPPED.keys()
    assert not report.left
    assert [type(m) for m in model.modules()] == classes
    assert not restore(model).swapped


def test_restore_leaves_a_subclass_of_ours_and_says_so():
    class Encoder(fastrnn.torch.LSTM):
        pass

    report = restore(nn.Sequential(Encoder(2, 2)))
    assert "is of a class of its own" in report.left[0].reason


def wrap(module):
    """Replace a module's forward on the instance, as libraries that move weights about do."""
    module.forward = functools.partial(lambda old, *args: old(*args), module.forward)


def test_a_forward_that_was_replaced_is_left_before_and_after():
    x, reason = torch.randn(4, 2, 8), "has a forward of its own, set on the instance"
    model = nn.Sequential(nn.LSTM(8, 8))
    wrap(model[0])
    assert [entry.reason for entry in accelerate(model).left] == [reason]
    assert type(model[0]) is nn.LSTM
    del model[0].forward
    assert accelerate(model).swapped
    wrap(model[0])
    assert explain(model[0], x) == ("unknown", reason)
    assert [entry.reason for entry in restore(model).left] == [reason]
    model(x)
    del model[0].forward
    assert explain(model[0], x).path == "fastrnn"
    assert restore(model).swapped


@pytest.mark.skipif(
    not {"fbgemm", "x86"} & set(torch.backends.quantized.supported_engines),
    reason="torch has no engine for quantized layers here",
)
@pytest.mark.filterwarnings("ignore")  # quantization is deprecated
def test_a_restored_model_can_be_quantized():
    model = nn.Sequential(nn.LSTM(3, 5))
    accelerate(model)
    restore(model)
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    assert type(quantized[0]).__module__.startswith("torch.ao.nn.quantized")


def test_an_optimiser_goes_on_across_swaps():
    torch.manual_seed(0)
    plain = Model()
    for name in ("projected", "half", "elsewhere"):
        delattr(plain, name)
    swapped = copy.deepcopy(plain)
    losses = {}
    for model, changes in ((plain, []), (swapped, [accelerate, restore, accelerate])):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        ids = torch.randint(11, (9, 4), generator=torch.Generator().manual_seed(1))
        for step in range(30):
            if step % 10 == 0 and changes:
                changes.pop(0)(model)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
            loss.backward()
            optimizer.step()
        losses[model] = loss.item()
    assert losses[plain] < 2  # from 2.4
    # 30 steps of Adam carry a difference of 1e-7 on.
    assert abs(losses[plain] - losses[swapped]) < 1e-3


@pytest.mark.parametrize("name", SEQUENCES)
def test_hooks_and_parametrizations_survive(name):
    module = getattr(nn, name)(3, 5)
    parametrizations.weight_norm(module, "weight_hh_l0")
    calls = []
    module.register_forward_hook(lambda *_: calls.append(type(module).__mro__))
    x = torch.randn(4, 2, 3)
    expected = outputs_and_gradients(copy.deepcopy(module), x)
    assert len(accelerate(module).swapped) == 1
    assert explain(module, x).path == "fastrnn"
    ours = getattr(fastrnn.torch, name)
    for copied in (copy.deepcopy(module), module):
        assert isinstance(copied, ours)
        for actual, wanted in zip(outputs_and_gradients(copied, x), expected, strict=True):
            assert_agree(actual, wanted, times=5)
    restore(module)
    assert not isinstance(module, ours)
    assert all(map(torch.equal, outputs_and_gradients(module, x)[1], expected[1]))
    assert [ours in classes for classes in calls] == [False, True, True, False]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_explain_names_the_path_and_the_reason():
    layer, x = fastrnn.torch.LSTM(3, 5), torch.zeros(4, 2, 3)
    assert explain(layer, x) == ("fastrnn", "float32 on the CPU")
    assert str(explain(layer, x)) == "fastrnn: float32 on the CPU"
    for changed, reason in (
        ((x.half(),), "the input is torch.float16, not float32 or float64"),
        ((x.double(),), "the input is torch.float64, a parameter torch.float32"),
        ((x.to("meta"),), "the input is on the device meta"),
        ((x.to_sparse(),), "the input is torch.sparse_coo"),
        ((torch.nested.nested_tensor([x[0], x[1]]),), "the input is nested"),
        ((x[..., :2],), "the input has 2 features, not input_size=3"),
        ((x[0, 0],), "the input has 1 dimensions"),
        ((x[:0],), "the sequence is empty"),
        ((x.numpy(),), "the input is a ndarray, not a tensor"),
        ((x, x[0]), "hx is not a pair of states"),
        ((x, (x, x)), "a state has the shape (4, 2, 3), not (1, 2, 5)"),
    ):
        assert explain(layer, *changed) == ("torch.nn", reason)


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_explain_changes_nothing_that_parametrizations_hold_or_draw(name):
    class Noisy(nn.Module):
        def forward(self, weight):
            return weight + torch.randn(()) * 0.01

    layer = getattr(fastrnn.torch, name)(3, 5)
    weight, *_ = dict(layer.named_parameters())
    nn.utils.parametrizations.spectral_norm(layer, weight)
    nn.utils.parametrize.register_parametrization(layer, weight, Noisy())
    layer.parametrizations[weight][1].eval()
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    drawn, modes = torch.get_rng_state(), [module.training for module in layer.modules()]
    explain(layer, torch.zeros(2, 3) if name == "LSTMCell" else torch.zeros(4, 2, 3))
    assert all(torch.equal(tensor, state[name]) for name, tensor in layer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [module.training for module in layer.modules()] == modes
    layer(torch.zeros(2, 3) if name == "LSTMCell" else torch.zeros(4, 2, 3))
    assert not torch.equal(torch.get_rng_state(), drawn)


def test_explain_points_from_torch_nns_modules_to_accelerate():
    answer = explain(nn.GRU(3, 5), torch.zeros(4, 2, 3))
    assert answer.path == "torch.nn"
    assert "accelerate" in answer.reason


@pytest.mark.parametrize("change", [accelerate, restore])
def test_what_is_no_model_is_named(change):
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got int"):
        change(3)


def test_explain_refuses_what_is_not_recurrent():
    with pytest.raises(TypeError, match="module: expected a recurrent module, got torch"):
        explain(nn.Linear(3, 5), torch.zeros(4, 3))
