"""A model in one safetensors file: parameters, and the layers' configuration as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastrnn import io
from fastrnn.layers.base import Layer

if TYPE_CHECKING:
    from fastrnn.model import Sequential

_FORMAT = "fastrnn.Sequential.1"


def save(model: Sequential, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    """Write a built model: see `Sequential.save`."""
    config = {
        "input_shape": model.input_shape,
        "layers": [
            {"class": type(layer).__name__, "config": layer.get_config()} for layer in model.layers
        ],
    }
    own = {"format": _FORMAT, "model": json.dumps(config)}
    io.save_arrays(path, model.parameters, {**metadata, **own})


def load(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Fill an empty model: see `Sequential.load`."""
    arrays, metadata = io.load_arrays(path)
    if metadata.pop("format", None) != _FORMAT:
        raise ValueError(f"{path}: not a model that fastrnn's Sequential.save wrote")
    try:
        config = json.loads(metadata.pop("model"))
        for layer in config["layers"]:
            model.add(Layer.classes[layer["class"]].from_config(layer["config"]))
        model.build(tuple(config["input_shape"]))
        parameters = model.parameters
        if parameters.keys() != arrays.keys():
            names = sorted(parameters.keys() ^ arrays.keys())
            raise ValueError(f"missing or surplus parameters {names}")
        model.set_weights([arrays[name] for name in parameters])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the model in it cannot be used ({error!r})") from error
    model.metadata = metadata
