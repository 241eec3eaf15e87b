"""Safetensors files, written so that a killed process leaves the old file whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastrnn._typing import Array

__all__ = ["load_arrays", "save_arrays"]


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``arrays`` and ``metadata`` to ``path``, whole or not at all.

    The file is written under a temporary name beside ``path``, flushed to the disk and renamed.
    """
    from safetensors.numpy import save

    data = save(
        {name: np.asarray(array, order="C") for name, array in arrays.items()},
        None if metadata is None else dict(metadata),
    )
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Written here rather than by safetensors, whose files only their owner can read.
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return (arrays, metadata) of a safetensors file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):
        pass  # Python's own error for a missing or forbidden file is clearer than the reader's.
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
