"""Safetensors files, written so that a killed process leaves the old file whole."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastrnn._typing import Array

__all__ = ["load_arrays", "save_arrays"]

# By the names of NumPy's types, and of those that ml_dtypes adds.
_TYPES = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|float8_\w+|complex64")


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``arrays`` and ``metadata`` to ``path``, whole or not at all.

    The file is written under a temporary name beside ``path``, flushed to the disk and renamed. Of
    several processes or threads that write to one place, one's file is there in the end. Where
    ``path`` is a symbolic link, what it leads to is replaced.

    Raises
    ------
    TypeError, ValueError
        If a name is no string or ``"__metadata__"``, or an array is of a type that such a file
        cannot hold.
    OSError
        If it cannot be written; what was at ``path`` is there still.
    """
    from safetensors.numpy import save

    data = save(
        {name: _savable(name, array) for name, array in arrays.items()},
        None if metadata is None else dict(metadata),
    )
    data = _ordered(data)
    path = Path(path)
    if path.is_symlink():  # the link itself would be replaced by a file
        path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file's name, got a folder")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        # Written here rather than by safetensors, whose files only their owner can read.
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _savable(name: Any, value: Any) -> Array:
    """Check an array's name and type, and return it in C order."""
    if not isinstance(name, str):
        raise TypeError(f"arrays: expected strings as names, got {name!r}")
    if name == "__metadata__":
        raise ValueError(f"arrays: {name!r} cannot be an array's name, the format has it itself")
    array = np.asarray(value, order="C")
    if not _TYPES.fullmatch(array.dtype.name):
        raise TypeError(
            f"arrays[{name!r}]: expected numbers of a type that safetensors files have, such as "
            f"float32, got {array.dtype}"
        )
    return array


def _ordered(data: bytes) -> bytes:
    """Put the metadata in order: safetensors has it in one that differs from process to process.

    What is equal is then equal in every byte.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the arrays stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return (arrays, metadata) of a safetensors file.

    Raises
    ------
    OSError
        If the file cannot be read.
    TypeError
        If ``path`` is no path.
    ValueError
        If it is not a whole safetensors file, or an array in it is of a type that NumPy does not
        have, e.g. bfloat16.
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, str | os.PathLike):  # open() takes a number for a descriptor
        raise TypeError(f"path: expected a str or os.PathLike, got {path!r}")
    with open(path, "rb"):
        pass  # Python's own error for a missing or forbidden file is clearer than the reader's.
    try:
        with safe_open(path, framework="numpy") as file:
            # The reader is no dict: it has keys(), but cannot be iterated.
            arrays = {name: _array(path, file, name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from None


def _array(path: str | os.PathLike[str], file: Any, name: str) -> Array:
    try:
        array: Array = file.get_tensor(name)
    except (AttributeError, TypeError):  # what safetensors leaves to NumPy
        kind = file.get_slice(name).get_dtype()
        raise ValueError(
            f"{path}: {name!r} is of type {kind}, which NumPy does not have; expected e.g. F32"
        ) from None
    return array
