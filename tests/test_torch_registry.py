"""PyTorch's own module tests' inputs: the same outputs, gradients and errors from both."""

import warnings
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of Numba and others, which it imports where they are
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import fastrnn.torch  # noqa: E402
from torch_cases import CELLS, SEQUENCES, always_fastrnn, assert_same_answers  # noqa: E402

REGISTRY = {
    info.module_cls.__name__: info
    for info in module_db
    if info.module_cls in [getattr(torch.nn, name) for name in SEQUENCES + CELLS]
}


def test_the_registry_has_all_six_modules():
    assert REGISTRY.keys() == {*SEQUENCES, *CELLS}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("path", ["always fastrnn", "the quicker"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_every_module_input_gives_the_same_outputs_and_gradients(name, training, path, dtype):
    info, dtype = REGISTRY[name], getattr(torch, dtype)
    packed = {"with_packed_sequence": True} if name in ("RNN", "GRU") else {}
    samples = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training, **packed
    )
    assert samples
    for sample in samples:
        args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
        theirs = getattr(torch.nn, name)(*args, **kwargs, dtype=dtype).train(training)
        ours = getattr(fastrnn.torch, name)(*args, **kwargs, dtype=dtype).train(training)
        ours.load_state_dict(theirs.state_dict())
        forward = sample.forward_input
        assert not forward.kwargs
        with always_fastrnn() if path == "always fastrnn" else nullcontext():
            # Inputs up to 9 saturate the units. Their derivatives, 1 - h * h, are small and err as
            # h does: over 400 seeds up to 3e-15 where the largest gradient is 0.003 (float64).
            assert_same_answers(theirs, ours, *forward.args, least=0.1)
            if path == "always fastrnn" and not kwargs.get("proj_size"):
                assert fastrnn.torch.explain(ours, *forward.args).path == "fastrnn"


@pytest.mark.parametrize("name", SEQUENCES + CELLS)
def test_every_error_input_raises_the_same_error(name, dtype):
    info, dtype = REGISTRY[name], getattr(torch, dtype)
    samples = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=False
    )
    assert samples
    for sample in samples:
        made = sample.module_error_input.constructor_input
        forward = sample.module_error_input.forward_input
        messages = []
        for package in (torch.nn, fastrnn.torch):
            expected = pytest.raises(sample.error_type, match=sample.error_regex)
            with always_fastrnn(), expected as error:
                module = getattr(package, name)(*made.args, **made.kwargs)
                assert sample.error_on == ModuleErrorEnum.FORWARD_ERROR
                module(*forward.args, **forward.kwargs)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
