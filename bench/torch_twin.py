"""A fastrnn model's twin in PyTorch: the same layers, the same weights, the same training step.

Each library draws dropout's masks of its own; all else is equal. Sequences of different lengths
are packed, as PyTorch wants them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import fastrnn
from fastrnn import convert, ops
from fastrnn.data import Batch
from fastrnn.layers.recurrent import RecurrentLayer
from workload import Array

FUNCTIONS = torch.nn.functional
LOSSES = ("BinaryCrossentropy", "MeanSquaredError", "SparseCategoricalCrossentropy")

# What is not translated has to be as it is by default.
OF_LAYERS = {
    "dtype": "float32",
    "trainable": True,
    "use_bias": True,
    "dropout": 0.0,
    "return_state": False,
    "go_backwards": False,
    "zero_output_for_mask": True,
    "merge_mode": "concat",
}
OF_RECURRENT = {**OF_LAYERS, "activation": "tanh", "recurrent_activation": "sigmoid"}
OF_ADAM = {"weight_decay": None, "clipnorm": None, "clipvalue": None, "amsgrad": False}
OF_LOSSES = {
    "reduction": "sum_over_batch_size",
    "from_logits": False,
    "label_smoothing": 0.0,
    "ignore_class": None,
}


@dataclass
class Signal:
    """What goes from layer to layer: [B, T, F] or [B, F], and the steps of each row."""

    value: Any
    lengths: Any = None  # [B]; None: all full


class Recurrent:
    """One RNN, LSTM or GRU layer, or a stack, in one or both directions."""

    def __init__(self, layer: RecurrentLayer) -> None:
        kinds = {fastrnn.LSTM: torch.nn.LSTM, fastrnn.GRU: torch.nn.GRU}
        self.layer = layer
        self.state: Any = None
        self.module: Any = kinds.get(type(layer), torch.nn.RNN)(
            layer.parameters["weight_ih_l0"].shape[1],
            layer.units,
            num_layers=layer.num_layers,
            batch_first=True,
            dropout=layer.stack_dropout,
            bidirectional=layer.directions == 2,
        )
        load(self.module, convert.to_pytorch(layer))
        for name, bias in self.module.named_parameters():
            # Two equal biases would move twice as fast under Adam: the second one stays zero.
            bias.requires_grad_(not name.startswith("bias_hh") or name in layer.parameters)

    def __call__(self, given: Signal) -> Signal:
        x, lengths = given.value, given.lengths
        if lengths is not None:
            pack = torch.nn.utils.rnn.pack_padded_sequence
            x = pack(x, lengths, batch_first=True, enforce_sorted=False)
        output, state = self.module(x, self.state)
        if self.layer.stateful:
            parts = state if isinstance(state, tuple) else (state,)
            detached = tuple(part.detach() for part in parts)
            self.state = detached if isinstance(state, tuple) else detached[0]
        if not self.layer.return_sequences:
            h = state[0] if isinstance(state, tuple) else state
            return Signal(h[-1] if self.layer.directions == 1 else torch.cat((h[-2], h[-1]), -1))
        if lengths is not None:
            output = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0]
        return Signal(output, lengths)


class Twin:
    """The twin of a built and compiled model: layers, loss and Adam.

    Raises
    ------
    ValueError
        If the model, or later a batch, has something that is not translated here.
    """

    def __init__(self, model: fastrnn.Sequential) -> None:
        self.model = model
        self.loss = self._loss_name()
        self.modules = torch.nn.ModuleList()
        self.recurrent: list[Recurrent] = []
        self.stages = [self._stage(layer) for layer in model.layers]
        self.optimizer = self._adam()
        self.figures = ("loss", "mae" if self.loss == "MeanSquaredError" else "accuracy")
        """The names of what `evaluate` returns."""
        self.steps = 0

    def _stage(self, layer: fastrnn.Layer) -> Callable[[Signal], Signal]:
        inner = layer.inner_layers[0] if isinstance(layer, fastrnn.Bidirectional) else layer
        expect(f"layer {layer.name!r}", layer, OF_LAYERS)
        if isinstance(inner, RecurrentLayer):
            expect(f"layer {inner.name!r}", inner, OF_RECURRENT)
            stage = Recurrent(inner)
            self.recurrent.append(stage)
            self.modules.append(stage.module)
            return stage
        module: Any
        if isinstance(layer, fastrnn.Embedding):
            module = torch.nn.Embedding(layer.input_dim, layer.output_dim)
        elif isinstance(layer, fastrnn.Dense):
            expect(f"layer {layer.name!r}", layer, {"activation": self._activation_of(layer)})
            module = torch.nn.Linear(layer.parameters["weight"].shape[1], layer.units)
        elif isinstance(layer, fastrnn.Dropout):
            module = torch.nn.Dropout(layer.rate)
        else:
            raise ValueError(f"layer {layer.name!r}: a {type(layer).__name__} has no twin here")
        load(module, convert.to_pytorch(layer) if layer.parameters else {})
        self.modules.append(module)
        return lambda given: Signal(module(given.value), given.lengths)

    def _activation_of(self, layer: fastrnn.Dense) -> str:
        """Return what a layer's activation has to be: the loss is of the last one's logits."""
        last = layer is self.model.layers[-1]
        return (self.model.need_loss().activation if last else None) or "linear"

    def _loss_name(self) -> str:
        loss = self.model.need_loss()
        name = type(loss).__name__
        if name not in LOSSES:
            raise ValueError(f"loss: {name} has no twin here")
        expect("loss", loss, OF_LOSSES)
        if loss.activation and not self.model.ends_in(loss.activation):
            raise ValueError(f"loss: expected a model that ends in {loss.activation}")
        return name

    def _adam(self) -> Any:
        adam = self.model.need_optimizer()
        if type(adam) is not fastrnn.Adam:
            raise ValueError(f"optimizer: expected Adam, got {type(adam).__name__}")
        expect("optimizer", adam, OF_ADAM)
        parameters = [p for p in self.modules.parameters() if p.requires_grad]
        return torch.optim.Adam(parameters, betas=(adam.beta_1, adam.beta_2), fused=True)

    # ---- one batch -------------------------------------------------------------------------------

    def train_step(self, batch: Batch) -> Any:
        """Take one step; return the loss, a tensor."""
        self.modules.train()
        self._follow_the_models_optimizer()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self.outputs(batch), batch)
        loss.backward()
        limit = self.model.need_optimizer().global_clipnorm
        if limit:
            torch.nn.utils.clip_grad_norm_(self.modules.parameters(), limit)
        self.optimizer.step()
        self.steps += 1
        return loss.detach()

    def _follow_the_models_optimizer(self) -> None:
        adam: Any = self.model.need_optimizer()
        adam.iterations = self.steps
        group = self.optimizer.param_groups[0]
        group["lr"] = adam.learning_rate
        # Keras's epsilon goes to the root of the second moment before its bias is corrected.
        group["eps"] = adam.epsilon / math.sqrt(1 - adam.beta_2 ** (self.steps + 1))

    def outputs(self, batch: Batch) -> Any:
        """Return the outputs, before a sigmoid or softmax."""
        signal = self._given(batch)
        for stage in self.stages:
            signal = stage(signal)
        if signal.lengths is not None:
            raise ValueError("mask: a loss of each step that is masked has no twin here")
        return signal.value

    def _given(self, batch: Batch) -> Signal:
        for name in ("sample_weight", "reset"):
            if getattr(batch, name) is not None:
                raise ValueError(f"batch: {name} has no twin here")
        x, mask = np.asarray(batch.x), batch.mask
        first = self.model.layers[0]
        if isinstance(first, fastrnn.Embedding) and first.mask_zero:
            mask = x != 0
        if mask is None:
            return Signal(_tensor(x))
        lengths, _ = ops.count_steps(mask)
        # PyTorch's layers take no empty sequence: one step of padding stands for it.
        lengths = np.maximum(lengths, 1)
        return Signal(
            _tensor(ops.gather_steps(x, mask, int(lengths.max()))), torch.from_numpy(lengths)
        )

    def _loss(self, outputs: Any, batch: Batch) -> Any:
        y = torch.from_numpy(np.asarray(batch.y))
        if self.loss == "BinaryCrossentropy":
            return FUNCTIONS.binary_cross_entropy_with_logits(outputs[:, 0], y.to(outputs.dtype))
        if self.loss == "SparseCategoricalCrossentropy":
            return FUNCTIONS.cross_entropy(outputs.flatten(0, -2), y.flatten().long())
        return FUNCTIONS.mse_loss(outputs, y)

    # ---- all of the data -------------------------------------------------------------------------

    def reset_states(self) -> None:
        """Begin the next batch with zeros."""
        for layer in self.recurrent:
            layer.state = None

    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Return the mean loss over all rows, and the accuracy or absolute error."""
        with torch.no_grad():
            return self._evaluate(batches)

    def _evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        self.modules.eval()
        self.reset_states()
        sums, rows = dict.fromkeys(self.figures, 0.0), 0
        for batch in batches:
            outputs, y = self.outputs(batch), torch.from_numpy(np.asarray(batch.y))
            count = outputs.flatten(0, -2).shape[0]
            sums["loss"] += float(self._loss(outputs, batch)) * count
            rows += count
            if "mae" in sums:
                sums["mae"] += float((outputs - y).abs().mean()) * count
            else:
                binary = self.loss == "BinaryCrossentropy"
                said = outputs[:, 0] > 0 if binary else outputs.argmax(-1)
                sums["accuracy"] += float((said == y).sum())
        self.reset_states()
        return {name: total / rows for name, total in sums.items()}

    def hand_back(self) -> None:
        """Put the weights into the fastrnn model."""
        modules = iter(self.modules)
        for layer in self.model.layers:
            module = next(modules)
            state = {name: value.numpy() for name, value in module.state_dict().items()}
            if state:
                convert.from_pytorch(layer, state)


def expect(what: str, thing: object, values: dict[str, Any]) -> None:
    """Raise ValueError where an attribute that is there has another value."""
    for name, value in values.items():
        got = getattr(thing, name, value)
        if got != value:
            raise ValueError(f"{what}: expected {name}={value!r}, got {got!r}: it has no twin here")


def load(module: Any, arrays: dict[str, Array]) -> None:
    """Put arrays into a module."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _tensor(x: Array) -> Any:
    whole = x.dtype.kind in "iu"
    return torch.from_numpy(np.ascontiguousarray(x, np.int64 if whole else np.float32))
