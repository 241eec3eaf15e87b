"""Fixtures: every ISA that the machine has, 1, 2 and 7 threads, both types."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from cases import settings as runtime_settings
from fastrnn import _core, runtime

# For test_bench: the bench is no package, its files import each other.
sys.path.append(str(Path(__file__).parents[1] / "bench"))

# A shell without job control starts what runs in the background with Ctrl-C ignored; here it is
# tested, also in processes that would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are the same in every run, so that a failure can be repeated; HYPOTHESIS_PROFILE=explore
# looks for new ones.
hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis_settings.register_profile("explore", deadline=None, database=None, max_examples=1000)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# The tests' calls are small and come after pauses: without this, their teams would be one thread.
_core.set_awake_seconds(float("inf"))


@pytest.fixture(autouse=True, scope="session")
def compiled_code_is_made_anew(tmp_path_factory):
    """What torch.compile left on this machine may be of other operators than ours are now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(autouse=True)
def torch_draws_the_same_numbers_every_time():
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(params=runtime.available_isas())
def isa(request):
    with runtime_settings(isa=request.param):
        yield request.param


@pytest.fixture(params=[1, 2, 7])
def threads(request):
    with runtime_settings(threads=request.param):
        yield request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param
