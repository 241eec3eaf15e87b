"""Run by torchrun: a step of data-parallel training, whose gradients rank 0 writes to a file."""

import sys
import time

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pack_sequence

import fastrnn.torch


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = fastrnn.torch.LSTM(5, 7, num_layers=2, bidirectional=True)
        self.decoder = fastrnn.torch.GRU(7, 7, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, sequences):
        packed = pack_sequence(sequences, enforce_sorted=False)
        _, (hn, _) = self.encoder(packed)
        return self.head(self.decoder(hn.transpose(0, 1))[0][:, -1])


def gradients(model, part=slice(None)):
    """Gradients of the mean loss of so many of the eight sequences, each of its own length."""
    generator = torch.Generator().manual_seed(1)
    sequences = [torch.randn(n, 5, generator=generator) for n in (3, 9, 1, 4, 6, 6, 2, 8)]
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    nn.functional.cross_entropy(model(sequences[part]), labels[part]).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


def make_model():
    torch.manual_seed(0)
    return Classifier()


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    found = gradients(DistributedDataParallel(make_model()), slice(rank, None, size))
    if rank == 0:
        torch.save(found, sys.argv[1])
    distributed.barrier()  # as in fastrnn.torch.sentiment
    time.sleep(0.2)
    distributed.destroy_process_group()
