"""A repair of Numba's CUDA simulator."""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import Any

import numpy as np


def share_safely() -> None:
    """Give all threads of a simulated block the same shared arrays.

    The simulator makes a shared array when the first thread asks for it, and looks and makes without a lock:
    of two threads that look at the same time each gets an array of its own, and now and then a block's sum is
    wrong.
    """
    api: Any = import_module("numba.cuda.simulator.kernelapi")
    original, lock = api.FakeCUDAShared.array, threading.Lock()

    def array(shared: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        if shape == 0 or alignment is not None:
            return original(shared, shape, dtype, alignment)
        if isinstance(dtype, api.types.Type):
            dtype = api.numpy_support.as_dtype(dtype)
        caller = sys._getframe(1)
        place = caller.f_code.co_filename, caller.f_lineno
        with lock:
            made = shared._allocations.get(place)
            if made is None:
                made = np.empty(shape, dtype)
                shared._allocations[place] = made
        return made

    api.FakeCUDAShared.array = array
