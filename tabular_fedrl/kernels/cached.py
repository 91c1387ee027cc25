"""Compiled code that is kept on disk for as long as what it was compiled from stands.

Numba looks at a function's own file, but what the function calls in other files is compiled into it: without
more, an update that changes one block would leave its callers as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba

_PACKAGE = Path(__file__).parents[1]

SOURCES = sorted([*_PACKAGE.glob("kernels/*.py"), *_PACKAGE.glob("loops/*.py"), _PACKAGE / "measured.py"])
"""All that is compiled, and the constants in it."""

STAMP = sha256(repr([(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in SOURCES]).encode())


def cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with these options, read from disk the next time unless one of :data:`SOURCES` has
    changed."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(cache=True, **options)(function)
        # There is none with compilation switched off; no public name leads to it.
        index = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if index is not None:
            index._source_stamp = (index._source_stamp, STAMP.hexdigest())
        return dispatcher

    return decorate
