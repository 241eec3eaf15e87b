"""What torch.compile has to be told: to trace into our modules, and which fastrnn its code is for.

Dynamo, the front end of torch.compile, breaks its graph at every instance of nn.RNN, LSTM and GRU
unless its option ``allow_rnn`` is set, since torch.nn's own become a graph of every time step. Ours
are one operator, so the option is set while Dynamo looks at one of them, and at no other module.
Were Dynamo to change so that this finds nothing to wrap, the graph would break as it does without.
What torch.nn's LSTM calls in bfloat16 has a derivative that cannot be traced, so where one of ours
leaves a call to it in training, the graph breaks as it does at torch.nn's own.

Compiled graphs, backward ones too, lie on disk under a key made of the forward graph, which does
not show how its operators are declared or differentiated: code made with one version of fastrnn
would be run with the next. So the part of the key that is meant for such cases names the version.
"""

from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fastrnn import __version__

_BUILDER = "torch._dynamo.variables.builder"


def trace_into(modules: Any) -> None:
    """Make instances of ``modules`` traceable, now or when Dynamo is imported (it takes 1.3 s)."""
    builder = sys.modules.get(_BUILDER)
    if builder is not None:
        _wrap(builder, modules)
    else:
        sys.meta_path.insert(0, _WhenImported(modules))


def must_break() -> bool:
    """Whether Dynamo traces in gradient mode and may break its graph, as for an export it may not.

    While it traces, ``torch.compiler.is_exporting()`` is always True up to torch 2.11, so the flag
    behind it is read.
    """
    return (
        torch.compiler.is_dynamo_compiling()
        and torch.is_grad_enabled()
        and not getattr(torch.compiler, "_is_exporting_flag", False)
    )


def tell_cached_code_apart(schemas: Sequence[str]) -> None:
    """Let code that is compiled now be found by this version with these operators alone."""
    config: Any = getattr(torch.compiler, "config", None)
    if hasattr(config, "cache_key_tag"):
        ours = f"fastrnn {__version__} {zlib.crc32(repr(schemas).encode()):08x}"
        config.cache_key_tag = " ".join(filter(None, (config.cache_key_tag, ours)))


def _wrap(builder: Any, modules: Any) -> None:
    original = getattr(getattr(builder, "VariableBuilder", None), "wrap_module", None)
    config: Any = getattr(builder, "config", None)
    if original is None or not hasattr(config, "allow_rnn"):
        return

    def wrap_module(self: Any, value: nn.Module) -> Any:
        if not isinstance(value, modules):
            return original(self, value)
        if not getattr(modules._by_torch, "_torchdynamo_disable", False):
            modules._by_torch = torch.compiler.disable(modules._by_torch)
        with config.patch(allow_rnn=True):
            return original(self, value)

    builder.VariableBuilder.wrap_module = wrap_module


class _WhenImported(MetaPathFinder):
    """Steps in once, after the import of Dynamo's builder."""

    def __init__(self, modules: Any) -> None:
        self.modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _wrap(module, self.modules)

            loader.exec_module = exec_module
        return spec
