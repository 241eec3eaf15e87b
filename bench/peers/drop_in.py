"""fastrnn.torch as the bench calls it: torch's runners, with modules of fastrnn's in them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from peers import Runner
from peers.pytorch import Torch
from workload import Data, Workload


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

    def _module(self, work: Workload, data: Data, threads: int) -> Any:
        module = super()._module(work, data, threads)
        self.fastrnn_torch.accelerate(module)
        return module


def _renamed(runner: Runner) -> Runner:
    return replace(runner, name=runner.name.replace("torch", "drop-in"))
