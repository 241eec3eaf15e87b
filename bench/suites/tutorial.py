"""The tutorial's model of film reviews: whole training steps, and predictions.

A training step is forward, backward and Adam. Its values are compared without dropout, since every
library draws masks of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from peers import Duel, ours
from sentiment import Reviews, SentimentModel, without_chance
from suites import Case, Context, Suite, duels

CELLS = ("lstm", "gru", "rnn_tanh")


def cases(context: Context) -> list[Case]:
    return [
        case
        for cell in (CELLS[:1] if context.quick else CELLS)
        for case in model_cases(context, SentimentModel(cell))
    ]


def model_cases(context: Context, model: SentimentModel) -> list[Case]:
    certain = without_chance(model)
    threads = context.threads

    def prediction() -> Iterable[Duel]:
        reviews = Reviews.random(model)
        for peer in context.peers:
            for runner in peer.model_prediction(model, reviews, threads):
                yield Duel(ours.model_prediction(model, reviews, threads), runner)

    def training() -> Iterable[Duel]:
        reviews = Reviews.random(model)
        for peer in context.peers:
            checked = peer.model_training(*certain, threads)
            for runner, reference in zip(
                peer.model_training(model, reviews, threads), checked, strict=True
            ):
                yield Duel(
                    ours.model_training(model, reviews, threads),
                    runner,
                    Duel(ours.model_training(*certain, threads), reference),
                )

    return [
        Case(
            label=model.label,
            series=model.cell,
            mode=mode,
            flops=model.flops * times,
            steps=model.steps,
            samples=model.batch,
            dtype="float32",
            threads=threads,
            rows=duels(build),
        )
        for mode, times, build in (("training", 3, training), ("prediction", 1, prediction))
    ]


SUITE = Suite("tutorial", "the tutorial's model of film reviews", cases, view="samples")
