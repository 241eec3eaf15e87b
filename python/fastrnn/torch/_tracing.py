"""What torch.fx and torch.jit.script are told: to take our modules as they take torch.nn's.

torch.fx records a call of a module of torch.nn as one node, and traces into all others.

TorchScript compiles the source of ``forward``, which it can do with torch.nn's alone. Its own way
to hand it another module, ``__prepare_scriptable__``, puts that module into the live model as well.
So the step that calls it is given copies, down to our modules, of what contains any; parameters and
everything else are shared. Were torch to lose this step, it would refuse our modules.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Tracer


def script_as(originals: Mapping[type[nn.Module], type[nn.Module]]) -> None:
    """Make torch.jit.script see modules of exactly these types as the types they map to."""
    script: Any = torch.jit._script
    prepare = getattr(script, "call_prepare_scriptable_func", None)
    if prepare is None:
        return

    def twin_of(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
        if id(module) in done:
            return done[id(module)]
        twin = module
        if type(module) in originals:
            twin = copy.copy(module)
            # mypy knows __class__ as the type that the object was made with.
            twin.__class__ = originals[type(module)]  # type: ignore[assignment]
        elif any(type(m) in originals for m in module.modules()):
            twin = object.__new__(type(module))
            twin.__dict__ = {**vars(module), "_modules": {}}
        done[id(module)] = twin
        if twin is not module:
            twin._modules = {
                name: child if child is None else twin_of(child, done)
                for name, child in module._modules.items()
            }
        return twin

    def call_prepare_scriptable_func(obj: Any) -> Any:
        return prepare(twin_of(obj, {}) if isinstance(obj, nn.Module) else obj)

    script.call_prepare_scriptable_func = call_prepare_scriptable_func


def record_as_nodes(types: Collection[type[nn.Module]]) -> None:
    """Make torch.fx record calls of modules of exactly these types; subclasses may do anything."""
    original = Tracer.is_leaf_module

    @functools.wraps(original)
    def is_leaf_module(self: Tracer, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in types or original(self, m, module_qualified_name)

    # In torch's place, since tracers are made by torch and by users: there is no list to add to.
    Tracer.is_leaf_module = is_leaf_module  # type: ignore[method-assign]
