"""The types that the package's signatures are written in."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floating: TypeAlias = npt.NDArray[np.floating[Any]]
Integers: TypeAlias = npt.NDArray[np.int64]
Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int | None, ...]
"""Sizes with the batch first; None where a size may change from call to call."""
