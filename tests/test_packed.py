"""The core reads and writes sequences packed: the rows of the valid steps alone."""

import numpy as np
import pytest

from fastrnn._load import core
from reference.recurrent import GATES

T, I, H = 6, 3, 20  # noqa: E741
LENGTHS = {"falling": [6, 6, 4, 3, 1], "equal": [6, 6, 6], "one": [6]}


def passes(cell, layers, directions, lengths, dtype, packed):
    """All that a forward and a backward pass give, sequences without their padding."""
    rng = np.random.default_rng(0)
    batch, width, state = len(lengths), directions * H, (layers * directions, len(lengths), H)
    valid = np.arange(T)[:, None] < np.array(lengths)  # [T, B]

    def random(*shape):
        return rng.uniform(-0.5, 0.5, shape).astype(dtype)

    def sequence(array):
        return array[valid] if packed else array

    def empty(width):
        return np.full((valid.sum(), width) if packed else (T, batch, width), np.nan, dtype)

    gates, weights = GATES[cell] * H, []
    for layer in range(layers):
        for _ in range(directions):
            columns = width if layer else I
            weights += [random(gates, columns), random(gates, H), random(gates), random(gates)]
    x, doutput = sequence(random(T, batch, I)), sequence(random(T, batch, width))
    h0, dhn = random(*state), random(*state)
    lstm = cell == "lstm"
    c0, dcn = (random(*state), random(*state)) if lstm else (None, None)
    plan = core.Plan(
        cell, dtype == "float64", T, batch, I, H, layers, directions,
        np.array(lengths), 0.3, 7, True,
    )  # fmt: skip
    output, hn, cn = empty(width), np.empty(state, dtype), np.empty(state, dtype) if lstm else None
    cache = core.recurrent_forward(plan, x, weights, h0, c0, output, hn, cn, None)
    dx, dh0, dc0 = empty(I), np.empty(state, dtype), np.empty(state, dtype) if lstm else None
    dweights = [np.empty_like(w) for w in weights]
    core.recurrent_backward(
        plan, cache, x, weights, h0, c0, output, doutput, dhn, dcn, None, dx, dh0, dc0, dweights
    )
    if not packed:
        output, dx = output[valid], dx[valid]
    return [a for a in (output, hn, cn, dx, dh0, dc0, *dweights) if a is not None]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("cell", sorted(GATES))
def test_packed_sequences_get_the_bits_of_padded_ones(cell, layers, directions, lengths, dtype):
    given = cell, layers, directions, lengths, dtype
    for packed, padded in zip(passes(*given, True), passes(*given, False), strict=True):
        assert np.array_equal(packed, padded)


@pytest.mark.parametrize(
    ("lengths", "tokens", "message"),
    [([4, 6], 10, "x: is packed, so the lengths must not rise"), ([6, 4], 9, "x: expected shape")],
)
def test_what_is_packed_otherwise_is_an_error(lengths, tokens, message):
    plan = core.Plan("gru", False, T, 2, I, H, 1, 1, np.array(lengths), 0.0, 0, False)
    weights = [np.zeros(s, np.float32) for s in ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,))]
    x, output = np.zeros((tokens, I), np.float32), np.zeros((T, 2, H), np.float32)
    with pytest.raises(ValueError, match=message):
        core.recurrent_forward(
            plan, x, weights, None, None, output, np.zeros((1, 2, H), np.float32), None, None
        )
