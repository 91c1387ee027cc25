"""The loop for large sparse problems on a CUDA device. CUDA is imported inside functions, and so nowhere
before it is asked for."""

from __future__ import annotations

from functools import partial

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.loops.large import Operations
from tabular_fedrl.loops.variants import NAMES
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import CompactPolicy
from tabular_fedrl.runner import engine_large
from tabular_fedrl.runner.engine import Asked, Engine


def refuses(asked: Asked) -> str | None:
    """Which problems the loop is for; on a machine with a device."""
    reason = engine_large.refuses(asked)
    if reason is None:
        from tabular_fedrl.kernels.cuda import require_device

        require_device()
    return reason


def operations(cmdp: CMDP, comparator: tuple[CompactPolicy, Measured] | None) -> Operations:
    """The problem on the device."""
    from tabular_fedrl.loops.large_cuda import Device

    return Device(cmdp, comparator)


ENGINE = Engine(
    "loops for large sparse problems on a CUDA device",
    NAMES,
    refuses,
    partial(engine_large.stretches, operations=operations),
    normaliser=False,
)
