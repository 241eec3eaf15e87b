"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, whole sequences; the module or its cell, single steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from peers import Activations, Peer, Runner
from peers.pytorch_model import TorchSentiment
from sentiment import Reviews, SentimentModel
from workload import Array, Data, Workload


class Torch(Peer):
    """The peer of training, and of inference with weights that may change."""

    name = "torch"

    def __init__(self) -> None:
        self.torch: Any = importlib.import_module("torch")
        onednn = "on" if self.torch.backends.mkldnn.is_available() else "not available"
        self.configuration = (
            "inference: eval() and inference_mode(); training: forward and backward with the "
            "gradients of the input and of all parameters, grads set to None between; "
            f"contiguous weights, oneDNN {onednn}, same threads; "
            "ragged: packed (pack_padded_sequence, enforce_sorted=False) and padded, the gradient "
            "masked beforehand; "
            "single steps: the module with one step and the *Cell class, in one inference_mode(); "
            "tutorial: time-major layers, loss on logits, fused Adam"
        )

    def version(self) -> str:
        return str(self.torch.__version__)

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        torch = self.torch
        module = self.module(work, data, threads).eval()
        x = torch.from_numpy(data.x)

        def whole() -> Any:
            with torch.inference_mode():
                return module(x)

        if work.lengths is None:
            return [Runner("torch", whole, _outputs)]
        lengths = torch.tensor(work.lengths)

        def packed() -> Any:
            with torch.inference_mode():
                return self._packed(module, x, lengths, work.steps)

        runners = [Runner("torch packed", packed, _outputs)]
        if not work.bidirectional:
            mask = torch.from_numpy(work.mask)

            def padded() -> Any:
                with torch.inference_mode():
                    return module(x)[0]

            runners.append(
                Runner("torch padded", padded, lambda out: {"output": (out * mask).numpy()})
            )
        return runners

    def training(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        torch = self.torch
        module = self.module(work, data, threads).train()
        x = torch.from_numpy(data.x).clone().requires_grad_(True)
        doutput = torch.from_numpy(data.doutput)

        def runner(name: str, forward: Callable[[], Any], doutput: Any = doutput) -> Runner:
            def call() -> Any:
                x.grad = None
                module.zero_grad(set_to_none=True)
                output, state = forward()
                output.backward(doutput)
                return output, state

            def arrays(result: Any) -> Mapping[str, Array]:
                named = {name: value.grad.numpy() for name, value in module.named_parameters()}
                return {**_outputs(result), "dx": x.grad.numpy(), **named}

            def saved() -> int:
                return self._saved_bytes(forward, (x, *module.parameters()))

            return Runner(name, call, arrays, Activations(forward, saved))

        if work.lengths is None:
            return [runner("torch", lambda: module(x))]
        lengths = torch.tensor(work.lengths)
        runners = [
            runner("torch packed", lambda: self._packed(module, x, lengths, work.steps)),
        ]
        if not work.bidirectional:
            mask = torch.from_numpy(work.mask)
            padded = runner("torch padded", lambda: (module(x)[0], None), doutput * mask)

            def arrays(result: Any) -> Mapping[str, Array]:
                output, state = result
                return padded.arrays((output * mask, state))

            runners.append(replace(padded, arrays=arrays))
        return runners

    def step(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        torch = self.torch
        module = self.module(work, data, threads).eval()
        cell = self._cell(work, data).eval()
        x_t = torch.from_numpy(data.x[:1].copy())
        zeros = torch.zeros(1, work.batch, work.hidden_size, dtype=x_t.dtype)
        state: Any = (zeros, zeros) if work.cell == "lstm" else zeros
        cell_state: Any = (zeros[0], zeros[0]) if work.cell == "lstm" else zeros[0]

        row = x_t[0]

        def by_module() -> Any:
            nonlocal state
            output, state = module(x_t, state)
            return output

        def by_cell() -> Any:
            nonlocal cell_state
            cell_state = cell(row, cell_state)
            return cell_state[0] if work.cell == "lstm" else cell_state

        def arrays(output: Any) -> Mapping[str, Array]:
            return {"output": output.numpy().reshape(work.batch, work.hidden_size)}

        # A loop over steps enters the mode once.
        return [
            Runner(name, call, arrays, around=torch.inference_mode)
            for name, call in (("torch", by_module), ("torch cell", by_cell))
        ]

    def model_prediction(
        self, model: SentimentModel, reviews: Reviews, threads: int
    ) -> list[Runner]:
        self.torch.set_num_threads(threads)
        return [TorchSentiment(self.torch, model, reviews).prediction()]

    def model_training(self, model: SentimentModel, reviews: Reviews, threads: int) -> list[Runner]:
        self.torch.set_num_threads(threads)
        return [TorchSentiment(self.torch, model, reviews).training()]

    def module(self, work: Workload, data: Data, threads: int) -> Any:
        """The stack of layers as nn.LSTM, nn.GRU or nn.RNN, with these weights."""
        torch = self.torch
        torch.set_num_threads(threads)
        options: dict[str, Any] = {
            "num_layers": work.num_layers,
            "bidirectional": work.bidirectional,
            "dtype": getattr(torch, work.dtype),
        }
        if work.cell.startswith("rnn_"):
            options["nonlinearity"] = work.cell.removeprefix("rnn_")
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(work.cell, torch.nn.RNN)
        module = kind(work.input_size, work.hidden_size, **options)
        module.load_state_dict({name: torch.from_numpy(a) for name, a in data.weights.items()})
        return module

    def _cell(self, work: Workload, data: Data) -> Any:
        torch = self.torch
        options: dict[str, Any] = {"dtype": getattr(torch, work.dtype)}
        if work.cell.startswith("rnn_"):
            options["nonlinearity"] = work.cell.removeprefix("rnn_")
        kind = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}.get(work.cell, torch.nn.RNNCell)
        cell = kind(work.input_size, work.hidden_size, **options)
        cell.load_state_dict(
            {name.removesuffix("_l0"): torch.from_numpy(a) for name, a in data.weights.items()}
        )
        return cell

    def _saved_bytes(self, forward: Callable[[], Any], own: Iterable[Any]) -> int:
        """What autograd saves of ``forward`` besides its output and the tensors ``own``."""
        saved: dict[int, int] = {}

        def pack(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with self.torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output, _ = forward()
        for tensor in (output, *own):
            saved.pop(tensor.untyped_storage().data_ptr(), None)
        return sum(saved.values())

    def _packed(self, module: Any, x: Any, lengths: Any, steps: int) -> Any:
        rnn = self.torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, state = module(packed)
        return rnn.pad_packed_sequence(output, total_length=steps)[0], state


def _outputs(result: Any) -> dict[str, Array]:
    output, state = result
    arrays = {"output": output}
    if state is not None:
        states = state if isinstance(state, tuple) else (state,)
        arrays.update(zip(("h_n", "c_n"), states, strict=False))
    return {name: tensor.detach().numpy() for name, tensor in arrays.items()}
