"""The dropout masks of the core, made visible."""

import functools
import itertools

import numpy as np

from cases import forward
from fastrnn import ops

SEED = 1234
FIRST_INPUT_STREAM = 2**31  # cpp/ops/dropout.h


@functools.cache
def masks_of(layers, T, B, H, bidirectional, p, seed):
    """The masks [T, B, D * H] of all layers but the last, read off relu networks that only pass
    them on.

    Layer k emits ones, layer k + 1 copies its input; a mask depends on neither the cell nor the
    layers around it.
    """
    D, masks = 1 + bidirectional, []
    for k in range(layers - 1):
        weights = {}
        for layer, direction in itertools.product(range(k + 2), range(D)):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            w_ih = np.zeros((H, 1 if layer == 0 else D * H))
            if layer == k + 1:
                w_ih[:, direction * H : (direction + 1) * H] = np.eye(H)
            weights["weight_ih" + suffix] = w_ih
            weights["weight_hh" + suffix] = np.zeros((H, H))
            weights["bias_ih" + suffix] = np.full(H, float(layer <= k))
        result = forward(
            "rnn_relu",
            np.zeros((T, B, 1)),
            weights,
            num_layers=k + 2,
            bidirectional=bidirectional,
            dropout=p,
            seed=seed,
        )
        masks.append(result.output)
    return masks


def masks_for(case, p, seed=SEED):
    return masks_of(case.layers, case.T, case.B, case.H, case.bidirectional, p, seed)


def input_masks_for(case, p, seed=SEED):
    """The masks [D, B, I] of what each direction of the first layer sees of x."""
    ones = np.ones((case.B, 1, case.I), case.dtype)
    streams = range(FIRST_INPUT_STREAM, FIRST_INPUT_STREAM + case.directions)
    return np.stack([ops.dropout(ones, p, seed, stream=stream)[:, 0] for stream in streams])
