"""What the tests of the bench make up: workloads, pairs of times, a peer that measures nothing."""

from measure import Pair
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
