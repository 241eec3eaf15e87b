"""Who is measured: fastrnn under ``ours``, and one file for each peer.

A peer turns a workload into ``Runner`` objects: a call without arguments that does the whole work
once. It returns none for what it cannot do (onnxruntime does not train): that row is left out.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentiment import Reviews, SentimentModel
from workload import Array, Data, Workload


@dataclass(frozen=True)
class Activations:
    """What training keeps from its forward to its backward pass."""

    forward: Callable[[], Any]  # runs the forward pass; what it returns keeps all of it alive
    accounted: Callable[[], int]  # their bytes, the output apart, as the library counts them


@dataclass(frozen=True)
class Runner:
    """One way to do a piece of work."""

    name: str
    call: Callable[[], Any]
    arrays: Callable[[Any], Mapping[str, Array]]  # what ``call`` returned, as named NumPy arrays
    activations: Activations | None = None  # of training
    counted: float = 1.0  # the share of its work, and so of its time, that the other side does too
    around: Callable[[], AbstractContextManager[Any]] = nullcontext  # what many calls need once

    def second_arrays(self) -> Mapping[str, Array]:
        """What the second of two calls gives: a state that is carried shows."""
        with self.around():
            self.call()
            return self.arrays(self.call())


@dataclass(frozen=True)
class Duel:
    """Two runners that do the same work."""

    ours: Runner
    peer: Runner
    checked: Duel | None = None  # whose values are compared instead: dropout's masks are random


class Peer(ABC):
    """A library to measure against; each way that it can do a piece of work is a runner."""

    name: str
    configuration: str  # what makes it the peer's best legal configuration; stands in the report
    frozen_weights = False  # inference with weights fixed beforehand: against our prepared form

    @abstractmethod
    def version(self) -> str:
        """Return the version that is measured."""

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        """Give arrays named output, h_n and c_n, or some of them."""
        return []

    def training(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        """Give dx and the gradients under the parameters' names besides."""
        return []

    def step(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        """Take the first time step again and again, carrying the state; give output [B, H]."""
        return []

    def model_prediction(
        self, model: SentimentModel, reviews: Reviews, threads: int
    ) -> list[Runner]:
        """Take one batch after the other; give output [B, 1], the probabilities."""
        return []

    def model_training(self, model: SentimentModel, reviews: Reviews, threads: int) -> list[Runner]:
        """Take one optimiser's step on one batch after the other; give loss [1].

        And output [B, 1]: what the model, as it is by then, makes of the first batch.
        """
        return []


def installed(names: list[str]) -> list[Peer]:
    """The peers among ``names`` whose packages are installed, in that order."""
    found: list[Peer] = []
    for name in names:
        if name == "torch" and _there("torch"):
            from peers.pytorch import Torch

            found.append(Torch())
        elif name == "onnxruntime" and _there("onnxruntime") and _there("onnx"):
            from peers.onnx_runtime import OnnxRuntime

            found.append(OnnxRuntime())
        elif name == "keras" and _there("keras"):
            from peers.keras import Keras, find_backend

            if backend := find_backend():
                found.append(Keras(backend))
        elif name == "self":
            from peers.ours import Again

            found.append(Again())
    return found


def how_to_install(name: str) -> str:
    return "pip install keras tensorflow-cpu" if name == "keras" else "pip install '.[bench]'"


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# "self" is fastrnn again: it shows the noise of the measurement
KNOWN = ("torch", "onnxruntime", "keras", "self")
DEFAULT = ("torch", "onnxruntime", "keras")


class UnavailableError(Exception):
    """Something cannot be measured here."""


class DisagreementError(AssertionError):
    """Two runners gave different values, so comparing their speed would mean nothing."""


def check_values(duel: Duel, dtype: str) -> float:
    """Run both twice (a step carries its state) and compare what the second calls return.

    Returns
    -------
    float
        The largest difference, relative to the largest value of its array.

    Raises
    ------
    DisagreementError
        If an array differs by more than 1e-3 (float32: sums of many thousand terms in different
        orders, through up to a thousand steps) or 1e-8 (float64) of its largest value, or has
        another shape or NaN.
    """
    limit = 1e-3 if dtype == "float32" else 1e-8
    duel = duel.checked or duel
    ours, peer = duel.ours.second_arrays(), duel.peer.second_arrays()
    shared = [name for name in ours if name in peer]
    if "output" not in shared:
        raise DisagreementError(f"{duel.ours.name} and {duel.peer.name} share no output to compare")
    worst = 0.0
    for name in shared:
        a, b = ours[name], peer[name]
        if a.shape != b.shape:
            raise DisagreementError(
                f"{name}: {a.shape} from {duel.ours.name}, {b.shape} from {duel.peer.name}"
            )
        scale = float(np.abs(b).max(initial=0.0)) or 1.0
        error = float(np.abs(a - b).max(initial=0.0)) / scale
        if not error <= limit:
            raise DisagreementError(
                f"{name} of {duel.ours.name} and {duel.peer.name} differ by {error:.1e} "
                "of its largest value"
            )
        worst = max(worst, error)
    return worst
