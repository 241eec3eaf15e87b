"""Initial weights, as Keras makes them, in PyTorch's layout (units first).

All take the random generator that they draw from, and return float64; layers convert.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn._typing import Array


def glorot_uniform(rng: np.random.Generator, units: int, size: int) -> Array:
    """Return [units, size], uniform within +-sqrt(6 / (units + size)) (Glorot and Bengio 2010)."""
    limit = math.sqrt(6.0 / (units + size))
    return rng.uniform(-limit, limit, (units, size))


def orthogonal(rng: np.random.Generator, units: int, size: int) -> Array:
    """Return [units, size], units >= size, with orthonormal columns (Saxe et al. 2013).

    For the recurrent weights of G gates it is drawn over the whole [G * H, H] matrix, as Keras
    does.
    """
    q, r = np.linalg.qr(rng.standard_normal((units, size)))
    # QR leaves the columns' signs to the algorithm; tying them to r makes the draw uniform.
    return np.asarray(q * np.sign(np.diag(r)))


def uniform(rng: np.random.Generator, rows: int, size: int, limit: float = 0.05) -> Array:
    """Return [rows, size], uniform within +-limit (Keras's default for embeddings)."""
    return rng.uniform(-limit, limit, (rows, size))
