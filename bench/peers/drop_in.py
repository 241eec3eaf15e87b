"""fastrnn.torch as the bench calls it: torch's runners, with modules of fastrnn's in them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
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

    def module(self, work: Workload, data: Data, threads: int) -> Any:
        module = super().module(work, data, threads)
        self.fastrnn_torch.accelerate(module)
        return module


def packed_training(peer: Torch, work: Workload, data: Data, threads: int) -> Runner:
    """A module's training on a PackedSequence that was made beforehand."""
    torch = peer.torch
    module = peer.module(work, data, threads)
    packed = _pack(torch, torch.from_numpy(data.x), work)
    doutput = _pack(torch, torch.from_numpy(data.doutput), work).data
    leaf = packed.data.requires_grad_()

    def call() -> Any:
        leaf.grad = None
        module.zero_grad(set_to_none=True)
        output = module(packed)[0].data
        output.backward(doutput)
        return output

    return Runner(f"{peer.name} packed", call, lambda output: _arrays(module, output))


def padded_training(peer: Torch, work: Workload, data: Data, threads: int) -> Runner:
    """The same sequences padded; the gradient is masked beforehand."""
    torch = peer.torch
    module = peer.module(work, data, threads)
    x, mask = torch.from_numpy(data.x).clone().requires_grad_(), torch.from_numpy(work.mask)
    doutput = torch.from_numpy(data.doutput) * mask

    def call() -> Any:
        x.grad = None
        module.zero_grad(set_to_none=True)
        output = module(x)[0]
        output.backward(doutput)
        return output

    def arrays(output: Any) -> Mapping[str, Array]:
        return _arrays(module, _pack(torch, output * mask, work).data)

    return Runner(f"{peer.name} padded", call, arrays)


def _pack(torch: Any, padded: Any, work: Workload) -> Any:
    lengths = torch.tensor(work.lengths)
    return torch.nn.utils.rnn.pack_padded_sequence(padded, lengths, enforce_sorted=False)


def _arrays(module: Any, output: Any) -> Mapping[str, Array]:
    gradients = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return {"output": output.detach().numpy(), **gradients}


def _renamed(runner: Runner) -> Runner:
    return replace(runner, name=runner.name.replace("torch", "drop-in"))
