"""fastrnn's number of threads follows ``torch.set_num_threads``."""

import torch

from fastrnn import runtime

# Until somebody changes torch's number, fastrnn's own is the better one where it is lower: it also
# looks at the cgroup's quota.
_initial = torch.get_num_threads()
_own = runtime.get_num_threads()


def follow() -> None:
    """Use as many threads as torch does, unless fastrnn was told a number."""
    number = torch.get_num_threads()
    runtime.follow(min(number, _own) if number == _initial else number, "torch.get_num_threads()")
