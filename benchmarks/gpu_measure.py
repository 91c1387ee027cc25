"""What of the CUDA kernels :mod:`benchmarks.gpu` measures, and at which sizes."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.gpu_checks import all_checks, small_batch, sparse_problem
from tabular_fedrl.kernels.cuda import SIMULATED, cuda, require_device, small, steps
from tabular_fedrl.kernels.cuda.rows import EvenRows
from tabular_fedrl.loops import cuda as device_loops
from tabular_fedrl.loops import fednpg
from tabular_fedrl.loops.cuda_solve import Workspace
from tabular_fedrl.loops.large_cuda import Device

A, WIDTH, NEAR = (2, 2, 2) if SIMULATED else (4, 5, 50)
"""Actions, successors of each, and how many states away the local ones are at most."""

STATES = (6, 9) if SIMULATED else (100_000, 1_000_000, 10_000_000)
CHECKED: tuple[int, int, tuple[int, ...]] = (7, 1, (2,)) if SIMULATED else (20_003, 300, (1, 20, 64))
"""States of the large checks; problems and states of the small ones."""

COPY_BYTES = 1 << 10 if SIMULATED else 1 << 32
ROTATED_BYTES = 1 if SIMULATED else 1 << 29
"""More than any cache holds."""

SMALL = ((2, 1, 2),) if SIMULATED else ((20, 20_000, 1000), (64, 4_000, 200))
"""States, problems and rounds of the small runs."""

REGISTERS = (96,) if SIMULATED else (64, 96, 128, 255)
LONG_ENOUGH = 0.0 if SIMULATED else 0.05
"""Seconds of back-to-back launches that are timed as one."""

Row = dict[str, Any]

__all__ = ["CHECKED", "all_checks", "copy_bandwidth", "describe", "parts", "require_device"]


def seconds(launches: list[Callable[[], None]], repeats: int = 5) -> float:
    """Median time of a launch; the launches take turns. The device is waited for around many of them, so that
    neither their start nor the clock counts."""

    def timed(n: int) -> float:
        cuda.synchronize()
        start = time.perf_counter()
        for i in range(n):
            launches[i % len(launches)]()
        cuda.synchronize()
        return time.perf_counter() - start

    for launch in launches:  # compiled, and every page touched
        launch()
    n = len(launches)
    while not SIMULATED and timed(n) < LONG_ENOUGH and n < 100_000:
        n *= 2
    return float(np.median([timed(n) / n for _ in range(1 if SIMULATED else repeats)]))


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy on the device."""
    one, two = (cuda.device_array(COPY_BYTES // 8) for _ in range(2))
    one.copy_to_device(np.random.default_rng(0).random(COPY_BYTES // 8))
    return 2 * COPY_BYTES / seconds([lambda: two.copy_to_device(one)])


def graph(g: np.random.Generator, S: int, local: bool) -> tuple[np.ndarray, np.ndarray]:
    """Neighbour lists and weights ``(A, width, S)``, drawn in the device's layout."""
    if local:
        indices = g.integers(-NEAR, NEAR + 1, size=(A, WIDTH, S), dtype=np.int32)
        indices += np.arange(S, dtype=np.int32)
        indices %= S
    else:
        indices = g.integers(S, size=(A, WIDTH, S), dtype=np.int32)
    weights = g.random((A, WIDTH, S))
    weights /= weights.sum(axis=1, keepdims=True)
    return indices, weights


def sweeps(g: np.random.Generator, S: int, local: bool, copy: float) -> Iterator[Row]:
    """Shares of the copy bandwidth over one graph, both storages."""
    indices, weights = graph(g, S, local)
    pi = cuda.to_device(g.dirichlet(np.ones(A), size=S).T.copy())
    f, means, log_pi = (cuda.to_device(g.random((A, S))) for _ in range(3))
    signals, mix, spare = cuda.to_device(g.random((1, A, S))), cuda.to_device(np.ones(1)), Workspace(S, 1)
    actions = cuda.to_device(np.zeros(S, dtype=np.int32))
    x, y, out = ([cuda.to_device(g.random((S, k))) for k in (1, 3)] for _ in range(3))
    for storage in (np.float64, np.float32):
        P = indices.nbytes + weights.size * np.dtype(storage).itemsize
        copies = max(1, -(-ROTATED_BYTES // P))
        stored = weights.astype(storage)
        rows = [EvenRows(cuda.to_device(indices), cuda.to_device(stored)) for _ in range(copies)]
        table, vector = 8 * A * S, 8 * S
        jobs: dict[str, tuple[int, Callable[[Any], None]]] = {
            "policy sweep, 1 signal": (
                P + table + 3 * vector,
                lambda r: r.policy(pi, 0.99, x[0], y[0], out[0]),
            ),
            "policy sweep, 3 signals": (
                P + table + 9 * vector,
                lambda r: r.policy(pi, 0.99, x[1], y[1], out[1]),
            ),
            "optimal sweep": (
                P + table + 2 * vector + 8 * S,
                lambda r: r.greedy(f, 0.99, x[0], 0.0, actions, out[0]),
            ),
            "means of rows": (P + table + vector, lambda r: r.means(x[0], means)),
        }
        for name, (size, job) in jobs.items():
            taken = seconds([lambda r=r, job=job: job(r) for r in rows])
            yield row(name, S, local, np.dtype(storage).name, size, taken, copy)
        del rows
    size = 5 * 8 * A * S + 2 * 8 * S
    arguments = mix, signals, means, 0.99, x[0], x[0], False, 0.0, log_pi, log_pi, out[0]
    taken = seconds([lambda: spare.each(steps.primal_step, *arguments)])
    yield row("natural step", S, local, "float64", size, taken, copy)


def row(name: str, S: int, local: bool, storage: str, size: int, taken: float, copy: float) -> Row:
    return {
        "kernel": name,
        "states": S,
        "neighbours": "local" if local else "scattered",
        "storage": storage,
        "bytes": size,
        "seconds": taken,
        "share": size / taken / copy,
    }


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


def optima(g: np.random.Generator) -> Iterator[Row]:
    """Time to an optimum enclosed within 1e-8, the problem on the device; one evaluation beside it."""
    for S in STATES[:2]:
        for local in (True, False):
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


def parts(g: np.random.Generator, copy: float) -> Iterator[tuple[str, Iterator[Row]]]:
    """Everything measured, in order of importance: a name and its rows, each with its ``table``."""
    for S in STATES[::-1]:
        for local in (True, False):
            word = "local" if local else "scattered"
            yield f"sweeps at {S} states, {word} neighbours", labelled("sweeps", sweeps(g, S, local, copy))
    yield "small problems", labelled("throughput", throughput(g))
    yield "optima", labelled("optima", optima(g))


def labelled(table: str, rows: Iterator[Row]) -> Iterator[Row]:
    return ({"table": table, **row} for row in rows)


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
