"""The layout of a PackedSequence: step after step, each with the sequences that are still going."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastrnn._typing import Array, Integers


@dataclass(frozen=True)
class Packing:
    """How the rows of packed data [N, F] lie in a padded sequence [T, B, F]."""

    steps: int
    batch: int
    lengths: Integers | None  # [B], the longest first; None where all have every step
    rows: Tensor | None  # [N] of [T * B]; None where packed and padded are the same

    @classmethod
    def of(cls, batch_sizes: Tensor, tokens: int) -> Packing:
        """Read a PackedSequence's ``batch_sizes`` [T].

        Raises
        ------
        ValueError
            If they rise, are below 1 or do not add up to ``tokens``.
        """
        sizes = batch_sizes.numpy()
        steps, batch = len(sizes), int(sizes[0]) if len(sizes) else 0
        if not steps or sizes[-1] < 1 or (sizes[1:] > sizes[:-1]).any() or sizes.sum() != tokens:
            raise ValueError(
                f"batch_sizes: expected sizes of 1 or more that never rise and add up to {tokens}, "
                f"got {sizes.tolist()}"
            )
        if sizes[-1] == batch:
            return cls(steps, batch, None, None)
        lengths = steps - np.searchsorted(sizes[::-1], np.arange(batch), side="right")
        skipped = np.arange(steps) * batch - (np.cumsum(sizes) - sizes)  # padding before each step
        rows = np.arange(tokens) + np.repeat(skipped, sizes)
        return cls(steps, batch, lengths, torch.from_numpy(rows))

    def pad(self, data: Tensor) -> Tensor:
        """Return [T, B, F]; what lies past a sequence's end is anything."""
        if self.rows is None:
            return data.reshape(self.steps, self.batch, data.shape[1])
        padded = data.new_empty((self.steps * self.batch, data.shape[1]))
        padded.index_copy_(0, self.rows, data)
        return padded.view(self.steps, self.batch, data.shape[1])

    def pack(self, padded: Array) -> Tensor:
        """Return the rows [N, F] of a dense [T, B, F]."""
        flat = torch.from_numpy(padded.reshape(self.steps * self.batch, padded.shape[2]))
        return flat if self.rows is None else flat.index_select(0, self.rows)
