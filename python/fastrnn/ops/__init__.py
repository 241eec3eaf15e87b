"""The arithmetic that layers, losses and optimisers are made of.

They call this package and no other, so that a second back end is a second package of this shape.
Arrays come in as float32 or float64 and results are new arrays; only the optimisers' steps write,
into the parameters and their own state.
"""

from fastrnn._memory import MemoryLimit
from fastrnn._memory import Recompute as MemoryMode
from fastrnn._memory import parse as check_memory
from fastrnn._rows import Rows
from fastrnn.functional import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)
from fastrnn.ops.activations import (
    ACTIVATIONS,
    activation_backward,
    activation_forward,
    keeps_input,
)
from fastrnn.ops.dropout_masks import dropout
from fastrnn.ops.embedding import (
    RowGradient,
    embedding_backward,
    embedding_backward_rows,
    embedding_forward,
    embedding_rows,
)
from fastrnn.ops.layer_norm import layer_norm_backward, layer_norm_forward
from fastrnn.ops.linear import linear_backward, linear_forward
from fastrnn.ops.losses import (
    LossAndGradient,
    RowLoss,
    cross_entropy,
    row_loss,
    softmax_cross_entropy,
)
from fastrnn.ops.pooling import (
    Pooled,
    merge_backward,
    merge_forward,
    pool_backward,
    pool_forward,
)
from fastrnn.ops.steps import (
    FULL,
    GAPS,
    PREFIX,
    count_steps,
    differs,
    gather_steps,
    repeat_steps_backward,
    scatter_steps,
)
from fastrnn.ops.updates import Clip, Gradient, adam, global_norm, rmsprop, sgd

__all__ = [
    "ACTIVATIONS",
    "FULL",
    "GAPS",
    "PREFIX",
    "Clip",
    "Gradient",
    "LossAndGradient",
    "MemoryLimit",
    "MemoryMode",
    "Pooled",
    "RowGradient",
    "RowLoss",
    "Rows",
    "activation_backward",
    "activation_forward",
    "adam",
    "check_memory",
    "count_steps",
    "cross_entropy",
    "differs",
    "dropout",
    "embedding_backward",
    "embedding_backward_rows",
    "embedding_forward",
    "embedding_rows",
    "gather_steps",
    "global_norm",
    "gru_backward",
    "gru_forward",
    "keeps_input",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "lstm_backward",
    "lstm_forward",
    "merge_backward",
    "merge_forward",
    "pool_backward",
    "pool_forward",
    "repeat_steps_backward",
    "rmsprop",
    "rnn_backward",
    "rnn_forward",
    "row_loss",
    "scatter_steps",
    "sgd",
    "softmax_cross_entropy",
]
