"""The simulator's shared memory is shared."""

import threading
from contextlib import suppress
from importlib import import_module

import numpy as np
import pytest

from tabular_fedrl.kernels.cuda import SIMULATED

pytestmark = pytest.mark.skipif(not SIMULATED, reason="about the simulator")


class Hesitant(dict):
    """Allocations whose readers let each other look before anyone writes."""

    def __init__(self, threads):
        super().__init__()
        self.barrier = threading.Barrier(threads)

    def get(self, place):
        found = super().get(place)
        with suppress(threading.BrokenBarrierError):
            self.barrier.wait(0.2)
        return found


def shared_arrays(array, threads=3):
    """What the threads of a block get when all ask at once."""
    shared = import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared(0)
    shared._allocations = Hesitant(threads)
    got = []
    asking = [
        threading.Thread(target=lambda: got.append(array(shared, 4, np.float64))) for _ in range(threads)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return {id(x) for x in got}, got


def test_every_thread_of_a_block_gets_the_same_array():
    api = import_module("numba.cuda.simulator.kernelapi")
    assert len(shared_arrays(api.FakeCUDAShared.array)[0]) == 1


def test_arrays_of_different_lines_differ():
    shared = import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared(0)
    first = shared.array(2, np.float64)
    second = shared.array(2, np.float64)
    assert first is not second
    assert first.shape == second.shape == (2,)
