"""One process at a time on a file: an advisory lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from io import FileIO
from weakref import WeakSet

from tabular_fedrl.errors import InvalidProblem

_held: WeakSet[FileIO] = WeakSet()


def lock(file: FileIO, path: str) -> None:
    """Lock the open file of a path until it is closed.

    Raises
    ------
    InvalidProblem: somebody else has locked it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            place = file.tell()
            file.seek(2**62)  # a lock there keeps nobody from reading
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(place)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InvalidProblem(f"{path} is in use: another sweep is writing it") from None
    _held.add(file)


def _let_go() -> None:
    for file in list(_held):
        file.close()


if hasattr(os, "register_at_fork"):
    # A forked worker shares the lock and would keep it beyond the parent's end.
    os.register_at_fork(after_in_child=_let_go)
