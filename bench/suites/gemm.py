"""The products that are merged over time, against NumPy's BLAS.

forward: x [N, I] weight.T [I, O], as for X W_ih with N = T * B and O = gates * H; backward:
dx = dout weight and dweight = dout.T x, the latter with K = N.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np

import fastrnn._core as _core
from fastrnn import runtime
from peers import Duel, Runner
from suites import Case, Context, Suite, duels
from workload import Array

# N = T * B, I, O: input products of the LSTMs of layers.SHAPES, of a GRU, a vocabulary's logits
SHAPES = (
    (3200, 128, 1024),
    (1600, 100, 400),
    (6400, 256, 2048),
    (1600, 512, 4096),
    (16000, 64, 512),
    (3200, 128, 768),
    (2000, 256, 96),
)


def cases(context: Context) -> list[Case]:
    shapes = SHAPES[:2] if context.quick else SHAPES
    return [
        Case(
            label=f"N{rows} I{inputs} O{outputs}",
            series="linear",
            mode=mode,
            flops=float(2 * rows * inputs * outputs * (1 if mode == "forward" else 2)),
            dtype="float32",
            threads=context.threads,
            rows=duels(_builder(rows, inputs, outputs, mode, context.threads)),
        )
        for rows, inputs, outputs in shapes
        for mode in ("forward", "backward")
    ]


def _builder(rows: int, inputs: int, outputs: int, mode: str, threads: int) -> Any:
    def build() -> Iterable[Duel]:
        pools: Any = importlib.import_module("threadpoolctl")
        pools.threadpool_limits(threads, user_api="blas")
        runtime.set_num_threads(threads)
        rng = np.random.default_rng(0)
        x, weight, dout = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))
        )
        yield forward(x, weight) if mode == "forward" else backward(x, weight, dout)

    return build


def forward(x: Array, weight: Array) -> Duel:
    outs = [np.empty((len(x), len(weight)), x.dtype) for _ in range(2)]

    def ours() -> Array:
        _core.linear_forward(x, weight, None, outs[0])
        return outs[0]

    def peer() -> Array:
        return np.matmul(x, weight.T, out=outs[1])

    return Duel(_runner("linear", ours), _runner("numpy", peer))


def backward(x: Array, weight: Array, dout: Array) -> Duel:
    grads = [(np.empty_like(x), np.empty_like(weight)) for _ in range(2)]

    def ours() -> tuple[Array, Array]:
        dx, dweight = grads[0]
        _core.linear_backward(x, weight, dout, dx, dweight, None)
        return grads[0]

    def peer() -> tuple[Array, Array]:
        dx, dweight = grads[1]
        np.matmul(dout, weight, out=dx)
        np.matmul(dout.T, x, out=dweight)
        return grads[1]

    def named(result: Any) -> dict[str, Array]:
        return {"output": result[0], "dweight": result[1]}

    return Duel(Runner("linear", ours, named), Runner("numpy", peer, named))


def _runner(name: str, call: Any) -> Runner:
    return Runner(name, call, lambda output: {"output": output})


SUITE = Suite("gemm", "products merged over time, against NumPy's BLAS", cases)
