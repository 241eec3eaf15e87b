"""Batches: of arrays, of sequences of different lengths, and of endless ones."""

from fastrnn.data.adapt import Batches, as_batch, as_batches, as_iterable, as_rows
from fastrnn.data.arrays import ArrayBatches
from fastrnn.data.batch import Batch, as_array
from fastrnn.data.continuous import ContinuousBatches, ContinuousSequences, continuous_batches
from fastrnn.data.ragged import RaggedBatches
from fastrnn.data.sequences import as_ragged, as_sequences, pad

__all__ = [
    "ArrayBatches",
    "Batch",
    "Batches",
    "ContinuousBatches",
    "ContinuousSequences",
    "RaggedBatches",
    "as_array",
    "as_batch",
    "as_batches",
    "as_iterable",
    "as_ragged",
    "as_rows",
    "as_sequences",
    "continuous_batches",
    "pad",
]
