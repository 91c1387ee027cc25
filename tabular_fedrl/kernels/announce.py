"""Compiling is said: the first use of a kernel takes seconds, and a silent pause looks like a hang."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

PATIENCE = 2.0
"""Seconds of compiling, all in all, that pass without a word."""


class Announcer(event.Listener):
    """Says once, on standard error, that something is being compiled, when that takes long.

    Numba tells it of every function that is compiled and not read from disk; functions that they call nest
    inside.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nested = 0
        self._spent = 0.0
        self._began = 0.0
        self._timer: threading.Timer | None = None

    def on_start(self, event: Any) -> None:
        """A function is being compiled."""
        if _ours(event):
            self.begin()

    def on_end(self, event: Any) -> None:
        """It is done, or failed."""
        if _ours(event):
            self.end()

    def begin(self) -> None:
        """From here on something compiles."""
        with self._lock:
            self._nested += 1
            if self._nested == 1 and self._spent <= PATIENCE:
                self._began = time.monotonic()
                self._timer = threading.Timer(PATIENCE - self._spent, _say)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """What began last is done."""
        with self._lock:
            self._nested -= 1
            if self._nested == 0 and self._timer is not None:
                self._timer.cancel()
                self._timer = None
                self._spent += time.monotonic() - self._began


def _ours(event: Any) -> bool:
    return event.data["dispatcher"].py_func.__module__.partition(".")[0] == __name__.partition(".")[0]


def _say() -> None:
    # One write: lines of several processes do not mix.
    sys.stderr.write("compiling the loops; from now on they are read from disk\n")


_announcer = Announcer()
event.register("numba:compile", _announcer)


@contextmanager
def announced() -> Iterator[None]:
    """Around what compiles without Numba's telling so, as for a CUDA device, and is done at once
    otherwise."""
    _announcer.begin()
    try:
        yield
    finally:
        _announcer.end()
