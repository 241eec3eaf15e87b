"""fastrnn as the bench calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import fastrnn
from fastrnn import functional as F
from fastrnn import runtime
from peers import Runner
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

    return Runner("functional", call, arrays)


def step(work: Workload, data: Data, threads: int) -> Runner:
    """One time step of the prepared form, which carries the state from call to call."""
    runtime.set_num_threads(threads)
    layer = fastrnn.Recurrent(work.cell, data.weights)
    x_t = np.ascontiguousarray(data.x[0])
    return Runner("step", lambda: layer.step(x_t), lambda output: {"output": output})


def inference_against(frozen_weights: bool, work: Workload, data: Data, threads: int) -> Runner:
    """The form that is fair against a peer whose weights are frozen or not."""
    chosen = prepared_inference if frozen_weights else functional_inference
    return chosen(work, data, threads)


class Again:
    """fastrnn as its own peer: every ratio should be 1, and what it is instead is the noise."""

    name = "self"
    configuration = "fastrnn once more, the functional form"
    frozen_weights = False

    def version(self) -> str:
        return str(fastrnn.__version__)

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(functional_inference(work, data, threads))]

    def training(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(training(work, data, threads))]

    def step(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [self._renamed(step(work, data, threads))]

    def _renamed(self, runner: Runner) -> Runner:
        return Runner(self.name, runner.call, runner.arrays)
