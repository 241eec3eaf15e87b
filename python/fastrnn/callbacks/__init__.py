"""Callbacks: called by the training loop at its turning points, with Keras's names."""

from fastrnn.callbacks.base import Callback, LambdaCallback, Logs, tell
from fastrnn.callbacks.checkpoint import BackupAndRestore, ModelCheckpoint
from fastrnn.callbacks.history import History
from fastrnn.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastrnn.callbacks.logs import CSVLogger, TensorBoard
from fastrnn.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "tell",
]
