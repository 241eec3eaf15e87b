"""fastrnn.torch against torch.nn: the recurrent layers, then the training steps of two models.

The layers' shapes and lengths are those of the suites ``layers`` and ``ragged``. Beside torch.nn:

- ``padding`` holds a PackedSequence against the padded batch, both with the drop-in: it must not be
  slower, not even where next to nothing is padded.
- ``call``, with a graph and with the backward pass or without, holds the drop-in against
  ``functional`` where there is little to compute: what it takes longer is its way through torch.

A model makes two rows, its recurrent layers alone and its whole step, and with them the share of
the step that the recurrent layers take on either side: the rest is PyTorch's on both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from measure import Bench, measure
from peers import Duel, Runner, check_values, ours
from suites import Case, Context, Row, Suite, duels, layers, ragged
from torch_models import LANGUAGE_MODEL, TAGGER, Model, TorchModel
from workload import Array, Data, Workload

SMALL = (10, 1, 32, 32)  # T, B, I, H


def cases(context: Context) -> list[Case]:
    torch: Any = next((peer for peer in context.peers if peer.name == "torch"), None)
    if torch is None:
        return []
    dense, packed = layers.works(context), ragged.works(context)
    return [
        *(layer_case(context, torch, work) for work in dense),
        *(packed_case(context, torch, work) for work in packed),
        *(padding_case(context, work) for work in (*packed, *map(hardly_padded, packed))),
        *(call_case(context, cell, mode) for cell in layers.CELLS for mode in CALLS),
        *(model_case(context, model) for model in (TAGGER, LANGUAGE_MODEL)),
    ]


def layer_case(context: Context, torch: Any, work: Workload) -> Case:
    """Training, with the gradients of the input and of all parameters."""

    def build() -> Iterable[Duel]:
        from peers.drop_in import DropIn

        data, threads = Data.random(work), context.threads
        (theirs,) = torch.training(work, data, threads)
        yield Duel(DropIn().training(work, data, threads)[0], theirs)

    return _training(work, "training", context, build)


def packed_case(context: Context, torch: Any, work: Workload) -> Case:
    """Training on a PackedSequence, against torch.nn on it and on the padded batch."""

    def build() -> Iterable[Duel]:
        from peers.drop_in import DropIn, packed_training, padded_training

        data, threads = Data.random(work), context.threads
        for theirs in (packed_training, padded_training):
            yield Duel(
                packed_training(DropIn(), work, data, threads), theirs(torch, work, data, threads)
            )

    return _training(work, "packed", context, build)


def padding_case(context: Context, work: Workload) -> Case:
    """Training on a PackedSequence and on the padded batch, both with the drop-in."""

    def build() -> Iterable[Duel]:
        from peers.drop_in import DropIn, packed_training, padded_training

        data, drop_in, threads = Data.random(work), DropIn(), context.threads
        yield Duel(
            packed_training(drop_in, work, data, threads),
            padded_training(drop_in, work, data, threads),
        )

    case = _training(work, "padding", context, build)
    return replace(case, label=f"{work.label} {work.valid_share:.1%}")


def hardly_padded(work: Workload) -> Workload:
    """All sequences as long as the longest but one, which is a step shorter."""
    return replace(work, lengths=(work.steps,) * (work.batch - 1) + (work.steps - 1,))


def _training(
    work: Workload, mode: str, context: Context, build: Callable[[], Iterable[Duel]]
) -> Case:
    return Case(
        label=work.label,
        series=work.cell,
        mode=mode,
        dtype=work.dtype,
        threads=context.threads,
        rows=duels(build),
        flops=3 * work.flops,
        steps=work.steps,
    )


CALLS = ("call", "call, graph", "call + backward")


def call_case(context: Context, cell: str, mode: str) -> Case:
    """What the drop-in takes longer than the functional form, in microseconds."""
    work, threads = Workload(cell, *SMALL), context.threads

    def duel() -> Duel:
        from peers.drop_in import DropIn

        data, drop_in = Data.random(work), DropIn()
        if mode == "call":
            (runner,) = drop_in.inference(work, data, threads)
            return Duel(runner, ours.functional_inference(work, data, threads))
        (runner,) = drop_in.training(work, data, threads)
        both = Duel(runner, ours.training(work, data, threads))
        if mode == "call + backward":
            return both
        return Duel(_forward(both.ours), _forward(both.peer))

    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        both = duel()
        error = check_values(both, case.dtype)
        measured = measure(both, bench, case.dtype, case.threads)
        over = statistics.median(pair.ours - pair.peer for pair in measured.counted) * 1e6
        yield _row(case, both, measured.as_json(), largest_difference=error, over_us=over)

    return Case(
        label=work.label,
        series=cell,
        mode=mode,
        dtype=work.dtype,
        threads=threads,
        rows=rows,
        steps=work.steps,
    )


def _forward(training: Runner) -> Runner:
    """The first half of a training step, which keeps what the second one needs."""
    assert training.activations is not None

    def arrays(result: Any) -> Mapping[str, Array]:
        output = result[0]
        return {"output": output if isinstance(output, np.ndarray) else output.detach().numpy()}

    return Runner(training.name, training.activations.forward, arrays)


def model_case(context: Context, model: Model) -> Case:
    """The recurrent layers of a model, and its whole training step."""
    certain = replace(model, dropout=0.0)  # every side draws masks of its own
    threads = context.threads

    def made(of: Model) -> tuple[TorchModel, TorchModel]:
        return TorchModel(of, True, threads), TorchModel(of, False, threads)

    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        for mode, runner in (("recurrent", TorchModel.recurrent_part), ("step", TorchModel.step)):
            models, others = made(model), made(certain)
            checked = Duel(runner(others[0]), runner(others[1]))
            both = Duel(runner(models[0]), runner(models[1]), checked)
            error = check_values(both, case.dtype)
            found = measure(both, bench, case.dtype, case.threads).as_json()
            if mode == "step":
                for side, of in zip(("ours", "peer"), models, strict=True):
                    found[f"{side}_recurrent_share"] = of.recurrent_share()
            yield _row(case, both, found, mode=mode, largest_difference=error)

    return Case(
        label=model.label,
        series=model.name,
        mode="step",
        dtype="float32",
        threads=threads,
        rows=rows,
        steps=model.steps,
    )


def _row(case: Case, both: Duel, found: Row, **more: object) -> Row:
    per_step = {
        f"{side}_us_per_step": found[f"{side}_seconds"] * 1e6 / case.steps
        for side in ("ours", "peer")
    }
    names = {"ours": both.ours.name, "peer": both.peer.name}
    return case.row(**names, **found, **per_step, **more)


SUITE = Suite(
    "torch",
    "the drop-in fastrnn.torch against torch.nn",
    cases,
    view="torch",
    asked_for=True,
)
