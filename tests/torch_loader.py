"""A data set that computes its items with a module of fastrnn's, for workers to import."""

import copy

import torch
from torch.utils.data import DataLoader, Dataset

import fastrnn
import fastrnn.torch


class Encoded(Dataset):
    """Item i: what an LSTM makes of the sequence i, and the number of threads it used."""

    def __init__(self):
        torch.manual_seed(0)
        self.layer = fastrnn.torch.LSTM(16, 32)

    def __len__(self):
        return 8

    def __getitem__(self, i):
        x = torch.randn(20, 16, 16, generator=torch.Generator().manual_seed(i))
        output = self.layer(x)[0].detach()
        return output, fastrnn.get_num_threads()


def step(layer, x):
    """A step of gradient descent."""
    layer(x)[0].sum().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.sub_(0.1 * parameter.grad)


def share(method):
    """Print how a process ended that did a step, and whether it did that of this process."""
    torch.manual_seed(0)
    layer, x = fastrnn.torch.LSTM(16, 32), torch.randn(20, 16, 16)
    twin = copy.deepcopy(layer)
    step(twin, x)
    process = torch.multiprocessing.get_context(method).Process(
        target=step, args=(layer.share_memory(), x)
    )
    process.start()
    process.join()
    print(process.exitcode, all(map(torch.equal, layer.parameters(), twin.parameters())))


def main(method):
    """Print whether workers give the bits of this process, and their threads."""
    torch.set_num_threads(2)
    data = Encoded()
    here = [data[i][0] for i in range(len(data))]
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=method)
    there = list(loader)
    same = all(torch.equal(a, b) for a, (b, _) in zip(here, there, strict=True))
    print(same, {threads for _, threads in there}, fastrnn.get_num_threads())
