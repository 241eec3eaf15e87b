"""fastrnn as the bench calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

import fastrnn
from fastrnn import functional as F
from fastrnn import runtime
from peers import Activations, Peer, Runner
from sentiment import Reviews, SentimentModel
from workload import Array, Data, Workload


def _split(work: Workload) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Any]]:
    """The functional pair for this cell and the arguments that both modes share."""
    options: dict[str, Any] = {
        "num_layers": work.num_layers,
        "bidirectional": work.bidirectional,
        "lengths": None if work.lengths is None else np.array(work.lengths),
    }
    if work.cell.startswith("rnn_"):
        options["nonlinearity"] = work.cell.removeprefix("rnn_")
        return F.rnn_forward, F.rnn_backward, options
    if work.cell == "gru":
        return F.gru_forward, F.gru_backward, options
    return F.lstm_forward, F.lstm_backward, options


def _named(output: Array, state: Any) -> dict[str, Array]:
    states = state if isinstance(state, tuple) else (state,)
    return {"output": output, **dict(zip(("h_n", "c_n"), states, strict=False))}


def functional_inference(work: Workload, data: Data, threads: int) -> Runner:
    """Weights that may change between calls, nothing cached."""
    runtime.set_num_threads(threads)
    forward, _, options = _split(work)

    def call() -> Any:
        return forward(data.x, data.weights, training=False, **options)

    return Runner("functional", call, lambda result: _named(result[0], result[1]))


def prepared_inference(work: Workload, data: Data, threads: int) -> Runner:
    """Weights packed once, beforehand."""
    runtime.set_num_threads(threads)
    layer = fastrnn.Recurrent(
        work.cell, data.weights, num_layers=work.num_layers, bidirectional=work.bidirectional
    )
    lengths = None if work.lengths is None else np.array(work.lengths)
    return Runner(
        "prepared", lambda: layer(data.x, lengths=lengths), lambda result: _named(*result)
    )


def training(work: Workload, data: Data, threads: int) -> Runner:
    """Forward and backward with every gradient."""
    runtime.set_num_threads(threads)
    forward, backward, options = _split(work)

    def call() -> Any:
        output, state, cache = forward(data.x, data.weights, **options)
        return output, state, backward(cache, data.doutput)

    def arrays(result: Any) -> Mapping[str, Array]:
        output, state, (dx, _, dweights) = result
        return {**_named(output, state), "dx": dx, **dweights}

    def whole_forward() -> Any:
        return forward(data.x, data.weights, **options)

    activations = Activations(whole_forward, lambda: int(whole_forward()[2].nbytes))
    return Runner("functional", call, arrays, activations)


def step(work: Workload, data: Data, threads: int) -> Runner:
    """One time step of the prepared form, which carries the state from call to call."""
    runtime.set_num_threads(threads)
    layer = fastrnn.Recurrent(work.cell, data.weights)
    x_t = np.ascontiguousarray(data.x[0])
    return Runner("step", lambda: layer.step(x_t), lambda output: {"output": output})


def model_prediction(model: SentimentModel, reviews: Reviews, threads: int) -> Runner:
    """One batch after the other through the training API's model."""
    runtime.set_num_threads(threads)
    network, batches = _sentiment(model, reviews), cycle(reviews.tokens)
    return Runner("model", lambda: network(next(batches)), lambda output: {"output": output})


def model_training(model: SentimentModel, reviews: Reviews, threads: int) -> Runner:
    """Whole steps: forward, backward, Adam."""
    runtime.set_num_threads(threads)
    network = _sentiment(model, reviews)
    batches = cycle(zip(reviews.tokens, reviews.labels, strict=True))

    def arrays(loss: float) -> Mapping[str, Array]:
        return {"loss": np.array([loss], np.float32), "output": network(reviews.tokens[0])}

    return Runner("model", lambda: network.train_on_batch(*next(batches)), arrays)


def _sentiment(model: SentimentModel, reviews: Reviews) -> fastrnn.Sequential:
    layer = {"lstm": fastrnn.LSTM, "gru": fastrnn.GRU}.get(model.cell, fastrnn.RNN)
    network = fastrnn.Sequential(
        [
            fastrnn.Embedding(model.vocabulary, model.embedding, name="embedding"),
            layer(model.units[0], return_sequences=True, name="rnn0"),
            fastrnn.Dropout(model.dropout),
            layer(model.units[1], name="rnn1"),
            fastrnn.Dropout(model.dropout),
            fastrnn.Dense(1, activation="sigmoid", name="dense"),
        ]
    )
    network.build((None, model.steps))
    for name, parameter in network.parameters.items():
        parameter[...] = reviews.weights[name.removesuffix("_l0")]
    adam = fastrnn.Adam(learning_rate=model.learning_rate, epsilon=model.epsilon)
    network.compile(adam, "binary_crossentropy")
    return network


def inference_against(frozen_weights: bool, work: Workload, data: Data, threads: int) -> Runner:
    """The form that is fair against a peer whose weights are frozen or not."""
    chosen = prepared_inference if frozen_weights else functional_inference
    return chosen(work, data, threads)


class Again(Peer):
    """fastrnn as its own peer: every ratio should be 1, and what it is instead is the noise."""

    name = "self"
    configuration = "fastrnn once more, the functional form"

    def version(self) -> str:
        return str(fastrnn.__version__)

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(functional_inference(work, data, threads))]

    def training(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(training(work, data, threads))]

    def step(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(step(work, data, threads))]

    def model_prediction(
        self, model: SentimentModel, reviews: Reviews, threads: int
    ) -> list[Runner]:
        return [self._renamed(model_prediction(model, reviews, threads))]

    def model_training(self, model: SentimentModel, reviews: Reviews, threads: int) -> list[Runner]:
        return [self._renamed(model_training(model, reviews, threads))]

    def _renamed(self, runner: Runner) -> Runner:
        return replace(runner, name=self.name)
