"""The loop for large sparse problems on a CUDA device."""

from __future__ import annotations

from functools import partial

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.loops.large import Operations
from tabular_fedrl.loops.variants import NAMES
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import engine_large
from tabular_fedrl.runner.engine import Engine


def operations(cmdp: CMDP, comparator: tuple[Array, Measured] | None) -> Operations:
    """The problem on the device; CUDA is imported here, and nowhere before it is asked for."""
    from tabular_fedrl.loops.large_cuda import Device

    return Device(cmdp, comparator)


ENGINE = Engine(
    "loops for large sparse problems on a CUDA device",
    NAMES,
    engine_large.refuses,
    partial(engine_large.stretches, operations=operations),
    normaliser=False,
)
