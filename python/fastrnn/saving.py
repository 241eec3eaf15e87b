"""A model in one safetensors file: parameters, and the layers' configuration as JSON.

With its training besides: loss, metrics and optimiser, and what the next epoch depends on. The
arrays of these have names with a "/", which parameters' names do not have.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrnn import initializers, io, random
from fastrnn._path import walk
from fastrnn._registry import name_in_files
from fastrnn._typing import Array
from fastrnn.callbacks.base import Callback, hook_of
from fastrnn.layers.base import Layer
from fastrnn.losses import Loss
from fastrnn.metrics import Metric
from fastrnn.optimizers import Optimizer

if TYPE_CHECKING:
    from fastrnn.model import Sequential
    from fastrnn.trainer import Trainer

_FORMAT = "fastrnn.Sequential.1"
_OWN = ("format", "model", "training", "progress")
_BROKEN = (
    *(AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError),
    *(MemoryError, OverflowError),  # sizes that no model has
)

Arrays = dict[str, Array]


def save(
    model: Trainer,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    include_optimizer: bool = False,
) -> None:
    """Write a built model: see `Sequential.save`."""
    arrays, own = _parts(model)
    if include_optimizer:
        own["training"] = json.dumps(describe_training(model))
        arrays.update(_optimizer_arrays(model))
    _write(path, arrays, metadata, own)


def load(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Fill an empty model: see `Sequential.load`."""
    parameters, others, own, metadata = _read(path)
    try:
        config = json.loads(own["model"])
        model.name = config.get("name", model.name)  # earlier versions did not write it
        for layer in config["layers"]:
            model.add(Layer.classes[layer["class"]].from_config(layer["config"]))
        _build_with(model, config["input_shape"], parameters)
        if "training" in own:
            description = json.loads(own["training"])
            model.optimizer = Optimizer.classes[description["optimizer"]["class"]].from_config(
                description["optimizer"]["config"]
            )
            model.optimizer.load_state_dict(_optimizer_state(model, model.optimizer, others))
            model.loss = _made(Loss.classes, description["loss"])
            model.metrics = [_made(Metric.classes, m) for m in description["metrics"]]
            model.weighted_metrics = [
                _made(Metric.classes, m) for m in description["weighted_metrics"]
            ]
    except _BROKEN as error:
        raise ValueError(f"{path}: the model in it cannot be used ({error!r})") from error
    model.metadata = metadata


def describe_training(model: Trainer) -> dict[str, Any]:
    """Return loss, metrics and optimiser as JSON can hold them.

    Raises
    ------
    RuntimeError
        If the model is not compiled.
    ValueError
        If one of them is a function, which cannot be written to a file, or has no `get_config`
        for its arguments.
    """
    loss = model.need_loss()
    return {
        "optimizer": _described(model.need_optimizer()),
        "loss": _described(loss),
        "metrics": [_described(metric) for metric in model.metrics],
        "weighted_metrics": [_described(metric) for metric in model.weighted_metrics],
    }


def describe_layers(model: Trainer) -> list[dict[str, Any]]:
    """Return the layers as JSON can hold them.

    Raises
    ------
    ValueError
        If one of one's own has no `get_config` for its arguments.
    TypeError
        If an argument is one that JSON cannot hold, such as a function.
    """
    for layer in walk(model.layers):
        try:
            _check_config(layer)
        except TypeError as error:
            raise TypeError(f"layer {layer.name!r} cannot be saved: {error}") from error
    return [_described_as(name, layer) for name, layer in model.named_layers().items()]


# ---- a training to be gone on with ---------------------------------------------------------------


def save_training(
    model: Trainer, callbacks: Sequence[Callback], path: str | os.PathLike[str]
) -> None:
    """Write everything that the next epoch depends on."""
    arrays, own = _parts(model)
    arrays.update(_optimizer_arrays(model))
    states = []
    for i, callback in enumerate(_stateful(callbacks)):
        state, held = _without_arrays(callback.get_state(), f"callbacks/{i}/")
        states.append({"class": type(callback).__name__, "state": _checked(state, callback)})
        arrays.update(held)
    # Not where there is a function: the program that goes on has it anyway.
    with contextlib.suppress(ValueError):
        own["training"] = json.dumps(describe_training(model))
    own["progress"] = json.dumps(
        {
            **_choices(model),
            "callbacks": states,
            "random": random.get_state(),
            "seed_counts": model.get_seed_counts(),
            "stopped": model.stop_training,
        }
    )
    _write(path, arrays, model.metadata, own)


def restore_training(
    model: Trainer, callbacks: Sequence[Callback], path: str | os.PathLike[str]
) -> None:
    """Put a compiled model, its callbacks and the random numbers where `save_training` was called.

    Raises
    ------
    ValueError
        If the file is not whole, or of another model, loss, optimiser (its learning rate may be
        another), list of callbacks or metadata, e.g. another vocabulary.
    """
    parameters, others, own, metadata = _read(path)
    if "progress" not in own:
        raise ValueError(f"{path}: a model without the state of its training")
    try:
        progress, config = json.loads(own["progress"]), json.loads(own["model"])
    except _BROKEN as error:
        raise ValueError(f"{path}: the training in it cannot be used ({error!r})") from error
    # Through JSON, as the file's went.
    layers, choices = json.loads(json.dumps([describe_layers(model), _choices(model)]))
    optimizer = model.need_optimizer()
    callbacks = _stateful(callbacks)
    names = [type(callback).__name__ for callback in callbacks]
    for what, saved, present in (
        ("model", config.get("layers"), layers),
        ("optimizer", progress.get("optimizer"), choices["optimizer"]),
        ("loss", progress.get("loss"), choices["loss"]),
        ("list of callbacks", [c["class"] for c in progress.get("callbacks", [])], names),
        *(
            (f"{name} (metadata of the model)", metadata.get(name), model.metadata.get(name))
            for name in sorted({*metadata, *model.metadata})
        ),
    ):
        if _unqualified(saved) != _unqualified(present):
            was, now = _differing(saved, present)
            raise ValueError(
                f"{path}: the training in it is of another {what}; it was {was}, now it is {now}. "
                "Remove the file to begin anew"
            )
    try:
        _build_with(model, config["input_shape"], parameters)
        optimizer.load_state_dict(_optimizer_state(model, optimizer, others))
        for i, (callback, saved) in enumerate(zip(callbacks, progress["callbacks"], strict=True)):
            held = _with_prefix(others, f"callbacks/{i}/")
            callback.set_state(_with_arrays(saved["state"], held))
        model.set_seed_counts(progress["seed_counts"])
        random.set_state(progress["random"])
        model.stop_training = bool(progress["stopped"])
    except _BROKEN as error:
        raise ValueError(f"{path}: the training in it cannot be used ({error!r})") from error


def _choices(model: Trainer) -> dict[str, Any]:
    """Return the optimiser, whose learning rate may be changed on the way, and the loss.

    By the class alone where it is, or holds, a function.
    """
    choices: dict[str, dict[str, Any]] = {}
    for name, thing in (("optimizer", model.need_optimizer()), ("loss", model.need_loss())):
        choices[name] = {"class": name_in_files(type(thing))}
        with contextlib.suppress(ValueError):
            choices[name] = _described(thing)
    choices["optimizer"].get("config", {}).pop("learning_rate", None)
    return choices


def _unqualified(description: Any) -> Any:
    """Leave the classes' names without their modules: earlier versions wrote these alone."""
    if isinstance(description, list):
        return [_unqualified(part) for part in description]
    if not isinstance(description, dict):
        return description
    return {
        key: str(part).rpartition(".")[2] if key == "class" else _unqualified(part)
        for key, part in description.items()
    }


def _stateful(callbacks: Sequence[Callback]) -> list[Callback]:
    # By what there is to be called: a state that is empty at first may not be so later.
    return [c for c in callbacks if hook_of(c, "get_state") is not Callback.get_state]


def _checked(state: dict[str, Any], callback: Callback) -> dict[str, Any]:
    """Return what is left of a callback's state without its arrays, if JSON can hold it."""
    for name, value in state.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{type(callback).__name__}.get_state: expected what JSON can hold, or arrays, got "
                f"{value!r} for {name!r}"
            ) from error
    return state


# ---- parts of a file -----------------------------------------------------------------------------


def _parts(model: Trainer) -> tuple[Arrays, dict[str, str]]:
    config = {
        "name": model.name,
        "input_shape": model.input_shape,
        "layers": describe_layers(model),
    }
    return dict(model.parameters), {"format": _FORMAT, "model": json.dumps(config)}


def _described(thing: Layer | Loss | Metric | Optimizer) -> dict[str, Any]:
    _check_config(thing)
    return {"class": name_in_files(type(thing)), "config": thing.get_config()}


def _described_as(name: str, layer: Layer) -> dict[str, Any]:
    """Describe a layer under the name that it has in its model."""
    description = _described(layer)
    if "name" in description["config"]:
        description["config"] = {**description["config"], "name": name}
    return description


def _check_config(thing: Layer | Loss | Metric | Optimizer) -> None:
    """Raise ValueError if what is made of the configuration would lack an argument."""
    config = thing.get_config()
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        named = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if named and name not in config:
            raise ValueError(
                f"{type(thing).__name__}: it cannot be saved, since get_config() lacks its "
                f"argument {name!r}; return {{**super().get_config(), {name!r}: ...}}"
            )


def _made(classes: Mapping[str, Any], description: Mapping[str, Any]) -> Any:
    return classes[description["class"]](**description["config"])


def _optimizer_arrays(model: Trainer) -> Arrays:
    state = model.need_optimizer().state_dict()
    return {f"optimizer/{name}": array for name, array in state.items()}


def _write(
    path: str | os.PathLike[str], arrays: Arrays, metadata: Mapping[str, str], own: dict[str, str]
) -> None:
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata: expected a mapping of strings, got {type(metadata).__name__}")
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata[{name!r}]: expected a string, got {value!r}")
    taken = sorted(set(metadata) & set(_OWN))
    if taken:
        raise ValueError(f"metadata: {taken} are fastrnn's own")
    io.save_arrays(path, arrays, {**metadata, **own})


def _read(path: str | os.PathLike[str]) -> tuple[Arrays, Arrays, dict[str, str], dict[str, str]]:
    """Return parameters, other arrays, fastrnn's own metadata and the rest."""
    arrays, metadata = io.load_arrays(path)
    own = {name: metadata.pop(name) for name in _OWN if name in metadata}
    if own.get("format") != _FORMAT:
        raise ValueError(f"{path}: not a model that fastrnn's Sequential.save wrote")
    parameters = {name: array for name, array in arrays.items() if "/" not in name}
    others = {name: array for name, array in arrays.items() if "/" in name}
    return parameters, others, own, metadata


def _build_with(model: Trainer, input_shape: Sequence[int | None], arrays: Arrays) -> None:
    # Sizes are compared once the model is built, which those of a broken file must not prevent.
    # Twice as many numbers: a few that are missing are then called by their names.
    with initializers.at_most(10_000 + 2 * sum(array.size for array in arrays.values())):
        model.build(tuple(input_shape))
    parameters = model.parameters
    if parameters.keys() != arrays.keys():
        names = sorted(parameters.keys() ^ arrays.keys())
        raise ValueError(f"missing or surplus parameters {names}")
    model.set_weights([arrays[name] for name in parameters])


def _optimizer_state(model: Trainer, optimizer: Optimizer, arrays: Arrays) -> Arrays:
    """Return a file's optimiser arrays; what it remembers of a parameter is like that parameter.

    The core reads both side by side, so that the first step would fail.
    """
    state, parameters = _with_prefix(arrays, "optimizer/"), model.parameters
    for key, array in state.items():
        slot, _, name = key.partition("/")
        if slot not in optimizer.slots or name not in parameters:
            continue
        expected = parameters[name]
        if (array.shape, array.dtype) != (expected.shape, expected.dtype):
            raise ValueError(
                f"optimizer/{key}: expected {expected.dtype} of shape {expected.shape}, got "
                f"{array.dtype} of shape {array.shape}"
            )
    return state


def _with_prefix(arrays: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _without_arrays(state: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], Arrays]:
    """Take arrays and lists of arrays out of a callback's state; marks stay in their places."""
    plain: dict[str, Any] = {}
    arrays: Arrays = {}
    for name, value in state.items():
        held = value if isinstance(value, list) else [value]
        if held and all(isinstance(each, np.ndarray) for each in held):
            arrays.update({f"{prefix}{name}/{i}": each for i, each in enumerate(held)})
            plain[name] = {"arrays": len(held) if isinstance(value, list) else None}
        else:
            plain[name] = value
    return plain, arrays


def _with_arrays(plain: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Undo `_without_arrays`."""
    state: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, dict) and set(value) == {"arrays"}:
            count = value["arrays"]
            held = [arrays[f"{name}/{i}"] for i in range(1 if count is None else count)]
            state[name] = held[0] if count is None else held
        else:
            state[name] = value
    return state


def _differing(saved: Any, present: Any) -> tuple[str, str]:
    """Return both as text; of long ones, from a little before they differ."""
    texts = json.dumps(saved), json.dumps(present)
    if max(map(len, texts)) < 300:
        return texts
    same = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), 0)
    start = max(0, same - 60)
    parts = [text[start : start + 240] for text in texts]
    return f"...{parts[0]}...", f"...{parts[1]}..."
