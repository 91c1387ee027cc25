"""Compiled kernels over plain threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba


def in_parallel(kernel: Callable[..., None], blocks: Sequence[tuple[Any, ...]], *rest: Any) -> None:
    """``kernel(*block, *rest)`` for every block, over Numba's number of threads.

    Plain threads: the kernels release the interpreter lock, and unlike Numba's own parallel loops these may
    be started from several threads and after a fork, and do not spin while another process is busy.
    """
    for _ in _pool(numba.get_num_threads()).map(lambda block: kernel(*block, *rest), blocks):
        pass


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that last: to start them for every batch would cost a fifth of its time."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    # The threads stay with the parent.
    os.register_at_fork(after_in_child=_pool.cache_clear)
