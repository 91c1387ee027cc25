"""Compiled kernels over plain threads.

What is summed or raised over the states of a large problem is taken chunk by chunk and combined in the order
of the chunks, so that no result depends on the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any

import numba
import numpy as np

from tabular_fedrl.kernels.waiting import await_change

CHUNK = 2048
"""States of a chunk."""

ENOUGH = 8
"""Chunks for each thread at least: to hand over work takes as long as a sweep over a few chunks."""

SHARES = 4
"""Blocks for each thread, where there is enough to do: one that begins late leaves more to the others."""

PATIENCE = 20_000
"""Looks out for work, or for its end, before a thread sleeps: about half a millisecond."""


def in_parallel(kernel: Callable[..., None], blocks: Sequence[tuple[Any, ...]], *rest: Any) -> None:
    """``kernel(*block, *rest)`` for every block, over Numba's number of threads, the calling one among them.

    Plain threads: the kernels release the interpreter lock, and unlike Numba's own parallel loops these may
    be started from several threads and after a fork.
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

    team = _team(numba.get_num_threads() - 1)
    started = [team.submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # One that has not begun by now, as in a team that is busy, has nothing left to do.
        for task in started:
            if not task.cancel():
                task.result()
        # Until a thread comes by it stays in the team's queue: it is not to keep the arrays.
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
    blocks = min(threads * SHARES, n // ENOUGH)
    ends = [n * i // blocks for i in range(blocks + 1)]
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


class _Task(Future[None]):
    """Work handed over; whoever waits for its end looks for it for a while before going to sleep."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work, self._ended = work, np.zeros(1, dtype=np.int64)

    def run(self) -> None:
        if self.set_running_or_notify_cancel():
            try:
                self._work()
                self.set_result(None)
            except BaseException as error:
                self.set_exception(error)
            self._ended[0] = 1

    def result(self, timeout: float | None = None) -> None:
        await_change(self._ended, 0, PATIENCE)
        super().result(timeout)


class _Team:
    """Threads that last, and that look out for more work for a while before they sleep: to wake one takes
    as long as a sweep over many chunks."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads)
        self._tasks: SimpleQueue[_Task] = SimpleQueue()
        self._posted = np.zeros(1, dtype=np.int64)
        self._lock, self._resting = Lock(), threads

    def submit(self, work: Callable[[], None]) -> _Task:
        task = _Task(work)
        self._tasks.put(task)
        self._posted[0] += 1
        with self._lock:
            wake = self._resting > 0
            self._resting -= wake
        if wake:
            self._threads.submit(self._serve)
        return task

    def _serve(self) -> None:
        while True:
            seen = self._posted[0]
            try:
                self._tasks.get_nowait().run()
            except Empty:
                if await_change(self._posted, seen, PATIENCE):
                    continue
                with self._lock:
                    if self._tasks.empty():
                        self._resting += 1
                        return


@cache
def _team(threads: int) -> _Team:
    return _Team(threads)


if hasattr(os, "register_at_fork"):
    # The threads stay with the parent.
    os.register_at_fork(after_in_child=_team.cache_clear)
