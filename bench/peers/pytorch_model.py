"""The tutorial's model in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from peers import Runner
from sentiment import Reviews, SentimentModel
from workload import Array


class TorchSentiment:
    """Modules of ``torch.nn`` in its fastest order: time first, the loss on logits."""

    def __init__(self, torch: Any, model: SentimentModel, reviews: Reviews) -> None:
        self.torch, self.model = torch, model
        self.embedding = torch.nn.Embedding(model.vocabulary, model.embedding)
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(model.cell, torch.nn.RNN)
        self.layers = [kind(inputs, hidden) for inputs, hidden in model.layer_sizes]
        self.dense = torch.nn.Linear(model.units[1], 1)
        self.modules = torch.nn.ModuleList([self.embedding, *self.layers, self.dense])
        self._load(reviews.weights)
        # [T, B]
        self.tokens = [torch.from_numpy(np.ascontiguousarray(x.T)) for x in reviews.tokens]
        self.labels = [torch.from_numpy(y) for y in reviews.labels]

    def logits(self, tokens: Any) -> Any:
        dropout = self.torch.nn.functional.dropout
        first, last = self.layers
        p, training = self.model.dropout, self.modules.training
        sequence = dropout(first(self.embedding(tokens))[0], p, training)
        return self.dense(dropout(last(sequence)[0][-1], p, training))

    def prediction(self) -> Runner:
        torch, batches = self.torch, cycle(self.tokens)
        self.modules.eval()

        def call() -> Any:
            with torch.inference_mode():
                return torch.sigmoid(self.logits(next(batches)))

        return Runner("torch", call, lambda output: {"output": output.numpy()})

    def training(self) -> Runner:
        torch, batches = self.torch, cycle(zip(self.tokens, self.labels, strict=True))
        self.modules.train()
        parameters = [p for p in self.modules.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(
            parameters, self.model.learning_rate, eps=self.model.epsilon, fused=True
        )
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

        def call() -> Any:
            tokens, labels = next(batches)
            optimizer.zero_grad(set_to_none=True)
            loss = cross_entropy(self.logits(tokens), labels)
            loss.backward()
            optimizer.step()
            return loss

        def arrays(loss: Any) -> Mapping[str, Array]:
            self.modules.eval()
            with torch.inference_mode():
                output = torch.sigmoid(self.logits(self.tokens[0]))
            self.modules.train()
            return {"loss": loss.detach().numpy().reshape(1), "output": output.numpy()}

        return Runner("torch", call, arrays)

    def _load(self, weights: Mapping[str, Array]) -> None:
        tensors = {name: self.torch.from_numpy(value.copy()) for name, value in weights.items()}
        self.embedding.load_state_dict({"weight": tensors["embedding.weight"]})
        for number, layer in enumerate(self.layers):
            state = {
                name: tensors.get(f"rnn{number}.{name.removesuffix('_l0')}")
                for name in layer.state_dict()
            }
            if state["bias_hh_l0"] is None:
                # Two equal biases would move twice as fast under Adam: the second one stays zero.
                state["bias_hh_l0"] = self.torch.zeros_like(state["bias_ih_l0"])
                layer.bias_hh_l0.requires_grad_(False)
            layer.load_state_dict(state)
        self.dense.load_state_dict(
            {"weight": tensors["dense.weight"], "bias": tensors["dense.bias"]}
        )
