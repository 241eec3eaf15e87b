"""The arithmetic that layers, losses and optimisers are made of.

They call this module and no other, so that a second back end is a second module of this shape.
Arrays come in as float32 or float64 and results are new arrays; only `sgd` and `adam` write, into
the parameters and their own state.
"""

from fastrnn.functional import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)
from fastrnn.ops.activations import ACTIVATIONS, activation_backward, relu, sigmoid, softmax, tanh
from fastrnn.ops.dropout_masks import dropout
from fastrnn.ops.embedding import embedding_backward, embedding_forward
from fastrnn.ops.linear import linear_backward, linear_forward
from fastrnn.ops.losses import binary_cross_entropy, softmax_cross_entropy
from fastrnn.ops.updates import adam, global_norm, sgd

__all__ = [
    "ACTIVATIONS",
    "activation_backward",
    "adam",
    "binary_cross_entropy",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "global_norm",
    "gru_backward",
    "gru_forward",
    "linear_backward",
    "linear_forward",
    "lstm_backward",
    "lstm_forward",
    "relu",
    "rnn_backward",
    "rnn_forward",
    "sgd",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "tanh",
]
