"""PyTorch's recurrent modules, computed by fastrnn on the CPU: the same model, faster.

`accelerate` swaps the modules of an existing model; `RNN`, `LSTM`, `GRU` and the cells are
torch.nn's with another engine. What fastrnn does not cover, or torch.nn does quicker, as a cell's
step, torch.nn computes; `explain` tells.
Needs PyTorch 2.7 or later: ``pip install 'fastrnn[torch]'``.
"""
# ruff: noqa: E402 - a missing PyTorch is reported before anything imports it

from fastrnn._extras import require as _require

_version = _require("torch", "torch").__version__
if tuple(map(int, _version.split(".")[:2])) < (2, 7):
    raise ImportError(
        f"torch: expected version 2.7 or later, got {_version}: pip install 'fastrnn[torch]'"
    )

from fastrnn.torch import _dynamo, _modules, _operators, _tracing
from fastrnn.torch._accelerate import Entry, Explanation, Report, accelerate, explain, restore
from fastrnn.torch._coverage import always
from fastrnn.torch._modules import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Entry",
    "Explanation",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Report",
    "accelerate",
    "always",
    "explain",
    "restore",
]

_dynamo.trace_into(_modules.Sequences)
_dynamo.tell_cached_code_apart(_operators.SCHEMAS)
_tracing.script_as(_modules.BACK)
_tracing.record_as_nodes(_modules.BACK)
