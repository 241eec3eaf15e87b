"""Ctrl-C during a training."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class CtrlC:
    """The first Ctrl-C lets the batch end, so that no update is cut in half; a second one raises.

    Only where Python's own handler is in place and in the main thread, the only one that can set
    another.

    Attributes
    ----------
    pressed : bool
        Whether it was.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._installed = False

    def __enter__(self) -> CtrlC:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
