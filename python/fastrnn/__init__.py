"""fastrnn: recurrent networks on the CPU.

Three ways in: `Sequential` and its layers (Keras's words), `fastrnn.functional` (NumPy arrays in
and out, forward and backward explicit), and `Recurrent` (prepared inference).
"""

from fastrnn import functional, runtime
from fastrnn._load import core as _core
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Layer,
    SimpleRNN,
)
from fastrnn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy
from fastrnn.model import Sequential
from fastrnn.optimizers import SGD, Adam
from fastrnn.random import set_seed
from fastrnn.recurrent import Recurrent
from fastrnn.runtime import get_num_threads, set_num_threads

__version__ = _core.__version__

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "Bidirectional",
    "BinaryCrossentropy",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "Recurrent",
    "Sequential",
    "SimpleRNN",
    "SparseCategoricalCrossentropy",
    "__version__",
    "functional",
    "get_num_threads",
    "runtime",
    "set_num_threads",
    "set_seed",
]
