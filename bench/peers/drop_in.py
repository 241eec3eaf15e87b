"""fastrnn.torch as the bench calls it: torch's runners, with modules of fastrnn's in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from peers import Runner
from peers.pytorch import Torch
from workload import Array, Data, Workload


class DropIn(Torch):
    """What PyTorch does, after `fastrnn.torch.accelerate`."""

    name = "drop-in"

    def __init__(self) -> None:
        super().__init__()
        self.fastrnn_torch: Any = importlib.import_module("fastrnn.torch")

    def inference(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [_renamed(runner) for runner in super().inference(work, data, threads)]

    def training(self, work: Workload, data: Data, threads: int) -> list[Runner]:
        return [_renamed(runner) for runner in super().training(work, data, threads)]

    def packed_and_padded(self, work: Workload, data: Data, threads: int) -> tuple[Runner, Runner]:
        """Training on sequences that are packed already, and on the same ones padded.

        Past the ends of the padded ones the loss looks at nothing, so the gradients of the
        parameters are the same.
        """
        torch = self.torch
        module = self._module(work, data, threads)
        x, mask = torch.from_numpy(data.x), torch.from_numpy(work.mask)
        doutput = torch.from_numpy(data.doutput) * mask

        def pack(padded: Any) -> Any:
            lengths = torch.tensor(work.lengths)
            return torch.nn.utils.rnn.pack_padded_sequence(padded, lengths, enforce_sorted=False)

        def data_of(sequence: Any) -> Any:
            return sequence if isinstance(sequence, torch.Tensor) else sequence.data

        def runner(name: str, given: Any, gradient: Any, valid: Callable[[Any], Any]) -> Runner:
            leaf = data_of(given).requires_grad_()

            def call() -> Any:
                leaf.grad = None
                module.zero_grad(set_to_none=True)
                output = module(given)[0]
                data_of(output).backward(gradient)
                return output

            def arrays(output: Any) -> Mapping[str, Array]:
                named = {name: p.grad.numpy() for name, p in module.named_parameters()}
                return {"output": valid(output).detach().numpy(), **named}

            return Runner(name, call, arrays)

        return (
            runner("drop-in packed", pack(x), pack(doutput).data, lambda output: output.data),
            runner("drop-in padded", x.clone(), doutput, lambda output: pack(output).data),
        )

    def _module(self, work: Workload, data: Data, threads: int) -> Any:
        module = super()._module(work, data, threads)
        self.fastrnn_torch.accelerate(module)
        return module


def _renamed(runner: Runner) -> Runner:
    return replace(runner, name=runner.name.replace("torch", "drop-in"))
