"""Threads and instruction sets: what is used, what there is, and why.

Environment: ``FASTRNN_NUM_THREADS`` sets the number of threads, ``FASTRNN_ISA`` forces an
instruction set.
"""

from dataclasses import dataclass

from fastrnn import _threads
from fastrnn._check import positive_int, real
from fastrnn._load import core as _core
from fastrnn._threads import ThreadChoice

__all__ = [
    "Info",
    "available_isas",
    "get_isa",
    "get_num_threads",
    "info",
    "set_isa",
    "set_num_threads",
]

_CHOSEN = ("FASTRNN_NUM_THREADS", "set_num_threads")  # reasons of a number that the user named

_choice = _threads.choose()
_core.set_num_threads(_choice.count)


def set_num_threads(n: int) -> None:
    """Use ``n`` threads from the next call on, even if that is more than the machine has.

    The results do not change, bit for bit. While other programs keep the processors busy, calls
    start fewer, unless ``n`` is more than there are processors. OpenMP's runtime ends the process
    where the system refuses it a thread.

    Raises
    ------
    ValueError
        If ``n`` is not in 1 .. 1024.
    """
    global _choice
    n = positive_int("n", n)
    if n > _threads.MOST_THREADS:
        raise ValueError(f"n: expected {_threads.MOST_THREADS} or less, got {n}")
    _core.set_num_threads(n)
    _choice = ThreadChoice(n, "set_num_threads")


def follow(n: int, reason: str) -> None:
    """Use ``n`` threads, 1 or more, unless somebody chose a number.

    That is `set_num_threads` or ``FASTRNN_NUM_THREADS``. For packages that bring a number along.
    """
    global _choice
    n = min(n, _threads.MOST_THREADS)
    if n != _core.get_num_threads() and _choice.reason not in _CHOSEN:
        _core.set_num_threads(n)
        _choice = ThreadChoice(n, reason)


def get_num_threads() -> int:
    """Return the number of threads that the next call may use."""
    return _core.get_num_threads()


def available_isas() -> list[str]:
    """Return the instruction sets that this build can use on this machine, the slowest first."""
    return _core.available_isas()


def get_isa() -> str:
    """Return the instruction set in use."""
    return _core.get_isa()


def set_isa(name: str) -> None:
    """Use the instruction set ``name``, one of `available_isas`, from the next call on.

    Results of two instruction sets differ in their last bits.
    """
    if name not in _core.available_isas():
        raise ValueError(f"name: expected one of {_core.available_isas()}, got {name!r}")
    _core.set_isa(name)


@dataclass(frozen=True)
class Info:
    """What `info` found; ``str`` of it is what ``fastrnn info`` prints."""

    version: str
    compiler: str
    isa: str
    available_isas: tuple[str, ...]
    compiled_isas: tuple[str, ...]
    num_threads: int
    threads_reason: str
    fma_peak_float32: float
    """Floating-point operations per second on all threads."""
    fma_peak_float64: float
    fma_peak_one_thread: float
    """The same in float32 on one thread."""

    def __str__(self) -> str:
        one, all_, double = (
            f"{flops / 1e9:.0f} GF/s"
            for flops in (self.fma_peak_one_thread, self.fma_peak_float32, self.fma_peak_float64)
        )
        rows = (
            ("fastrnn", self.version),
            ("compiler", self.compiler),
            ("ISA", self.isa),
            ("  runs here", ", ".join(self.available_isas)),
            ("  in this build", ", ".join(self.compiled_isas)),
            ("threads", str(self.num_threads)),
            ("  because", self.threads_reason),
            ("FMA peak", f"{all_} float32, {double} float64 ({one} float32 on one thread)"),
        )
        return "\n".join(f"{label:<16}{value}" for label, value in rows)


def info(seconds: float = 0.1) -> Info:
    """Describe the build and the machine, and measure the peak of fused multiply-adds.

    Parameters
    ----------
    seconds : float
        How long each of the three measurements takes.
    """
    seconds = real("seconds", seconds, minimum=0.001)
    threads = _core.get_num_threads()
    return Info(
        version=_core.__version__,
        compiler=_core.compiler(),
        isa=_core.get_isa(),
        available_isas=tuple(_core.available_isas()),
        compiled_isas=tuple(_core.compiled_isas()),
        num_threads=threads,
        threads_reason=_choice.reason,
        fma_peak_float32=_core.fma_peak(False, threads, seconds),
        fma_peak_float64=_core.fma_peak(True, threads, seconds),
        fma_peak_one_thread=_core.fma_peak(False, 1, seconds),
    )
