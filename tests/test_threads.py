"""Compiled kernels over plain threads."""

import threading
import weakref

import numpy as np

from tabular_fedrl.kernels import threads


def test_a_busy_pool_holds_no_arrays(monkeypatch):
    """A helper that has not begun stays in the pool's queue, what it was to work on does not."""
    monkeypatch.setattr(threads, "_threads", lambda most: 2)
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 2)
    free, done = threading.Event(), []
    busy = threads._pool(1).submit(free.wait)
    x = np.zeros(3)
    alive = weakref.ref(x)
    threads.in_parallel(lambda i, array: done.append((i, array.size)), [(0,), (1,)], x)
    del x
    held = alive() is not None
    free.set()
    assert busy.result()
    assert not held
    assert done == [(0, 3), (1, 3)]
