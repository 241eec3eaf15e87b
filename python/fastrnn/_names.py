"""What can be given by its name, in the ways that Keras writes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)


def named(name: Any, kinds: Mapping[str, Kind]) -> Kind | None:
    """Return the class of that name, None if ``name`` is another or no string.

    A name of the table and the class's own may be written in capitals or without underscores:
    "mse" as "MSE", and "binary_crossentropy" as "BinaryCrossentropy".
    """
    if not isinstance(name, str):
        return None
    for known, kind in kinds.items():
        if _folded(name) in (_folded(known), _folded(kind.__name__)):
            return kind
    return None


def _folded(name: str) -> str:
    return name.replace("_", "").lower()
