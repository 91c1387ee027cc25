"""Compiled kernels over plain threads.

What is summed or raised over the states of a large problem is taken chunk by chunk and combined in the order
of the chunks, so that no result depends on the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba

CHUNK = 2048
"""States of a chunk."""

ENOUGH = 8
"""Chunks for each thread at least: to hand over work takes as long as a sweep over a few chunks."""


def in_parallel(kernel: Callable[..., None], blocks: Sequence[tuple[Any, ...]], *rest: Any) -> None:
    """``kernel(*block, *rest)`` for every block, over Numba's number of threads, the calling one among them.

    Plain threads: the kernels release the interpreter lock, and unlike Numba's own parallel loops these may
    be started from several threads and after a fork, and do not spin while another process is busy.
    """
    threads = _threads(len(blocks))
    if threads < 2:
        for block in blocks:
            kernel(*block, *rest)
        return
    left, shared = deque(blocks), [rest]

    def work() -> None:
        while left:
            try:
                block = left.popleft()
            except IndexError:  # another thread was quicker
                return
            kernel(*block, *shared[0])

    started = [_pool(numba.get_num_threads() - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # One that has not begun by now, as in a pool that is busy, has nothing left to do.
        for helper in started:
            if not helper.cancel():
                helper.result()
        # Until a thread comes by it stays in the pool's queue: it is not to keep the arrays.
        shared.clear()


def chunks(S: int) -> int:
    """Chunks of S states."""
    return -(-S // CHUNK)


def over_chunks(kernel: Callable[..., None], S: int, *arguments: Any) -> None:
    """``kernel(first chunk, chunk after the last, *arguments)`` over all chunks, shared among threads where
    there is enough to do."""
    n = chunks(S)
    threads = _threads(n // ENOUGH)
    if threads < 2:
        kernel(0, n, *arguments)
        return
    ends = [n * i // threads for i in range(threads + 1)]
    in_parallel(kernel, list(pairwise(ends)), *arguments)


def over_parts(kernel: Callable[..., None], parts: int, S: int, *arguments: Any) -> None:
    """``kernel(first part, part after the last, *arguments)`` over all parts of a work on S states, shared
    among threads where there is enough to do."""
    if chunks(S) < 2 * ENOUGH:
        kernel(0, parts, *arguments)
    else:
        in_parallel(kernel, [(i, i + 1) for i in range(parts)], *arguments)


def _threads(most: int) -> int:
    """How many to use, at most so many; Numba's number, which is not asked for in vain: that takes time."""
    return min(numba.get_num_threads(), most) if most > 1 else 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that last: to start them for every batch would cost a fifth of its time."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    # The threads stay with the parent.
    os.register_at_fork(after_in_child=_pool.cache_clear)
