"""torch.compile and torch.export see one operator."""

import os
import shutil

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import fastrnn.torch  # noqa: E402
from subprocesses import output_of  # noqa: E402
from torch_cases import CELLS, SEQUENCES, assert_agree, pair, state_of, tensors_of  # noqa: E402

COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="inductor compiles C++")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what Dynamo and inductor themselves do

T, B, I, H = 4, 3, 5, 7  # noqa: E741


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, I)
        self.encoder = fastrnn.torch.GRU(I, H, num_layers=2, dropout=0.5, bidirectional=True)
        self.head = nn.Linear(2 * H, 3)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids))[0])


@pytest.fixture(autouse=True)
def forget_compiled_code():
    yield
    torch.compiler.reset()


def answers(module, *args):
    """Outputs and the parameters' gradients."""
    outputs = tensors_of(module(*args))
    gradients = torch.autograd.grad(sum(o.square().sum() for o in outputs), module.parameters())
    return [o.detach() for o in outputs], gradients


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=needs_compiler)])
@pytest.mark.parametrize("name", SEQUENCES)
def test_a_module_compiles_into_one_graph(name, backend):
    _, ours = pair(name, I, H, num_layers=2, bidirectional=True, batch_first=True)
    args = torch.randn(B, T, I), state_of(ours, B)
    expected = answers(ours, *args)
    compiled = torch.compile(ours, fullgraph=True, backend=backend)
    for actual, wanted in zip(answers(compiled, *args), expected, strict=True):
        assert_agree(actual, wanted, times=5)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=needs_compiler)])
@pytest.mark.parametrize("name", SEQUENCES)
def test_compiled_code_may_write_into_the_output(name, backend):
    _, ours = pair(name, I, H, num_layers=2)

    class Rectified(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            self.layer, self.inplace = ours, inplace

        def forward(self, x):
            return nn.functional.relu(self.layer(x)[0], inplace=self.inplace)

    x = torch.randn(9, B, I)
    expected = answers(Rectified(inplace=False), x)
    compiled = torch.compile(Rectified(inplace=True), fullgraph=True, backend=backend)
    for actual, wanted in zip(answers(compiled, x), expected, strict=True):
        assert_agree(actual, wanted, times=5)


@needs_compiler
def test_a_model_compiles_into_one_graph_for_any_size():
    model = Tagger()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for shape in ((T, B), (9, 2), (3, 8)):
        ids = torch.randint(11, shape)
        model.eval()
        assert_agree([compiled(ids).detach()], [model(ids).detach()])
        model.train()
        compiled(ids).sum().backward()


def test_a_graph_has_one_node_for_all_steps_and_layers():
    found = []

    def backend(graph, inputs):
        found.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch.compile(Tagger().eval(), fullgraph=True, backend=backend)(torch.randint(11, (T, B)))
    assert [name for name in found if "fastrnn" in name] == ["fastrnn.recurrent.default"]


def test_dropout_in_compiled_code_follows_the_seed():
    model = Tagger()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    ids, outputs = torch.randint(11, (T, B)), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(compiled(ids))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_packed_sequences_compile_into_one_graph():
    _, ours = pair("LSTM", I, H)
    packed = nn.utils.rnn.pack_sequence(
        [torch.randn(n, I) for n in (2, 4, 3)], enforce_sorted=False
    )
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    assert_agree([compiled(packed)[0].data.detach()], [ours(packed)[0].data.detach()])


@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_torch_fx_records_a_call_as_one_node(name):
    theirs, ours = pair(name, I, H)
    x = torch.randn(B, I) if name in CELLS else torch.randn(T, B, I)

    class Model(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x, hx):
            return self.layer(x, hx=hx)

    hx = tensors_of(theirs(x) if name in CELLS else theirs(x)[1])
    hx = tuple(hx) if name.startswith("LSTM") else hx[0]
    graphs = [torch.fx.symbolic_trace(Model(layer)) for layer in (theirs, ours)]
    assert graphs[0].code == graphs[1].code
    outputs = [[o.detach() for o in tensors_of(graph(x, hx))] for graph in graphs]
    assert_agree(outputs[1], outputs[0])
    traced = torch.fx.symbolic_trace(nn.Sequential(ours))  # no state
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRUCell"])
def test_torch_fx_records_a_call_of_constants_too(name):
    """A result that is computed while tracing would not follow the parameters."""
    theirs, ours = pair(name, I, H)
    x = torch.randn(B, I) if name in CELLS else torch.randn(T, B, I)

    class Model(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer
            self.register_buffer("x", x)

        def forward(self, *hx):
            return self.layer(self.x, *hx)

    class OnlyState(Model):
        def forward(self, hx):
            return super().forward(hx)

    class Constants(Model):
        def forward(self):
            return super().forward()

    for model in (OnlyState, Constants):
        graphs = [torch.fx.symbolic_trace(model(layer)) for layer in (theirs, ours)]
        assert graphs[0].code == graphs[1].code
        assert "call_module" in [node.op for node in graphs[1].graph.nodes]


def test_torch_fx_refuses_a_subclass_as_it_does_one_of_torch_nns():
    for base in (nn.GRU, fastrnn.torch.GRU):

        class Doubling(base):
            def forward(self, x, hx=None):
                output, state = super().forward(x, hx)
                return output * 2, state

        with pytest.raises(torch.fx.proxy.TraceError):
            torch.fx.symbolic_trace(nn.Sequential(Doubling(I, H)))


def test_a_model_compiled_before_it_is_accelerated_uses_fastrnn():
    model = nn.Sequential(nn.GRU(I, H, num_layers=2))
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(9, B, I)
    expected = compiled(x)[0].detach()
    for change, path in ((fastrnn.torch.accelerate, True), (fastrnn.torch.restore, False)):
        change(compiled)
        with torch.profiler.profile() as profile:
            output = compiled(x)[0].detach()
        assert path == any("fastrnn::recurrent" in event.name for event in profile.events())
        assert_agree([output], [expected])


@needs_compiler
def test_compiled_code_is_not_taken_from_other_versions(tmp_path, monkeypatch):
    """Graphs on disk are found by their forward part, which does not show what backward calls."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCH_COMPILE_CACHE_KEY_TAG", "mine")
    code = """
        import warnings; warnings.simplefilter("ignore")
        import torch, fastrnn
        fastrnn.__version__ = "{version}"
        import fastrnn.torch
        from torch._dynamo.utils import counters
        layer = fastrnn.torch.GRU(3, 5)
        torch.compile(layer, fullgraph=True)(torch.ones(4, 2, 3))[0].sum().backward()
        print(counters["aot_autograd"]["autograd_cache_hit"], torch.compiler.config.cache_key_tag)
    """
    versions = ("0.0.1", "0.0.1", "0.0.2")
    found = [output_of(code.format(version=version), timeout=300).split() for version in versions]
    assert [words[0] for words in found] == ["0", "1", "0"]
    assert [words[1:4] for words in found] == [["mine", "fastrnn", version] for version in versions]


def test_torch_nns_own_modules_still_break_the_graph():
    """Dynamo's option is set for our modules alone."""
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(nn.LSTM(I, H), fullgraph=True, backend="eager")(torch.randn(T, B, I))


@pytest.mark.parametrize("autocast", [True, False])
def test_a_compiled_lstm_trains_in_bfloat16_as_torch_nns_does(autocast):
    gradients = []
    for layer in pair("LSTM", I, H, num_layers=2):
        model = nn.Sequential(layer).to(torch.float32 if autocast else torch.bfloat16)
        x = torch.ones(T, B, I, dtype=model[0].weight_ih_l0.dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = torch.compile(model, backend="aot_eager")(x)[0]
        assert output.dtype == torch.bfloat16
        gradients.append(torch.autograd.grad(output.float().square().sum(), model.parameters()))
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("strict", [True, False])
def test_an_lstm_in_bfloat16_can_be_exported(strict):
    layer = fastrnn.torch.LSTM(I, H).bfloat16()
    x = torch.ones(T, B, I, dtype=torch.bfloat16)
    program = torch.export.export(layer, (x,), strict=strict)
    assert torch.equal(program.module()(x)[0], layer(x)[0])


@pytest.mark.parametrize("first", ["torch._dynamo", "fastrnn.torch"])
def test_modules_compile_whichever_was_imported_first(first):
    code = f"""
        import warnings; warnings.simplefilter("ignore")
        import {first}, torch, fastrnn.torch
        layer = fastrnn.torch.GRU(3, 5)
        print(torch.compile(layer, fullgraph=True, backend="eager")(torch.ones(4, 2, 3))[0].shape)
    """
    assert output_of(code, timeout=300) == "torch.Size([4, 2, 5])"


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_is_the_model_for_any_size(strict):
    model = Tagger().eval()
    sizes = {0: torch.export.Dim("steps", min=2), 1: torch.export.Dim("batch", min=2)}
    program = torch.export.export(
        model, (torch.randint(11, (T, B)),), dynamic_shapes=(sizes,), strict=strict
    )
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("fastrnn.recurrent.default") == 1
    ids = torch.randint(11, (9, 5))
    assert torch.equal(program.module()(ids), model(ids))


def test_what_is_exported_to_onnx_has_torchs_operators_alone(monkeypatch):
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    program = torch.export.export(Tagger().eval(), (torch.randint(11, (T, B)),))
    assert not [node for node in program.graph.nodes if "fastrnn" in str(node.target)]


def test_an_exported_model_can_be_saved_loaded_and_trained(tmp_path):
    model = Tagger()
    ids = torch.randint(11, (T, B))
    torch.export.save(torch.export.export(model.eval(), (ids,)), tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for module in (loaded, model):
        module.zero_grad()
        module(ids).square().sum().backward()
    gradients = dict(loaded.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(gradients[name].grad, parameter.grad)
