"""What the tests of the drop-in share: a module of torch.nn and fastrnn's with the same weights."""

from contextlib import contextmanager

import torch
from torch.nn.utils.rnn import PackedSequence

import fastrnn.torch
from cases import TOLERANCE

SEQUENCES = ("RNN", "LSTM", "GRU")
CELLS = ("RNNCell", "LSTMCell", "GRUCell")


@contextmanager
def always_fastrnn():
    """No call is left to torch.nn because it is quicker there."""
    fastrnn.torch.always(True)
    try:
        yield
    finally:
        fastrnn.torch.always(False)


def pair(name, *args, **options):
    """(torch.nn's module, fastrnn's with the same weights)."""
    theirs = getattr(torch.nn, name)(*args, **options)
    ours = getattr(fastrnn.torch, name)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state_of(module, rows, seed=2):
    """A random hx for an nn.RNN, LSTM or GRU and so many sequences; None: no batch axis."""
    generator = torch.Generator().manual_seed(seed)
    layers = module.num_layers * (2 if module.bidirectional else 1)
    shape = (layers, module.hidden_size) if rows is None else (layers, rows, module.hidden_size)

    def random():
        return torch.randn(shape, generator=generator, dtype=module.weight_ih_l0.dtype)

    return (random(), random()) if module.mode == "LSTM" else random()


def tensors_of(answer):
    """The tensors in what a module returned, in order."""
    if isinstance(answer, PackedSequence):
        return [answer.data]
    if isinstance(answer, tuple | list):
        return [t for part in answer for t in tensors_of(part)]
    return [answer]


def copied(argument):
    """Arguments of the same values that share no memory, leaves that want gradients."""
    if isinstance(argument, PackedSequence):
        return PackedSequence(copied(argument.data), *argument[1:])
    if isinstance(argument, tuple | list):
        return tuple(copied(a) for a in argument)
    if isinstance(argument, torch.Tensor):
        return argument.detach().clone().requires_grad_()
    return argument


def outputs_and_gradients(module, *args):
    """Lists of the output tensors and of the gradients of a random function of them by every input
    and parameter."""
    args = copied(args)
    outputs = tensors_of(module(*args))
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs
    )
    inputs = [t for t in tensors_of(args) if t is not None]
    gradients = torch.autograd.grad(loss, [*inputs, *module.parameters()])
    return [o.detach() for o in outputs], gradients


def assert_agree(actual, expected, times=1, least=0.0):
    """Equal in shape and type, and within the tolerance that the functional form is held to, of the
    largest element or of `least`: torch errs as much."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        if e.numel():
            limit = times * TOLERANCE[e.numpy().dtype] * max(e.abs().max(), least)
            assert (a - e).abs().max() <= limit


def assert_same_answers(theirs, ours, *args, least=0.0):
    """Both modules give the same outputs and gradients."""
    expected_outputs, expected_gradients = outputs_and_gradients(theirs, *args)
    outputs, gradients = outputs_and_gradients(ours, *args)
    assert_agree(outputs, expected_outputs, least=least)
    assert_agree(gradients, expected_gradients, times=5, least=least)
