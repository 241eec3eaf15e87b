"""The lengths behind a PackedSequence, which says how many sequences each step has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from fastrnn._load import core
from fastrnn._typing import Integers


class Packing(NamedTuple):
    """What the rows of packed data [N, F] are."""

    steps: int
    batch: int
    lengths: Integers | None  # [B], the longest first; None where all have every step


def read_packing(batch_sizes: Tensor, tokens: int) -> Packing:
    """Read a PackedSequence's ``batch_sizes`` [T].

    Raises
    ------
    ValueError
        If they rise, are below 1 or do not add up to ``tokens``.
    """
    sizes = batch_sizes.contiguous().numpy()
    steps, batch = len(sizes), int(sizes[0]) if len(sizes) else 0
    lengths = np.empty(max(0, min(batch, tokens)), np.int64)
    if not core.packed_lengths(sizes, tokens, lengths):
        raise ValueError(
            f"batch_sizes: expected sizes of 1 or more that never rise and add up to {tokens}, "
            f"got {sizes.tolist()}"
        )
    return Packing(steps, batch, None if lengths[-1] == steps else lengths)
