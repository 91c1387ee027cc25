"""Worker processes that end with the command, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""What workers must find when they start. Numba is told in them: once its threads run, it refuses to compile
in a process whose variable has changed."""

MOST_JOBS = 8


def processors() -> int:
    """The processors this process may use, up to :data:`MOST_JOBS`."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, MOST_JOBS)


@contextmanager
def workers(jobs: int) -> Iterator[Executor | None]:
    """``jobs`` processes; None for one (this process does the work).

    An interrupt, or any other exception, stops them at once instead of waiting for the tasks in flight.
    """
    if jobs == 1:
        yield None
        return
    for name in THREAD_VARIABLES:
        # A second thread pool inside every worker only slows all of them down.
        os.environ.setdefault(name, "1")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_prepare)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _prepare() -> None:
    """In a worker: interrupts are the parent's, its end is ours, nothing is printed on its output, and Numba
    has one thread."""
    import numba

    if "NUMBA_NUM_THREADS" not in os.environ:
        numba.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
