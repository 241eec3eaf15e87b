"""recompute and memory_limit through the drop-in: the same bits from less memory."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import fastrnn.torch  # noqa: E402
from fastrnn.torch import _kernels, accelerate, explain, restore  # noqa: E402

modes = pytest.mark.parametrize("mode", ["gates", "checkpoint", "auto", "400kB"])
CLASSES = {
    "LSTM": lambda: fastrnn.torch.LSTM(5, 20, num_layers=2, bidirectional=True, dropout=0.3),
    "GRU": lambda: fastrnn.torch.GRU(5, 20, num_layers=2),
    "RNN": lambda: fastrnn.torch.RNN(5, 20, nonlinearity="relu"),
}


@pytest.fixture
def modes_run(monkeypatch):
    """The modes that the core was asked for."""
    asked = []
    plan = _kernels._plan

    def remember(recompute, *arguments):
        asked.append(recompute)
        return plan(recompute, *arguments)

    monkeypatch.setattr(_kernels, "_plan", remember)
    return asked


def gradients(module, x):
    torch.manual_seed(3)  # of dropout
    module.zero_grad(set_to_none=True)
    output = module(x)[0]
    data = output if isinstance(output, torch.Tensor) else output.data
    (data * torch.linspace(0, 1, data.numel()).view(data.shape)).sum().backward()
    return [data.detach(), *(p.grad for p in module.parameters())]


@modes
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", list(CLASSES))
def test_recomputing_gives_the_same_bits(cell, packed, mode, modes_run):
    module = CLASSES[cell]()
    x = torch.randn(700, 3, 5)
    given = pack_padded_sequence(x, [700, 33, 400], enforce_sorted=False) if packed else x
    expected = gradients(module, given)
    module.recompute = mode
    actual = gradients(module, given)
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))
    assert modes_run == ["none", mode]


def test_accelerate_sets_it_and_restore_takes_it_away():
    model = nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 4), nn.GRU(4, 4))
    keys = list(model.state_dict())
    accelerate(model, recompute="checkpoint")
    assert [model[i].recompute for i in (0, 2)] == ["checkpoint"] * 2
    assert copy.deepcopy(model)[0].recompute == "checkpoint"
    accelerate(model, memory_limit="2 MB")  # also those that are fastrnn's already
    assert model[0].recompute == "2000000B"
    accelerate(model)
    assert model[0].recompute == "2000000B"
    assert list(model.state_dict()) == keys
    restore(model)
    assert not hasattr(model[0], "recompute")
    with pytest.raises(ValueError, match="recompute: expected one of"):
        accelerate(model, recompute="much")
    assert type(model[0]) is nn.LSTM  # nothing was swapped


def test_a_wrong_mode_is_named_when_it_is_used():
    module = CLASSES["GRU"]()
    module.recompute = "much"
    with pytest.raises(ValueError, match=r"recompute: expected .*'much'"):
        module(torch.randn(3, 2, 5))
    with torch.no_grad():  # where nothing is kept, nothing is asked
        module(torch.randn(3, 2, 5))


def test_a_limit_may_be_a_number_of_bytes():
    module = CLASSES["GRU"]()
    module.recompute = 2**30
    module(torch.randn(3, 2, 5))
    assert module.recomputed == "none"
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert compiled(torch.randn(3, 2, 5))[0].requires_grad


def test_what_a_limit_takes_is_logged_at_a_change_and_named(caplog):
    module = CLASSES["GRU"]()
    long, short = torch.randn(700, 3, 5), torch.randn(70, 3, 5)
    module(long)
    assert module.recomputed is None
    module.recompute = "400kB"
    assert explain(module, short).reason == 'float32 on the CPU, recompute="400kB"'
    with caplog.at_level("INFO", "fastrnn"):
        for x, mode in ((short, "none"), (long, "gates"), (long, "gates"), (short, "none")):
            module(x)
            assert module.recomputed == mode
            assert explain(module, x).reason.endswith(
                f'recompute="400kB", which took "{mode}" last'
            )
        module.recompute = "gates"
        module(short)
    assert module.recomputed == "gates"
    assert explain(module, short).reason == 'float32 on the CPU, recompute="gates"'
    found = [record.getMessage() for record in caplog.records]
    assert [text.removesuffix(" bytes").rpartition(" ")[0] for text in found] == [
        "GRU(5, 20, num_layers=2): recompute='none', which keeps",
        "GRU(5, 20, num_layers=2): recompute='gates', which keeps",
        "GRU(5, 20, num_layers=2): recompute='none', which keeps",
    ]
    with torch.no_grad():
        module(long)
    assert module.recomputed == "gates"
    restore(module)
    assert not hasattr(module, "recomputed")


def test_a_compiled_model_recomputes_too(modes_run):
    module = CLASSES["GRU"]()
    x = torch.randn(300, 3, 5)
    expected = gradients(module, x)
    module.recompute = "gates"
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    module.zero_grad(set_to_none=True)
    output = compiled(x)[0]
    (output * torch.linspace(0, 1, output.numel()).view(output.shape)).sum().backward()
    assert all(
        torch.equal(a, e)
        for a, e in zip([output, *(p.grad for p in module.parameters())], expected, strict=True)
    )
    assert modes_run[-1] == "gates"
