"""Gradients without the reference: finite differences, and torch's autograd if installed."""

import dataclasses

import numpy as np
import pytest

from cases import CELLS, Case, backward, named_arrays, problem_of, run_backward, run_forward
from masks import SEED, input_masks_for, masks_for
from reference import recurrent as reference

SMALL = Case(T=4, B=3, I=3, H=4, layers=2, bidirectional=True, lengths="zeros")


def loss(case, result):
    """The scalar whose gradients run_backward returns."""
    p = problem_of(case)
    pairs = [
        (p.doutput, result.output),
        (p.dh, result.h),
        (p.dc, result.c),
        (p.dcells, result.cells),
    ]
    return sum(np.vdot(d, value) for d, value in pairs if d is not None)


def numeric_gradient(case, name, **options):
    """Central differences; with eps = 1e-5 they err by about eps**2 + u / eps = 1e-10 of the
    loss."""
    p, eps = problem_of(case), 1e-5
    original = p.weights[name] if name in p.weights else getattr(p, name)
    gradient = np.zeros_like(original)
    for index in np.ndindex(original.shape):
        losses = []
        for change in (eps, -eps):
            moved = original.copy()
            moved[index] += change
            argument = (
                {"weights": p.weights | {name: moved}} if name in p.weights else {name: moved}
            )
            losses.append(loss(case, run_forward(case, **argument, **options)))
        gradient[index] = (losses[0] - losses[1]) / (2 * eps)
    return gradient


def relu_arguments(case, **masks):
    """Every number that the relu network of a case puts through relu."""
    p = problem_of(case)
    result = reference.forward(
        case.cell, p.x, p.weights, p.h0, lengths=p.lengths, **masks, **case.options
    )
    arguments = []
    for (layer, direction, _), tape in result.tapes.items():
        w = reference.weights_of(p.weights, layer, direction)
        for x, h, _ in tape:
            arguments.append(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"])
    return np.concatenate(arguments)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_agree_with_finite_differences(cell, dropout):
    case = dataclasses.replace(SMALL, cell=cell)
    options = {"dropout": dropout, "input_dropout": dropout / 2, "seed": SEED}
    if (
        cell == "rnn_relu"
    ):  # a step of 1e-5 in a weight or input, times values up to 3, stays on one side of the kink
        masks = dict(masks=masks_for(case, dropout), input_masks=input_masks_for(case, dropout / 2))
        assert np.abs(relu_arguments(case, **masks)).min() > 1e-3
    gradients = named_arrays(run_backward(case, run_forward(case, **options).cache))
    assert len(gradients) == 2 + (cell == "lstm") + 16
    for name, analytic in gradients.items():
        numeric = numeric_gradient(case, name, **options)
        error = np.linalg.norm(analytic - numeric)
        assert error <= 1e-6 * np.linalg.norm(numeric), name


# ---- torch ---------------------------------------------------------------------------------------


def torch_module(torch, case):
    """torch.nn's module for a case, holding its weights, in float64."""
    sizes = case.I, case.H, case.layers
    options = {
        "bidirectional": case.bidirectional,
        "bias": case.biases == "both",
        "dtype": torch.float64,
    }
    if case.cell.startswith("rnn_"):
        module = torch.nn.RNN(*sizes, nonlinearity=case.cell.removeprefix("rnn_"), **options)
    else:
        module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[case.cell](*sizes, **options)
    module.load_state_dict({k: torch.tensor(v) for k, v in problem_of(case).weights.items()})
    return module


def torch_answers(torch, case, lengths):
    """What torch computes for a case (packed where it has lengths): its Result and Gradients."""
    p, module = problem_of(case), torch_module(torch, case)
    x, h0 = (torch.tensor(a, requires_grad=True) for a in (p.x, p.h0))
    c0 = None if p.c0 is None else torch.tensor(p.c0, requires_grad=True)
    rnn = torch.nn.utils.rnn
    given = x if lengths is None else rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, state = module(given, h0 if c0 is None else (h0, c0))
    if lengths is not None:
        output, _ = rnn.pad_packed_sequence(output, total_length=case.T)
    outputs = [output, state] if c0 is None else [output, *state]
    incoming = [p.doutput, p.dh] if c0 is None else [p.doutput, p.dh, p.dc]
    sum((torch.tensor(d) * o).sum() for d, o in zip(incoming, outputs, strict=True)).backward()
    values = dict(zip(["output", "h", "c"], (o.detach().numpy() for o in outputs), strict=False))
    gradients = {"x": x.grad.numpy(), "h0": h0.grad.numpy()}
    gradients |= {} if c0 is None else {"c0": c0.grad.numpy()}
    gradients |= {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
    return values, gradients


@pytest.mark.parametrize(
    "lengths", [None, [7, 5, 5, 2, 1, 1], [1, 5, 7, 2, 5, 1]], ids=["dense", "sorted", "shuffled"]
)
@pytest.mark.parametrize("biases", ["both", "none"])
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_agree_with_torch(cell, biases, lengths):
    torch = pytest.importorskip("torch")
    case = Case(cell, T=7, B=6, I=10, H=6, layers=2, bidirectional=True, biases=biases)
    values, gradients = torch_answers(torch, case, lengths)
    p = problem_of(case)
    result = run_forward(case, lengths=lengths)
    actual = backward(cell, result.cache, p.doutput, p.dh, p.dc)
    # float64 on both sides, sums of at most a few hundred terms of order 1
    for name, expected in values.items():
        np.testing.assert_allclose(
            getattr(result, name), expected, rtol=0, atol=1e-10, err_msg=name
        )
    assert named_arrays(actual).keys() == gradients.keys()
    for name, array in named_arrays(actual).items():
        np.testing.assert_allclose(array, gradients[name], rtol=0, atol=1e-10, err_msg=name)
