"""PackedSequences in and out."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402

from cases import pairwise, row_id  # noqa: E402
from fastrnn.torch import explain  # noqa: E402
from torch_cases import (  # noqa: E402
    SEQUENCES,
    always_fastrnn,
    assert_same_answers,
    outputs_and_gradients,
    pair,
    state_of,
    tensors_of,
)

I, H = 4, 7  # noqa: E741

LENGTHS = {
    "falling": [6, 5, 3, 2, 1],
    "shuffled": [3, 6, 1, 5, 6],
    "equal": [6, 6, 6],
    "one sequence": [6],
    "single steps": [1, 1, 1],
    "long tail": [6, 1, 1, 1],
}

GRID = pairwise(
    name=SEQUENCES,
    lengths=tuple(LENGTHS),
    num_layers=(1, 2),
    bidirectional=(False, True),
    batch_first=(False, True),
    states=(True, False),
    dtype=(torch.float64, torch.float32),
)


def packed(lengths, dtype=torch.float32, seed=4):
    generator = torch.Generator().manual_seed(seed)
    sequences = [torch.randn(n, I, generator=generator, dtype=dtype) for n in lengths]
    falling = lengths == sorted(lengths, reverse=True)
    return pack_sequence(sequences, enforce_sorted=falling)


@pytest.mark.parametrize("case", GRID, ids=row_id)
def test_outputs_and_gradients_are_those_of_torch_nn(case):
    options = {k: case[k] for k in ("num_layers", "bidirectional", "batch_first", "dtype")}
    theirs, ours = pair(case["name"], I, H, **options)
    lengths = LENGTHS[case["lengths"]]
    args = (packed(lengths, case["dtype"]),)
    if case["states"]:
        args += (state_of(theirs, len(lengths)),)
    with always_fastrnn():
        assert explain(ours, *args).path == "fastrnn"
        assert_same_answers(theirs, ours, *args)


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_comes_out_is_packed_like_what_went_in(name):
    _, ours = pair(name, I, H)
    for lengths in LENGTHS.values():
        given = packed(lengths)
        with always_fastrnn():
            output = ours(given)[0]
        assert type(output) is PackedSequence
        assert all(o is g for o, g in zip(output[1:], given[1:], strict=True))


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_gets_the_bits_that_it_gets_alone(name):
    _, ours = pair(name, I, H, num_layers=2, bidirectional=True)
    lengths = LENGTHS["shuffled"]
    given = packed(lengths)
    with always_fastrnn(), torch.no_grad():
        output, state = ours(given)
        unpacked = torch.nn.utils.rnn.unpack_sequence(output)
        for i, sequence in enumerate(torch.nn.utils.rnn.unpack_sequence(given)):
            alone, state_alone = ours(sequence)
            assert torch.equal(unpacked[i], alone)
            for s, s_alone in zip(tensors_of(state), tensors_of(state_alone), strict=True):
                assert torch.equal(s[:, i], s_alone)


@pytest.mark.parametrize("name", SEQUENCES)
def test_equal_lengths_packed_give_the_bits_of_the_padded_sequence(name):
    _, ours = pair(name, I, H, num_layers=2)
    x = torch.randn(6, 3, I)
    with always_fastrnn():
        packed_answer = outputs_and_gradients(ours, pack_padded_sequence(x, [6, 6, 6]))
        padded_answer = outputs_and_gradients(ours, x)
    for a, p in zip(packed_answer, padded_answer, strict=True):
        assert all(map(torch.equal, [t.flatten() for t in a], [t.flatten() for t in p]))


def test_dropout_between_layers_does_not_depend_on_the_packing():
    _, ours = pair("LSTM", I, H, num_layers=2, dropout=0.5)
    x = torch.randn(6, 3, I)
    answers = []
    for given in (x, pack_padded_sequence(x, [6, 6, 6])):
        torch.manual_seed(1)
        answers.append(tensors_of(ours(given)))
    assert all(torch.equal(a.flatten(), b.flatten()) for a, b in zip(*answers, strict=True))


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_state_of_the_wrong_shape_is_torch_nns_error(name):
    theirs, ours = pair(name, I, H)
    given, state = packed([3, 2]), state_of(theirs, 3)
    messages = []
    for module in (theirs, ours):
        with pytest.raises(RuntimeError) as error:
            module(given, state)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "batch_sizes",
    [
        torch.tensor([2, 3, 2]),
        torch.tensor([3, 2, 0, 2]),
        torch.tensor([3, 2, 2, 0]),
        torch.tensor([0, 3, 4]),
        torch.tensor([3, -1, 5]),
        torch.tensor([3, 2, 3]),
        torch.tensor([3, 2]),
        torch.tensor([3, 2, 2], dtype=torch.int32),
        torch.tensor([3.0, 2.0, 2.0]),
        torch.tensor([[3, 2, 2]]),
    ],
    ids=lambda sizes: str(sizes.tolist()),
)
def test_malformed_batch_sizes_are_torch_nns_business(batch_sizes):
    packed, answers = PackedSequence(torch.randn(7, 4), batch_sizes), []
    for module in pair("GRU", 4, 5):
        try:
            with always_fastrnn():
                answers.append(module(packed)[0].data.tolist())
        except (RuntimeError, TypeError) as error:
            answers.append(str(error))
    assert answers[0] == answers[1]
    with always_fastrnn():
        assert explain(module, packed).path == "torch.nn"
