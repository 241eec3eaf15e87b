"""The tutorial's model of film reviews, and made-up reviews to train it on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from workload import GATES, Array


@dataclass(frozen=True)
class SentimentModel:
    """Embedding, two recurrent layers with dropout after each, and one sigmoid unit.

    Trained with the binary cross-entropy and Adam. Like Keras's layers, those of the LSTM and the
    RNN have one bias; the GRU's have two.
    """

    cell: str  # a key of GATES
    vocabulary: int = 10_000
    embedding: int = 100
    units: tuple[int, int] = (100, 50)
    dropout: float = 0.5
    steps: int = 50
    batch: int = 32
    learning_rate: float = 1e-3
    epsilon: float = 1e-7  # Adam's; the peers' defaults differ

    @property
    def label(self) -> str:
        return f"T{self.steps} B{self.batch} E{self.embedding} H{self.units[0]},{self.units[1]}"

    @property
    def layer_sizes(self) -> tuple[tuple[int, int], ...]:
        """(input size, hidden size) of the two layers."""
        return (self.embedding, self.units[0]), self.units

    @property
    def flops(self) -> float:
        """Of one batch's prediction: the products alone; training takes three times as many.

        As if every word were another one; fastrnn makes the products of a word once.
        """
        per_token = sum(2 * GATES[self.cell] * h * (i + h) for i, h in self.layer_sizes)
        return float(self.batch * (self.steps * per_token + 2 * self.units[1]))


def without_chance(model: SentimentModel) -> tuple[SentimentModel, Reviews]:
    """What every library does the same values on: to be compared before the speed is.

    Without dropout; one batch again and again, of tokens that come once: for tokens that come more
    often Keras on TensorFlow squares their gradients one by one, and it leaves alone what a batch
    does not have. A large step, so that wrong gradients show; next to no epsilon, which Keras
    scales; and few time steps, since of gradients that have vanished Adam makes large steps too.
    """
    model = replace(model, dropout=0.0, steps=4, learning_rate=0.02, epsilon=1e-12)
    return model, Reviews.random(model, batches=1, distinct=True)


@dataclass(frozen=True)
class Reviews:
    """Batches of token ids, none of them padding, and the weights that every contender begins with.

    Weights carry PyTorch's names and gate order: ``embedding.weight`` [V, E], ``rnn0.weight_ih``
    [G*H, E], ..., ``dense.weight`` [1, H], ``dense.bias`` [1]. ``rnn0.bias_hh`` only for the GRU.
    """

    tokens: Array  # [N, B, T] int64
    labels: Array  # [N, B, 1] float32
    weights: dict[str, Array]

    @classmethod
    def random(
        cls, model: SentimentModel, batches: int = 16, distinct: bool = False, seed: int = 0
    ) -> Reviews:
        """Tokens as frequent as words are, by Zipf's law, or all distinct; the rest random."""
        rng = np.random.default_rng(seed)
        shape = (batches, model.batch, model.steps)
        words = np.arange(1, model.vocabulary)
        frequency = 1 / words
        chosen = {"replace": False} if distinct else {"p": frequency / frequency.sum()}
        tokens = rng.choice(words, shape, **chosen)
        labels = rng.integers(0, 2, (batches, model.batch, 1)).astype(np.float32)
        bounds: dict[str, tuple[tuple[int, ...], float]] = {
            "embedding.weight": ((model.vocabulary, model.embedding), 0.5)
        }
        for layer, (inputs, hidden) in enumerate(model.layer_sizes):
            rows, bound = GATES[model.cell] * hidden, hidden**-0.5
            bounds[f"rnn{layer}.weight_ih"] = (rows, inputs), bound
            bounds[f"rnn{layer}.weight_hh"] = (rows, hidden), bound
            bounds[f"rnn{layer}.bias_ih"] = (rows,), bound
            if model.cell == "gru":
                bounds[f"rnn{layer}.bias_hh"] = (rows,), bound
        bounds["dense.weight"] = (1, model.units[1]), model.units[1] ** -0.5
        bounds["dense.bias"] = (1,), model.units[1] ** -0.5
        weights = {
            name: rng.uniform(-bound, bound, shape).astype(np.float32)
            for name, (shape, bound) in bounds.items()
        }
        return cls(tokens, labels, weights)
