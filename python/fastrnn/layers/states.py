"""A recurrent layer's states as its caller has them, and as the core has them.

The caller has Keras's: one array for each of h and c, of the forward direction, then of the other;
each [B, H], of a stack [num_layers, B, H]. The core has one array for each of h and c,
[num_layers * directions, B, H].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn import _check
from fastrnn._typing import Array, Floating

if TYPE_CHECKING:
    from fastrnn.layers.recurrent import RecurrentLayer

States = tuple[Floating, ...]


def split_states(layer: RecurrentLayer, states: States) -> States:
    """Return the core's states as the caller has them."""
    parts = [s[d :: layer.directions] for d in range(layer.directions) for s in states]
    return tuple(part[0] if layer.num_layers == 1 else part for part in parts)


def join_states(layer: RecurrentLayer, name: str, states: Any, batch: int) -> States:
    """Return the caller's states as the core has them.

    Raises
    ------
    TypeError, ValueError
        If their number or a shape is another, or they are no numbers.
    """
    parts: Sequence[Any] = states if isinstance(states, list | tuple) else [states]
    kinds, directions = layer.state_count, layer.directions
    if len(parts) != kinds * directions:
        raise ValueError(
            f"{name} of layer {layer.name!r}: expected {kinds * directions} arrays "
            f"({'h, c' if kinds == 2 else 'h'}{' of each direction' if directions == 2 else ''}), "
            f"got {len(parts)}"
        )
    shape: tuple[int, ...] = (batch, layer.units)
    if layer.num_layers > 1:
        shape = (layer.num_layers, *shape)
    joined = tuple(
        np.empty((layer.num_layers * directions, batch, layer.units), layer.dtype)
        for _ in range(kinds)
    )
    for i, part in enumerate(parts):
        array: Array = layer.to_floating(name, part)
        if array.shape != shape:
            raise ValueError(
                f"{name} of layer {layer.name!r}: expected shape {_check.spell(shape)}, "
                f"got {array.shape}"
            )
        joined[i % kinds][i // kinds :: directions] = array
    return joined
