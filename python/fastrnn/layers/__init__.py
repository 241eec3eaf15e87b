"""The layers that models are made of; inputs have the batch first."""

from fastrnn.layers.base import Layer
from fastrnn.layers.bidirectional import Bidirectional
from fastrnn.layers.dense import Dense
from fastrnn.layers.dropout import Dropout
from fastrnn.layers.embedding import Embedding
from fastrnn.layers.recurrent import GRU, LSTM, RNN, SimpleRNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "SimpleRNN",
]
