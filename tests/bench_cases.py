"""What the tests of the bench make up: workloads, times and rows, a peer that measures nothing."""

import numpy as np

from measure import Measurement, Pair
from peers import Peer
from workload import Workload, ragged_lengths

WORKS = [
    Workload("lstm", 7, 3, 5, 4),
    Workload("gru", 7, 3, 5, 4, num_layers=3, bidirectional=True),
    Workload("rnn_tanh", 20, 6, 2, 3, lengths=ragged_lengths(20, 6), dtype="float64"),
]


def pair(ours=1.0, peer=2.0, probes=(100.0, 100.0, 100.0), kept=True):
    return Pair(ours, peer, probes, usual=100.0, stolen=0.0, others=0.0, kept=kept)


class Nobody(Peer):
    name = "torch"

    def version(self):
        return "0"


def row(ratio=2.0, label="T1", peer="torch", **more):
    base = {"suite": "layers", "view": "speed", "series": "lstm", "mode": "training"}
    return {**base, "label": label, "peer": peer, "ratio": ratio, "threads": 2, **more}


def timed_row(seconds, noise=0.0, peer_seconds=2.0, **more):
    """A row of a duel whose own side took so long, give or take the noise."""
    drawn = np.random.default_rng(0).lognormal(0, noise, 15)
    pairs = [pair(ours=seconds * factor, peer=peer_seconds) for factor in drawn]
    measured = Measurement(pairs).as_json()
    shares = {"ours_us_per_step": 1.0, "peer_us_per_step": 2.0, "ours_share_of_peak": 0.5}
    return {**row(), **measured, **shares, "peer_share_of_peak": 0.3, "dtype": "float32",
            "ours": "functional", **more}  # fmt: skip
