"""Compiled kernels over plain threads."""

import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tabular_fedrl.kernels import threads
from tabular_fedrl.kernels.waiting import await_change


@pytest.fixture
def two(monkeypatch):
    """Two threads, however many the machine has."""
    monkeypatch.setattr(threads, "_threads", lambda most: min(most, 2))
    monkeypatch.setattr(threads.numba, "get_num_threads", lambda: 2)


def doubled(blocks=8):
    """What comes of ``in_parallel`` where every block writes its own place, and by how many threads."""
    out, seen = np.zeros(blocks), set()

    def kernel(i, array):
        seen.add(threading.get_ident())
        time.sleep(0.001)
        array[i] = 2 * i

    threads.in_parallel(kernel, [(i,) for i in range(blocks)], out)
    return out.tolist(), len(seen)


EXPECTED = [2.0 * i for i in range(8)]


@pytest.mark.parametrize("rest", [0.0, 0.02], ids=["at once", "after a rest"])
def test_two_threads_share_the_blocks(two, rest):
    for _ in range(5):
        time.sleep(rest)
        assert doubled() == (EXPECTED, 2)


def test_threads_rest_when_there_is_nothing_to_do(two):
    doubled()
    end = time.monotonic() + 10
    while threads._team(1)._resting < 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert threads._team(1)._resting == 1


def test_several_callers_at_once(two):
    with ThreadPoolExecutor(4) as callers:
        assert {tuple(out) for out, _ in callers.map(doubled, [8] * 40)} == {tuple(EXPECTED)}


def test_a_failing_block_fails_the_call(two):
    caller = threading.get_ident()

    def kernel(i):
        if threading.get_ident() != caller:
            raise ArithmeticError(f"block {i}")
        time.sleep(0.005)

    with pytest.raises(ArithmeticError, match="block"):
        threads.in_parallel(kernel, [(i,) for i in range(4)])
    assert doubled()[0] == EXPECTED


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12 on
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_a_fork_there_are_new_threads(two):
    doubled()
    child = os.fork()
    if child == 0:
        os._exit(0 if doubled() == (EXPECTED, 2) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_waiting_ends_with_a_change_or_with_patience():
    x = np.zeros(1, dtype=np.int64)
    assert not await_change(x, 0, 10)
    assert await_change(x, 1, 1)
    other = threading.Timer(0.05, x.__setitem__, (0, 3))
    other.start()
    assert await_change(x, 0, 1 << 40)


def test_a_busy_team_holds_no_arrays(two):
    """A helper that has not begun stays in the team's queue, what it was to work on does not."""
    free, done = threading.Event(), []
    busy = threads._team(1).submit(free.wait)
    x = np.zeros(3)
    alive = weakref.ref(x)
    threads.in_parallel(lambda i, array: done.append((i, array.size)), [(0,), (1,)], x)
    del x
    held = alive() is not None
    free.set()
    busy.result()
    assert not held
    assert done == [(0, 3), (1, 3)]
