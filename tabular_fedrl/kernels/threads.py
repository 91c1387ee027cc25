"""Compiled kernels over plain threads.

What is summed or raised over the states of a large problem is taken chunk by chunk and combined in the order
of the chunks, so that no result depends on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba

CHUNK = 2048
"""States of a chunk."""


def in_parallel(kernel: Callable[..., None], blocks: Sequence[tuple[Any, ...]], *rest: Any) -> None:
    """``kernel(*block, *rest)`` for every block, over Numba's number of threads.

    Plain threads: the kernels release the interpreter lock, and unlike Numba's own parallel loops these may
    be started from several threads and after a fork, and do not spin while another process is busy.
    """
    for _ in _pool(numba.get_num_threads()).map(lambda block: kernel(*block, *rest), blocks):
        pass


def chunks(S: int) -> int:
    """Chunks of S states."""
    return -(-S // CHUNK)


def over_chunks(kernel: Callable[..., None], S: int, *arguments: Any) -> None:
    """``kernel(first chunk, chunk after the last, *arguments)`` over all chunks, shared among threads where
    there is enough to do."""
    n = chunks(S)
    threads = min(numba.get_num_threads(), n // 2)
    if threads < 2:
        kernel(0, n, *arguments)
        return
    ends = [n * i // threads for i in range(threads + 1)]
    in_parallel(kernel, list(pairwise(ends)), *arguments)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that last: to start them for every batch would cost a fifth of its time."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    # The threads stay with the parent.
    os.register_at_fork(after_in_child=_pool.cache_clear)
