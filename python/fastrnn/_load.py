"""Load the compiled core; every module imports ``_core`` through this one.

libgomp's idle workers spin for 300,000 pauses (3 to 11 ms) after each parallel region by default,
which burns a processor that the caller's Python or a neighbour could use. libgomp reads the number
once, when it is loaded, so it is shortened around the import alone and the environment is left as
it was: another package's runtime is not affected.
"""

import os

# 0.04 to 0.15 ms: workers are still awake when the next call of a training step comes (right after
# another it took 61 us; without any spin 178 us), and little is burned if none comes.
_SPIN_COUNT = "4000"


def _shorten_spin() -> bool:
    """Set ``GOMP_SPINCOUNT`` unless the user decided about waiting; say whether it was set."""
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return False
    os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
    return True


_shortened = _shorten_spin()
try:
    import fastrnn._core as core
except ModuleNotFoundError as error:
    if error.name != "fastrnn._core":
        raise
    raise ImportError(
        "fastrnn's compiled core (fastrnn._core) is missing: did you forget to build it? "
        "Run `pip install .` in the source tree, and import fastrnn from outside of it."
    ) from error
finally:
    if _shortened:
        del os.environ["GOMP_SPINCOUNT"]

__all__ = ["core"]
