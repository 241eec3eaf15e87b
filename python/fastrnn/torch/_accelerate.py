"""Models as they are: swapped to fastrnn in place, swapped back, and asked about their path."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from fastrnn import _memory
from fastrnn._memory import MemoryLimit
from fastrnn.torch._coverage import cell_call, mismatch, sequence_call
from fastrnn.torch._modules import BACK, SWAPS, Sequences

_OURS: tuple[type[nn.Module], ...] = tuple(BACK)
_SEQUENCES = (nn.RNN, nn.LSTM, nn.GRU)
_REPLACED = "has a forward of its own, set on the instance"
_NAMES = {cls.__name__ for cls in SWAPS}


class Entry(NamedTuple):
    """One recurrent module of a model."""

    name: str  # as in ``named_modules``; "" for the model itself
    module: str  # class and arguments
    reason: str  # why it was left; "" if it was swapped


@dataclass(frozen=True)
class Report:
    """What `accelerate` or `restore` did; ``str`` of it is a table."""

    swapped: tuple[Entry, ...]
    left: tuple[Entry, ...]

    def __str__(self) -> str:
        rows = [("swapped", *entry) for entry in self.swapped]
        rows += [("left", *entry) for entry in self.left]
        if not rows:
            return "no recurrent module found"
        names = [name or "(the model)" for _, name, _, _ in rows]
        width = max(map(len, names))
        return "\n".join(
            f"{what:<7}  {name:<{width}}  {module}" + (f": {reason}" if reason else "")
            for name, (what, _, module, reason) in zip(names, rows, strict=True)
        )


class Explanation(NamedTuple):
    """Which implementation a call takes, and why."""

    path: str  # "fastrnn" or "torch.nn"; "unknown" where the module's forward was replaced
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def accelerate(
    model: nn.Module, *, recompute: str | None = None, memory_limit: MemoryLimit | None = None
) -> Report:
    """Make every nn.RNN, nn.LSTM and nn.GRU inside ``model`` compute with fastrnn, in place.

    The modules stay the same objects and only change their class. Parameters (and so optimisers),
    hooks, parametrizations and the ``state_dict`` are untouched.

    Parameters
    ----------
    model : nn.Module
        A model, or a recurrent module itself.
    recompute : {"none", "gates", "checkpoint", "auto"}, optional
        What the modules do not keep for their backward pass but compute again, to the same bits, as
        in `fastrnn.functional.lstm_forward`: it becomes their attribute ``recompute``, which may be
        set at any time.
    memory_limit : int or str, optional
        The most bytes that each module may keep, such as "512MB", instead of ``recompute``.

    Returns
    -------
    Report
        What was swapped, and what was left and why; print it.

    Raises
    ------
    TypeError, ValueError
        If ``model`` is no module, or ``recompute`` or ``memory_limit`` is not as described.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> model = torch.nn.Sequential(torch.nn.Embedding(9, 8), torch.nn.LSTM(8, 16))
    >>> print(fastrnn.torch.accelerate(model))
    swapped  1  LSTM(8, 16)
    """
    request = _memory.parse(recompute, memory_limit)
    wanted = request.mode if request.limit is None else f"{request.limit}B"
    swapped: list[Entry] = []
    left: list[Entry] = []
    for name, module in _modules_of(model):
        if _name(module) not in _NAMES and not isinstance(module, (*SWAPS, nn.RNNBase)):
            continue
        reason = _why_left(module)
        if not reason:
            _set_class(module, SWAPS[type_before_parametrizations(module)])
        (left if reason else swapped).append(Entry(name, _describe(module), reason))
    for module in model.modules():
        if isinstance(module, Sequences) and (recompute, memory_limit) != (None, None):
            module.recompute = wanted
    return Report(tuple(swapped), tuple(left))


def restore(model: nn.Module) -> Report:
    """Give every module of fastrnn's inside ``model`` torch.nn's class back, in place.

    Parameters
    ----------
    model : nn.Module
        A model, or a recurrent module itself.

    Returns
    -------
    Report
        What was swapped back, and what was left and why.

    Raises
    ------
    TypeError
        If ``model`` is no module.
    """
    swapped: list[Entry] = []
    left: list[Entry] = []
    for name, module in _modules_of(model):
        if not isinstance(module, _OURS):
            continue
        reason = _own_code(module, BACK)
        if not reason:
            _set_class(module, BACK[type_before_parametrizations(module)])
            for name_of_ours in ("recompute", "recomputed"):
                vars(module).pop(name_of_ours, None)
        (left if reason else swapped).append(Entry(name, _describe(module), reason))
    return Report(tuple(swapped), tuple(left))


def explain(module: nn.Module, input: Any, hx: Any = None) -> Explanation:
    """Say which implementation ``module(input, hx)`` takes now, and why; nothing is computed.

    Parameters
    ----------
    module : fastrnn.torch.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell
        torch.nn's own are told apart; any other module is a TypeError.
    input, hx
        What the module would be called with. Whether gradients are on, and autocast, count too.

    Examples
    --------
    >>> import torch, fastrnn.torch
    >>> layer = fastrnn.torch.LSTM(8, 16)
    >>> print(fastrnn.torch.explain(layer, torch.zeros(5, 1, 8)))
    fastrnn: float32 on the CPU
    >>> print(fastrnn.torch.explain(layer.half(), torch.zeros(5, 1, 8).half()))
    torch.nn: the input is torch.float16, not float32 or float64
    """
    if not isinstance(module, _OURS):
        if isinstance(module, (*SWAPS, nn.RNNBase)):
            return Explanation(
                "torch.nn", f"it is a {_spell(module)}, see fastrnn.torch.accelerate"
            )
        raise TypeError(f"module: expected a recurrent module, got {_spell(module)}")
    if "forward" in vars(module):
        return Explanation("unknown", _REPLACED)
    prepare = sequence_call if isinstance(module, _SEQUENCES) else cell_call
    with _quiet_parametrizations(module):
        call = prepare(module, input, hx)
    if isinstance(call, str):
        return Explanation("torch.nn", call)
    wrong = mismatch(module, call)
    if wrong is not None:
        return Explanation("torch.nn", wrong)
    reason = f"{str(call.x.dtype).removeprefix('torch.')} on the CPU"
    mode = getattr(module, "recompute", "none")
    if mode != "none":
        reason += f', recompute="{mode}"'
        if mode not in _memory.MODES and module.recomputed is not None:
            reason += f', which took "{module.recomputed}" last'
    return Explanation("fastrnn", reason)


@contextmanager
def _quiet_parametrizations(module: nn.Module) -> Iterator[None]:
    """Let a look at the parameters change neither what parametrizations hold nor random numbers."""
    if not is_parametrized(module):
        yield
        return
    parametrizations = cast(nn.ModuleDict, module.parametrizations)
    modes = [(each, each.training) for each in parametrizations.modules()]
    with torch.random.fork_rng(devices=[]):
        try:
            for each, _ in modes:
                each.training = False
            yield
        finally:
            for each, training in modes:
                each.training = training


def _modules_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return model.named_modules()


def _why_left(module: nn.Module) -> str:
    cls = type_before_parametrizations(module)
    if cls in BACK:
        return "is fastrnn's already"
    reason = _own_code(module, SWAPS)
    if reason:
        return reason
    if not isinstance(module, _SEQUENCES):
        return "in a single step torch.nn is quicker"
    if module.proj_size > 0:
        return "proj_size is not covered"
    for parameter in module.parameters():
        if parameter.device.type != "cpu":
            return f"is on the device {parameter.device}"
        if parameter.dtype not in (torch.float32, torch.float64):
            return f"is {parameter.dtype}, not float32 or float64"
    return ""


def _own_code(module: nn.Module, classes: Container[type[nn.Module]]) -> str:
    """Say that a module computes something else than one of these classes, or calls it itself."""
    if type_before_parametrizations(module) not in classes:
        return f"is of a class of its own, {_spell(module)}"
    return _REPLACED if "forward" in vars(module) else ""


def _name(module: nn.Module) -> str:
    """Return the name of the class, that of the original for a module compiled by torch.jit."""
    return str(getattr(module, "original_name", type(module).__name__))


def _describe(module: nn.Module) -> str:
    return f"{type_before_parametrizations(module).__name__}({module.extra_repr()})"


def _spell(module: nn.Module) -> str:
    cls = type_before_parametrizations(module)
    return f"{cls.__module__}.{cls.__qualname__}"


def _set_class(module: nn.Module, cls: type[nn.Module]) -> None:
    old = type(module)
    if old is not type_before_parametrizations(module):
        # A parametrized module has a class of its own, made for it, above the original one.
        members = {k: v for k, v in vars(old).items() if k not in ("__dict__", "__weakref__")}
        cls = type(old.__name__, (cls,), members)
    module.__class__ = cls
