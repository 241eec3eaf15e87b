"""The layers that models are made of; inputs have the batch first."""

from fastrnn.layers.activation import Activation
from fastrnn.layers.base import Layer
from fastrnn.layers.bidirectional import Bidirectional
from fastrnn.layers.cells import GRU, LSTM, RNN, SimpleRNN
from fastrnn.layers.dense import Dense
from fastrnn.layers.dropout import Dropout
from fastrnn.layers.embedding import Embedding
from fastrnn.layers.flatten import Flatten
from fastrnn.layers.input import Input, InputLayer
from fastrnn.layers.masking import Masking
from fastrnn.layers.normalization import LayerNorm, LayerNormalization
from fastrnn.layers.pooling import GlobalAveragePooling1D, GlobalMaxPooling1D, LastStep
from fastrnn.layers.time_distributed import TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Bidirectional",
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
    "SimpleRNN",
    "TimeDistributed",
]
