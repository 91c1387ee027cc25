"""Files appear whole or not at all: written under a temporary name in the same folder, then moved into
place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabular_fedrl.errors import InvalidProblem


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it replaces ``path``, on any exception it is removed.

    A symbolic link is followed: the file it points to is replaced. The move is one ``os.replace`` within a
    folder, so a reader sees the old file or the new one.

    Raises
    ------
    InvalidProblem: if the folder does not exist, or ``path`` is there and is no regular file (a device must
        not be replaced by a file).
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise InvalidProblem(f"cannot write {os.fspath(path)}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        raise InvalidProblem(f"cannot write {os.fspath(path)}: it is not a regular file")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.partial")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
