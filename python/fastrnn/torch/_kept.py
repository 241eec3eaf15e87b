"""What a forward pass keeps for its backward pass, as the tensor that an operator can return.

Operators take and return tensors, and the core's cache is none. So the forward operator returns one
byte of NumPy's memory, and the array that owns the byte carries the cache. Whoever holds the
tensor, autograd or a compiled graph, holds the cache, and dropping the graph frees it. The byte's
value means nothing; its address finds the array again.

A copy of the byte (hooks may move saved tensors elsewhere and back) has another address and finds
nothing. The backward operator then repeats the forward pass, whose bits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fastrnn._load import core
from fastrnn._typing import Array, Floating

# x [T, B, I], output [T, B, D * H] (packed: [N, ...]) and the parameters, as the core takes them.
Arrays = tuple[Array, Array, list[Floating | None]]


class Kept(np.ndarray[tuple[int], np.dtype[np.uint8]]):
    """The byte and what hangs on it."""

    plan: core.Plan
    cache: core.Cache
    mode: str  # what it leaves out: "none", "gates" or "checkpoint"
    arrays: Arrays | None  # what else the backward pass reads, where it may be held
    addresses: Sequence[int]  # of the tensors that these were views of


_alive: WeakValueDictionary[int, Kept] = WeakValueDictionary()


def keep(
    plan: core.Plan,
    cache: core.Cache,
    mode: str,
    arrays: Arrays | None = None,
    addresses: Sequence[int] = (),
) -> Tensor:
    """Return the tensor, uint8 [1], that stands for all this."""
    kept = Kept((1,), np.uint8)
    kept[0] = 0
    kept.plan, kept.cache, kept.mode = plan, cache, mode
    kept.arrays, kept.addresses = arrays, addresses
    tensor = torch.from_numpy(kept)
    _alive[tensor.data_ptr()] = kept
    return tensor


def find(tensor: Tensor) -> Kept | None:
    """Return what ``tensor`` stands for; None for a copy."""
    return _alive.get(tensor.data_ptr())
