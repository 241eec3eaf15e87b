"""torch.nn's recurrent modules, computed by fastrnn where it covers the call."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastrnn._memory import MODES
from fastrnn.torch import _autograd, _dynamo, _kept
from fastrnn.torch._coverage import Call, cell_call, mismatch, sequence_call

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

_LOG = logging.getLogger("fastrnn")


class Sequences(nn.RNNBase):
    """The forward pass of RNN, LSTM and GRU."""

    recompute: str | int = "none"
    """What training does not keep: "none", "gates", "checkpoint", "auto", or a limit ("512MB", or
    bytes)."""
    recomputed: str | None = None
    """What the last training pass ran with where ``recompute`` was set, outside compiled code."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        call = sequence_call(self, input, hx)
        if isinstance(call, str):
            if torch.compiler.is_compiling() and self.mode == "LSTM" and _dynamo.must_break():
                return self._by_torch(input, hx)
            return super().forward(input, hx)
        try:
            if call.batch_sizes is not None:
                return self._packed(input, call)
            if call.x.dim() == 2:
                return self._unbatched(call)
            output, *state = self._run(call, self.batch_first)
            return output, self._state(state)
        except ValueError:
            if mismatch(self, call) is None:
                raise
        return super().forward(input, hx)

    def _by_torch(self, input: Any, hx: Any) -> Any:
        """Do what torch.nn does; `_dynamo` leaves it out of graphs."""
        return super().forward(input, hx)

    def _packed(self, input: PackedSequence, call: Call) -> tuple[PackedSequence, Any]:
        order, back = input.sorted_indices, input.unsorted_indices
        if order is not None:
            h0, c0 = (s if s is None else s.index_select(1, order) for s in (call.h0, call.c0))
            call = call._replace(h0=h0, c0=c0)
        output, *state = self._run(call, False)
        if back is not None:
            state = [s.index_select(1, back) if s.dim() == 3 else s for s in state]
        return PackedSequence(output, input.batch_sizes, order, back), self._state(state)

    def _unbatched(self, call: Call) -> tuple[Tensor, Any]:
        x, h0, c0 = (t if t is None else t.unsqueeze(1) for t in (call.x, call.h0, call.c0))
        assert x is not None
        output, *state = self._run(call._replace(x=x, h0=h0, c0=c0), False)
        return output.squeeze(1), self._state([s.squeeze(1) if s.dim() == 3 else s for s in state])

    def _run(self, call: Call, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
        dropout, seed = 0.0, None
        if self.training and self.dropout > 0 and self.num_layers > 1:
            dropout, seed = self.dropout, torch.randint(2**62, (1,), device="cpu")
        output, hn, cn, cache = _autograd.run(
            call.x,
            call.batch_sizes,
            call.h0,
            call.c0,
            call.weights,
            seed,
            call.batch,
            call.cell,
            self.num_layers,
            self.bidirectional,
            batch_first,
            dropout,
            recompute=str(self.recompute),  # an operator's argument has one type
        )
        if (self.recompute != "none" or self.recomputed) and not torch.compiler.is_compiling():
            self._note(cache)
        return output, hn, cn

    def _note(self, cache: Tensor) -> None:
        """Say what "auto" or a limit took, once for every change."""
        kept = _kept.find(cache) if type(cache) is Tensor else None
        if kept is None or kept.mode == self.recomputed:
            return
        self.recomputed = kept.mode
        if self.recompute not in MODES:
            name, nbytes = f"{type(self).__name__}({self.extra_repr()})", kept.cache.nbytes
            _LOG.info("%s: recompute=%r, which keeps %d bytes", name, kept.mode, nbytes)

    def _state(self, state: list[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        return (state[0], state[1]) if self.mode == "LSTM" else state[0]


class _Cell(nn.RNNCellBase):
    """The forward pass of RNNCell, LSTMCell and GRUCell: one step of one layer.

    Constructor, call and ``state_dict`` are those of torch.nn's cells.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:
        call = cell_call(self, input, hx)
        if isinstance(call, str):
            return super().forward(input, hx)
        x = call.x.view(1, -1, self.input_size)
        h0, c0 = (s if s is None else s.view(1, -1, self.hidden_size) for s in (call.h0, call.c0))
        config = (None, call.cell, 1, False, False, 0.0)
        _, hn, cn, _ = _autograd.run(x, None, h0, c0, call.weights, None, *config)
        shape = (*call.x.shape[:-1], self.hidden_size)
        if isinstance(self, nn.LSTMCell):
            return hn.view(shape), cn.view(shape)
        return hn.view(shape)


class RNN(Sequences, nn.RNN):
    """`torch.nn.RNN`, computed by fastrnn: the same constructor, call and ``state_dict``."""


class LSTM(Sequences, nn.LSTM):
    """`torch.nn.LSTM`, computed by fastrnn: the same constructor, call and ``state_dict``."""


class GRU(Sequences, nn.GRU):
    """`torch.nn.GRU`, computed by fastrnn: the same constructor, call and ``state_dict``."""


class RNNCell(_Cell, nn.RNNCell):
    """`torch.nn.RNNCell`, computed by fastrnn with `always` alone, since torch.nn is quicker."""


class LSTMCell(_Cell, nn.LSTMCell):
    """`torch.nn.LSTMCell`, computed by fastrnn with `always` alone, since torch.nn is quicker."""


class GRUCell(_Cell, nn.GRUCell):
    """`torch.nn.GRUCell`, computed by fastrnn with `always` alone, since torch.nn is quicker."""


SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.LSTM: LSTM,
    nn.GRU: GRU,
    nn.RNNCell: RNNCell,
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
}
"""torch.nn's class to ours."""
BACK = {ours: theirs for theirs, ours in SWAPS.items()}

for _cls in SWAPS.values():
    _cls.__module__ = "fastrnn.torch"  # what pickles name does not depend on this file
