"""Building blocks for the CUDA device, behind the one line that imports CUDA.

Importing this package imports ``numba.cuda``; nothing outside imports it unless a device was asked for. With
``NUMBA_ENABLE_CUDASIM=1`` in the environment, set before Numba is first imported, the kernels run in Numba's
simulator: correct, and a hundred microseconds for every simulated thread.

On the device the state is the innermost axis of every table and list, so that neighbouring threads, which
work on neighbouring states, read neighbouring numbers: tables are ``(A, S)``, rows ``(A, width, S)``. Values
of k signals are ``(S, k)``: one scattered read then brings all of them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tabular_fedrl.errors import NoDevice

INSTALL = "install it with pip install 'tabular-fedrl[cuda]'"

if find_spec("numba_cuda") is None:
    raise NoDevice(f"CUDA needs the package numba-cuda: {INSTALL}")

cuda: Any = import_module("numba.cuda")
"""The module; every other module has it from here."""

config: Any = import_module("numba.cuda.core.config")
# The last stage of a reduction is one block, and meant to be.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether the kernels run in the simulator."""

if SIMULATED:
    from tabular_fedrl.kernels.cuda import simulator

    simulator.share_safely()

BLOCK = 4 if SIMULATED else 256
"""Threads of a block: a power of two."""

TEAM = 2 if SIMULATED else 8
"""Threads that share one row of uneven length: a power of two that divides :data:`BLOCK`."""

PARTIALS = 3 if SIMULATED else 1024
"""Blocks of a reduction, whatever the size and the device, so that its result depends on neither."""


def require_device() -> None:
    """Raise :class:`NoDevice` unless kernels can run here."""
    if not cuda.is_available():
        raise NoDevice(
            "no CUDA device can be used here: it takes an NVIDIA GPU, its driver and the CUDA libraries "
            f"({INSTALL}); NUMBA_ENABLE_CUDASIM=1 runs tiny problems in the simulator without one"
        )


def limited(registers: int) -> Any:
    """``cuda.jit`` for a kernel that may use so many registers a thread."""
    return cuda.jit if SIMULATED else cuda.jit(max_registers=registers)


def blocks(threads: int) -> int:
    """Blocks that hold so many threads."""
    return max(1, -(-threads // BLOCK))


__all__ = ["BLOCK", "PARTIALS", "SIMULATED", "TEAM", "blocks", "cuda", "limited", "require_device"]
