"""What of the CUDA kernels :mod:`benchmarks.gpu` measures, and at which sizes."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from benchmarks.gpu_checks import all_checks
from benchmarks.gpu_inputs import small_batch, sparse_problem
from benchmarks.gpu_kernels import NEAR, WIDTH, A, Row, copy_bandwidth, launch_seconds, state_by_state, sweeps
from benchmarks.machine import memory_bytes
from tabular_fedrl.kernels.cuda import SIMULATED, cuda, require_device, small
from tabular_fedrl.loops import cuda as device_loops
from tabular_fedrl.loops import fednpg
from tabular_fedrl.loops.large_cuda import Device

STATES = (6, 9) if SIMULATED else (100_000, 1_000_000, 10_000_000)
CHECKED: tuple[int, int, tuple[int, ...]] = (7, 1, (2,)) if SIMULATED else (20_003, 300, (1, 20, 64))
"""States of the large checks; problems and states of the small ones."""

SMALL = ((2, 1, 2),) if SIMULATED else ((20, 20_000, 1000), (64, 4_000, 200))
"""States, problems and rounds of the small runs."""

REGISTERS = (96,) if SIMULATED else (64, 96, 128, 255)

ON_DEVICE, ON_HOST = 1000, 1700
"""Bytes for each state that the largest part takes on the device and in main memory."""

__all__ = [
    "CHECKED",
    "all_checks",
    "copy_bandwidth",
    "describe",
    "launch_seconds",
    "parts",
    "require_device",
    "too_large",
]


class Part(NamedTuple):
    """Rows of a ``table``; parts of one ``kind`` take time in proportion to their ``states``."""

    table: str
    kind: str
    states: int
    rows: Iterator[Row]

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.states:,} states" if self.states else self.kind


def throughput(g: np.random.Generator) -> Iterator[Row]:
    """Whole runs of FedNPG on many small problems, with the copies to and from the device; beside them some
    of the same on the processor."""
    for S, B, rounds in SMALL:
        batch, given = small_batch(g, B, S, 2 if SIMULATED else 5, 1, 1)
        job: Row = {"problems": B, "states": S, "rounds": rounds}
        for registers in REGISTERS:
            small.REGISTERS = registers
            device_loops.fednpg(batch, 1, 1, *given)
            start = time.perf_counter()
            device_loops.fednpg(batch, rounds, 1, *given)
            taken = time.perf_counter() - start
            yield {**job, "where": f"device, {registers} registers", "seconds": taken}
        some = batch.take(slice(0, B // 10 + 1))
        fednpg(some, 1, 1, *(x[: some.B] for x in given))
        start = time.perf_counter()
        fednpg(some, rounds, 1, *(x[: some.B] for x in given))
        taken = (time.perf_counter() - start) * B / some.B
        yield {**job, "where": "processor, lockstep", "seconds": taken}


def optimum(g: np.random.Generator, S: int, local: bool) -> Iterator[Row]:
    """Time to an optimum enclosed within 1e-8, the problem on the device; one evaluation beside it."""
    cmdp = sparse_problem(g, S, A, WIDTH, 0, reach=max(NEAR, WIDTH) if local and not SIMULATED else 0)
    device = Device(cmdp)
    device.optimise(1.0)
    start = time.perf_counter()
    best = device.optimise(1e-8)
    taken = time.perf_counter() - start
    policy, V = device.hold(np.log(np.full((S, A), 1 / A))), device.values()
    start = time.perf_counter()
    device.evaluate(policy, V)
    yield {
        "states": S,
        "neighbours": "local" if local else "scattered",
        "seconds": taken,
        "sweeps": best.sweeps,
        "width": 2 * float(best.value.error),
        "seconds_of_one_evaluation": time.perf_counter() - start,
    }


def parts(g: np.random.Generator, copy: float) -> Iterator[Part]:
    """Everything measured, the largest sizes last."""
    words = ((True, "local"), (False, "scattered"))
    for S in STATES:
        if STATES[-1] == S:
            yield Part("throughput", "small problems", 0, throughput(g))
        for local, word in words:
            yield Part("kernels", f"sweeps, {word} neighbours", S, sweeps(g, S, local, copy))
        yield Part("kernels", "steps and reductions", S, state_by_state(g, S, copy))
        for local, word in words:
            yield Part("optima", f"optimum, {word} neighbours", S, optimum(g, S, local))


def too_large(states: int) -> str | None:
    """Where a part of so many states does not fit."""
    if SIMULATED:
        return None
    if ON_DEVICE * states > cuda.current_context().get_memory_info()[0]:
        return "the device's memory"
    return "main memory" if ON_HOST * states > memory_bytes() else None


def describe() -> dict[str, Any]:
    """The device and the software."""
    if SIMULATED:
        name, memory = "Numba's simulator: the times mean nothing", 0
    else:
        device = cuda.get_current_device()
        name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
        memory = int(cuda.current_context().get_memory_info()[1])
    versions = {package: version(package) for package in ("numba", "numba-cuda", "numpy")}
    return {"device": name, "memory_bytes": memory, "python": platform.python_version(), **versions}
