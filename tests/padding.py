"""The same sequences, padded in many ways: what the tests of masks share."""

import numpy as np

LENGTHS = [7, 3, 0, 5, 1]


def normal(*shape, dtype="float32", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def holes(steps=9, rows=5, seed=3):
    """A mask with gaps anywhere; one row has no step at all."""
    mask = np.random.default_rng(seed).random((rows, steps)) < 0.6
    mask[2] = False
    return mask


def laid_out(sequences, mask, filler):
    """[B, T, ...] with each sequence's steps at the places of its mask, ``filler`` elsewhere."""
    x = np.full((*mask.shape, *sequences[0].shape[1:]), filler, sequences[0].dtype)
    for row, sequence, exists in zip(x, sequences, mask, strict=True):
        row[exists] = sequence
    return x


def layouts(lengths):
    """The same sequences with other amounts of left padding, right padding and holes."""
    lengths, longest = np.array(lengths)[:, None], max(lengths)
    yield "as long as the longest", np.arange(longest) < lengths
    yield "right padding", np.arange(longest + 5) < lengths
    for extra in (0, 1, 6):
        steps = longest + extra
        yield f"left padding, {extra} more", np.arange(steps) >= steps - lengths
    for seed in range(2):
        mask, rng = np.zeros((len(lengths), 12), bool), np.random.default_rng(seed)
        for row, length in zip(mask, lengths[:, 0], strict=True):
            row[rng.choice(12, length, replace=False)] = True
        yield f"holes {seed}", mask
