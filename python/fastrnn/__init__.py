"""fastrnn: recurrent networks on the CPU.

Three ways in: `Sequential` and its layers (Keras's words), `fastrnn.functional` (NumPy arrays in
and out, forward and backward explicit), and `Recurrent` (prepared inference).
"""

from fastrnn import (
    callbacks,
    convert,
    data,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    runtime,
)
from fastrnn._load import core as _core
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    InputLayer,
    LastStep,
    Layer,
    LayerNorm,
    LayerNormalization,
    Masking,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy
from fastrnn.model import Sequential
from fastrnn.optimizers import SGD, Adam, AdamW, RMSprop
from fastrnn.random import set_seed
from fastrnn.recurrent import Recurrent
from fastrnn.runtime import get_num_threads, set_num_threads

__version__ = _core.__version__

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Bidirectional",
    "BinaryCrossentropy",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LayerNormalization",
    "Masking",
    "RMSprop",
    "Recurrent",
    "Sequential",
    "SimpleRNN",
    "SparseCategoricalCrossentropy",
    "TimeDistributed",
    "__version__",
    "callbacks",
    "convert",
    "data",
    "functional",
    "get_num_threads",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "optimizers",
    "runtime",
    "set_num_threads",
    "set_seed",
]
