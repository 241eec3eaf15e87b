"""Load the compiled core; every module imports ``_core`` through this one.

OpenMP's idle workers spin after each parallel region, libgomp's for 300,000 pauses (3 to 11 ms) by
default, those of LLVM's libomp for 200 ms, which burns a processor that the caller's Python or a
neighbour could use. Both read the number once, when they are loaded or first called, so it is
shortened around the import alone and the environment is left as it was: another package's runtime
is not affected. Workers that fell asleep are woken for work that is worth it only, so the core has
to know when they do.
"""

import os

# libgomp, in pauses: 0.04 to 0.15 ms: workers are still awake when the next call of a training step
# comes (right after another it took 61 us; without any spin 178 us), and little is burned if none
# comes. libomp, in ms: the least but none.
_SPIN = {"GOMP_SPINCOUNT": "4000", "KMP_BLOCKTIME": "1"}
# How long that keeps workers awake, in seconds, at the least.
_AWAKE = {"libgomp": 50e-6, "libomp": 900e-6}


def _shorten_spin() -> dict[str, str]:
    """Set and return the variables, unless the user decided about waiting."""
    if "OMP_WAIT_POLICY" in os.environ or any(name in os.environ for name in _SPIN):
        return {}
    os.environ.update(_SPIN)
    return _SPIN


# What workers do where another package loaded the runtime before, at the least.
_USUALLY_AWAKE = 3e-3


def _runtimes() -> set[str]:
    """Return the files of OpenMP that are loaded; none where the system does not tell."""
    try:
        with open("/proc/self/maps") as maps:
            return {line.split()[-1] for line in maps if "/libgomp" in line or "/libomp" in line}
    except OSError:
        return set()


_shortened = _shorten_spin()
_loaded_before = _runtimes()
try:
    import fastrnn._core as core

    core.get_num_threads()  # the first call of the runtime, at which libomp reads its variable
    if _shortened:  # else the user said how they wait
        reused = _loaded_before and _runtimes() == _loaded_before
        core.set_awake_seconds(_USUALLY_AWAKE if reused else _AWAKE[core.openmp_runtime()])
except ModuleNotFoundError as error:
    if error.name != "fastrnn._core":
        raise
    raise ImportError(
        "fastrnn's compiled core (fastrnn._core) is missing: did you forget to build it? "
        "Run `pip install .` in the source tree, and import fastrnn from outside of it."
    ) from error
finally:
    for _name in _shortened:
        del os.environ[_name]

__all__ = ["core"]
