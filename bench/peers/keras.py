"""Keras 3 on its fastest back end: the tutorial's model, in compiled graphs.

Single layers are left out: compiling a graph for each row would take longer than all other suites.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from itertools import cycle
from typing import Any

import numpy as np

from peers import Peer, Runner
from sentiment import Reviews, SentimentModel
from workload import Array

# Steps of training with the LSTM took 20 ms on TensorFlow, 26 on JAX and 130 on PyTorch, which is
# a peer itself.
BACKENDS = ("tensorflow", "jax")
# What won in each, of loops or unrolled time steps, XLA or not, train_on_batch, the compiled
# train_function on a tf.data iterator or an own compiled step (ms, LSTM): TensorFlow, training,
# unrolled: 21.2, 20.9, 19.5; as a loop: 25.4, 24.1, 23.7, with XLA 65; prediction as a loop: 6.4,
# with XLA 4.2, unrolled 5.7.
CONFIGURATIONS = {
    "tensorflow": (
        "training: one tf.function for the whole step, time steps unrolled, without XLA (slower); "
        "prediction: a tf.function with XLA; "
        "same intra-op and inter-op threads"
    ),
    "jax": "train_on_batch and predict_on_batch, both compiled by XLA; its own number of threads",
}


def find_backend() -> str | None:
    """The back end that ``KERAS_BACKEND`` names, else the first that is installed, or None."""
    wanted = os.environ.get("KERAS_BACKEND")
    for name in (wanted,) if wanted else BACKENDS:
        if name in BACKENDS and importlib.util.find_spec(name):
            return name
    return None


class Keras(Peer):
    """A peer of whole models; it is imported when it is first needed."""

    name = "keras"

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.configuration = f"on {backend}; {CONFIGURATIONS[backend]}"
        self._keras: Any = None
        self._tensorflow: Any = None

    def version(self) -> str:
        package = metadata.packages_distributions()[self.backend][0]
        return f"{metadata.version('keras')} ({package} {metadata.version(package)})"

    def model_prediction(
        self, model: SentimentModel, reviews: Reviews, threads: int
    ) -> list[Runner]:
        self._start(threads)
        network = self._network(model, reviews, unroll=False)
        predict: Callable[[Any], Any] = network.predict_on_batch
        tokens = list(reviews.tokens.astype(np.int32))
        if self._tensorflow:
            tokens = [self._tensorflow.constant(x) for x in tokens]
            predict = self._tensorflow.function(
                lambda x: network(x, training=False), jit_compile=True
            )
        batches = cycle(tokens)
        return [
            Runner(
                self.name,
                lambda: predict(next(batches)),
                lambda output: {"output": np.asarray(output)},
            )
        ]

    def model_training(self, model: SentimentModel, reviews: Reviews, threads: int) -> list[Runner]:
        self._start(threads)
        network = self._network(model, reviews, unroll=self._tensorflow is not None)
        step: Callable[[Any, Any], Any] = network.train_on_batch
        data = list(zip(reviews.tokens.astype(np.int32), reviews.labels, strict=True))
        if self._tensorflow:
            data = [tuple(map(self._tensorflow.constant, batch)) for batch in data]
            step = self._compiled_step(network)
        batches = cycle(data)

        def arrays(loss: Any) -> Mapping[str, Array]:
            output = network.predict_on_batch(reviews.tokens[0].astype(np.int32))
            return {"loss": np.asarray(loss).reshape(1), "output": np.asarray(output)}

        return [Runner(self.name, lambda: step(*next(batches)), arrays)]

    def _start(self, threads: int) -> None:
        """Import Keras; the number of threads is fixed from then on."""
        if self._keras:
            return
        os.environ["KERAS_BACKEND"] = self.backend
        if self.backend == "tensorflow":
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            with _no_messages():
                self._tensorflow = importlib.import_module("tensorflow")
            self._tensorflow.get_logger().setLevel("ERROR")  # else: many graphs are compiled
            config = self._tensorflow.config
            config.set_visible_devices([], "GPU")
            config.threading.set_intra_op_parallelism_threads(threads)
            config.threading.set_inter_op_parallelism_threads(threads)
        else:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
        self._keras = importlib.import_module("keras")

    def _network(self, model: SentimentModel, reviews: Reviews, unroll: bool) -> Any:
        keras, layers = self._keras, self._keras.layers
        layer = {"lstm": layers.LSTM, "gru": layers.GRU}.get(model.cell, layers.SimpleRNN)
        network = keras.Sequential(
            [
                keras.Input((model.steps,), batch_size=model.batch, dtype="int32"),
                layers.Embedding(model.vocabulary, model.embedding),
                layer(model.units[0], return_sequences=True, unroll=unroll),
                layers.Dropout(model.dropout),
                layer(model.units[1], unroll=unroll),
                layers.Dropout(model.dropout),
                layers.Dense(1, activation="sigmoid"),
            ]
        )
        network.set_weights(_keras_weights(model, reviews.weights))
        adam = keras.optimizers.Adam(model.learning_rate, epsilon=model.epsilon)
        network.compile(adam, "binary_crossentropy", jit_compile=self._tensorflow is None)
        return network

    def _compiled_step(self, network: Any) -> Any:
        tensorflow, cross_entropy = self._tensorflow, self._keras.losses.binary_crossentropy

        def step(tokens: Any, labels: Any) -> Any:
            with tensorflow.GradientTape() as tape:
                output = network(tokens, training=True)
                loss = tensorflow.reduce_mean(cross_entropy(labels, output))
            gradients = tape.gradient(loss, network.trainable_variables)
            network.optimizer.apply(gradients, network.trainable_variables)
            return loss

        return tensorflow.function(step)


@contextmanager
def _no_messages() -> Iterator[None]:
    """Without what TensorFlow writes on standard error while it is imported, whatever its level."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _keras_weights(model: SentimentModel, weights: Mapping[str, Array]) -> list[Array]:
    """In the order of ``set_weights``: kernels transposed, the GRU's gates z, r, n."""

    def columns(name: str) -> Array:
        rows = weights[name]
        if model.cell == "gru":
            reset, update, new = np.split(rows, 3)
            rows = np.concatenate([update, reset, new])
        return np.transpose(rows)

    found = [weights["embedding.weight"]]
    for layer in ("rnn0", "rnn1"):
        found += [columns(f"{layer}.weight_ih"), columns(f"{layer}.weight_hh")]
        bias = columns(f"{layer}.bias_ih")
        found.append(np.stack([bias, columns(f"{layer}.bias_hh")]) if model.cell == "gru" else bias)
    return [*found, weights["dense.weight"].T, weights["dense.bias"]]
