"""fastrnn.torch against torch.nn: the recurrent layers, then the training steps of two models.

The layers' shapes and lengths are those of the suites ``layers`` and ``ragged``. A packed sequence
is also held against the padded one, both with the drop-in: it must not be slower. A model makes two
rows, its recurrent layers alone and its whole step, and with them the share of the step that the
recurrent layers take on either side: the rest is PyTorch's on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from measure import Bench, measure
from peers import Duel, Peer, Runner, check_values
from suites import Case, Context, Row, Suite, duels, layers, ragged
from torch_models import LANGUAGE_MODEL, TAGGER, Model, TorchModel
from workload import Data, Workload


def cases(context: Context) -> list[Case]:
    torch = next((peer for peer in context.peers if peer.name == "torch"), None)
    if torch is None:
        return []
    works = [*layers.works(context), *ragged.works(context)]
    found = [layer_case(context, torch, work) for work in works]
    return found + [model_case(context, model) for model in (TAGGER, LANGUAGE_MODEL)]


def layer_case(context: Context, torch: Peer, work: Workload) -> Case:
    """Training, with the gradients of the input and of all parameters."""

    def build() -> Iterable[Duel]:
        from peers.drop_in import DropIn

        data = Data.random(work)
        peers = torch.training(work, data, context.threads)
        ours, *padded = DropIn().training(work, data, context.threads)
        for peer in (*peers, *padded):
            yield Duel(ours, peer)

    return Case(
        label=work.label,
        series=work.cell,
        mode="training" if work.lengths is None else "packed",
        dtype=work.dtype,
        threads=context.threads,
        rows=duels(build),
        flops=3 * work.flops,
        steps=work.steps,
    )


def model_case(context: Context, model: Model) -> Case:
    """The recurrent layers of a model, and its whole training step."""
    certain = replace(model, dropout=0.0)  # every side draws masks of its own
    threads = context.threads

    def duel(runner: Callable[[TorchModel], Runner]) -> Duel:
        def sides(of: Model) -> tuple[Runner, Runner]:
            return runner(TorchModel(of, True, threads)), runner(TorchModel(of, False, threads))

        return Duel(*sides(model), checked=Duel(*sides(certain)))

    def rows(case: Case, bench: Bench) -> Iterator[Row]:
        part: Row = {}
        for mode, runner in (("recurrent", TorchModel.recurrent_part), ("step", TorchModel.step)):
            both = duel(runner)
            error = check_values(both, case.dtype)
            found = measure(both, bench, case.dtype, case.threads).as_json()
            for side in ("ours", "peer"):
                found[f"{side}_us_per_step"] = found[f"{side}_seconds"] * 1e6 / case.steps
                if part:
                    share = part[f"{side}_seconds"] / found[f"{side}_seconds"]
                    found[f"{side}_recurrent_share"] = share
            part = part or found
            names = {"ours": both.ours.name, "peer": both.peer.name}
            yield case.row(mode=mode, largest_difference=error, **names, **found)

    return Case(
        label=model.label,
        series=model.name,
        mode="step",
        dtype="float32",
        threads=threads,
        rows=rows,
        flops=3 * model.flops,
        steps=model.steps,
        samples=model.batch,
    )


SUITE = Suite("torch", "the drop-in fastrnn.torch against torch.nn", cases, view="torch")
