"""Memory that freed arrays leave with the C library."""

from __future__ import annotations

import ctypes
import sys

KEPT = 1 << 25
"""glibc keeps freed arrays of up to so many bytes for the next ones."""


def make_room(size: int) -> None:
    """Have freed memory returned to the system, where the C library can, before arrays of ``size`` bytes are
    made that would not fit into what it keeps.

    The vectors of a problem of 10^6 states are small enough to be kept and its tables ``(S, A)`` are not:
    what solving it leaves behind would be nearly as large as the problem.
    """
    if size > KEPT and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
