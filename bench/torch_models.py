"""Two whole models in PyTorch: a tagger on packed batches and a word-level language model."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from peers import Runner
from workload import Array, ragged_lengths


@dataclass(frozen=True)
class Model:
    """Word vectors, LSTM layers with dropout around them, and a class for every word."""

    name: str
    vocabulary: int
    embedding: int
    hidden: int
    layers: int
    bidirectional: bool
    classes: int
    dropout: float
    steps: int
    batch: int
    ragged: bool  # sentences of different lengths, packed

    @property
    def label(self) -> str:
        stack = f"x{self.layers}" + (" bi" if self.bidirectional else "")
        return f"T{self.steps} B{self.batch} E{self.embedding} H{self.hidden} {stack}"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of one batch's sentences, the longest first."""
        if not self.ragged:
            return (self.steps,) * self.batch
        return tuple(sorted(ragged_lengths(self.steps, self.batch), reverse=True))


# The sizes of Lample et al., "Neural Architectures for Named Entity Recognition" (2016), without
# its CRF and characters, and the default ones of PyTorch's example word_language_model.
TAGGER = Model("tagger", 10_000, 100, 100, 1, True, 17, 0.5, steps=60, batch=32, ragged=True)
LANGUAGE_MODEL = Model(
    "lm", 10_000, 200, 200, 2, False, 10_000, 0.2, steps=35, batch=20, ragged=False
)


class TorchModel:
    """One of them, its recurrent layers torch.nn's or fastrnn's; equal weights and data always."""

    def __init__(self, model: Model, accelerated: bool, threads: int, batches: int = 8) -> None:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.model = torch, model
        self.marks: list[float] = []  # of the last step: when the recurrent layers began and ended
        self.name = "drop-in" if accelerated else "torch"
        self.embedding = torch.nn.Embedding(model.vocabulary, model.embedding)
        self.recurrent = torch.nn.LSTM(
            model.embedding,
            model.hidden,
            num_layers=model.layers,
            bidirectional=model.bidirectional,
            dropout=model.dropout if model.layers > 1 else 0.0,
        )
        width = model.hidden * (2 if model.bidirectional else 1)
        self.head = torch.nn.Linear(width, model.classes)
        self.modules = torch.nn.ModuleList([self.embedding, self.recurrent, self.head])
        if accelerated:
            importlib.import_module("fastrnn.torch").accelerate(self.modules)
        words = np.arange(1, model.vocabulary)
        rng, frequency = np.random.default_rng(0), 1 / words
        shape = (batches, model.steps, model.batch)
        tokens = torch.from_numpy(rng.choice(words, shape, p=frequency / frequency.sum()))
        targets = torch.from_numpy(rng.integers(0, model.classes, shape))
        self.batches = [
            (self._sequence(x), self._flat(y)) for x, y in zip(tokens, targets, strict=True)
        ]

    def step(self) -> Runner:
        """A step of training: forward, backward and Adam."""
        torch, batches = self.torch, cycle(self.batches)
        clock = time.perf_counter
        optimizer = torch.optim.Adam(self.modules.parameters(), fused=True)
        dropout = torch.nn.functional.dropout

        def call() -> Any:
            tokens, targets = next(batches)
            optimizer.zero_grad(set_to_none=True)
            vectors = dropout(self.embedding(self._data(tokens)), self.model.dropout)
            self.marks = [clock()]
            hidden = self._data(self.recurrent(self._like(tokens, vectors))[0])
            self.marks.append(clock())
            for tensor in (hidden, vectors):  # their gradients begin and end the backward pass
                tensor.register_hook(lambda _: self.marks.append(clock()))
            logits = self.head(dropout(hidden, self.model.dropout))
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets)
            loss.backward()
            optimizer.step()
            return loss

        return Runner(self.name, call, lambda loss: self._arrays(loss, self.modules))

    def recurrent_share(self, steps: int = 9) -> float:
        """The share of a step's time that the recurrent layers take within it."""
        step, shares = self.step(), []
        for _ in range(steps + 2):
            start = time.perf_counter()
            step.call()
            whole = time.perf_counter() - start
            forward, end, backward, last = self.marks
            shares.append((end - forward + last - backward) / whole)
        return statistics.median(shares[2:])

    def recurrent_part(self) -> Runner:
        """Forward and backward of the recurrent layers alone, as they stand in a step."""
        torch, tokens = self.torch, self.batches[0][0]
        generator = torch.Generator().manual_seed(1)

        def random(width: int) -> Any:
            return torch.randn(*self._data(tokens).shape, width, generator=generator)

        vectors = random(self.model.embedding).requires_grad_()
        doutput = random(self.head.in_features)

        def call() -> Any:
            vectors.grad = None
            self.recurrent.zero_grad(set_to_none=True)
            output = self._data(self.recurrent(self._like(tokens, vectors))[0])
            output.backward(doutput)
            return output

        return Runner(self.name, call, lambda output: self._arrays(output, self.recurrent))

    def _arrays(self, output: Any, module: Any) -> dict[str, Array]:
        gradients = {name: p.grad.numpy() for name, p in module.named_parameters()}
        return {"output": output.detach().numpy().reshape(-1), **gradients}

    def _sequence(self, padded: Any) -> Any:
        """A batch [T, B] as the model takes it, packed if its sentences differ in length."""
        pack: Callable[..., Any] = self.torch.nn.utils.rnn.pack_padded_sequence
        return pack(padded, self.model.lengths) if self.model.ragged else padded

    def _flat(self, padded: Any) -> Any:
        return self._data(self._sequence(padded)).flatten()

    def _data(self, sequence: Any) -> Any:
        return sequence.data if self.model.ragged else sequence

    def _like(self, tokens: Any, data: Any) -> Any:
        return type(tokens)(data, *tokens[1:]) if self.model.ragged else data
