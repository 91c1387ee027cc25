"""What share of the copy bandwidth every kernel of the loop for large sparse problems reaches.

Left out are the kernels of one block (the scalars of an iteration), which move nothing to speak of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.kernels.cuda import BLOCK, PARTIALS, SIMULATED, blocks, cuda, krylov, reductions, steps
from tabular_fedrl.kernels.cuda import sweeps as kernels
from tabular_fedrl.kernels.cuda.rows import EvenRows, UnevenRows, upload_transposed

A, WIDTH, NEAR = (2, 2, 2) if SIMULATED else (4, 5, 50)
"""Actions, successors of each, and how many states away the local ones are at most."""

SIGNALS = 3
"""Signals side by side: the reward and two costs."""

COPY_BYTES = 1 << 10 if SIMULATED else 1 << 32
ROTATED_BYTES = 1 if SIMULATED else 1 << 29
"""More than any cache holds."""

LONG_ENOUGH = 0.0 if SIMULATED else 0.02
"""Seconds of back-to-back launches that are timed as one."""

Row = dict[str, Any]

Job = tuple[str, int, Callable[[Any], None]]
"""A kernel's name, the bytes that it must move, and a launch on one of the inputs that take turns."""


def seconds(launches: list[Callable[[], None]], repeats: int = 5) -> float:
    """Median time of a launch; the launches take turns. The device is waited for around many of them, so that
    the clock does not count; nor does their start, where they take longer than it."""

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


def launch_seconds() -> float:
    """Time of a launch that does next to nothing."""
    x = cuda.to_device(np.ones((1, 1)))
    return seconds([lambda: steps.scale[1, BLOCK](0.5, x, x)])


def rows_of(jobs: list[Job], inputs: list[Any], copy: float, **where: Any) -> Iterator[Row]:
    """The jobs measured one after another."""
    for name, size, job in jobs:
        taken = seconds([lambda x=x, job=job: job(x) for x in inputs])
        yield {"kernel": name, **where, "bytes": size, "seconds": taken, "share": size / taken / copy}


def turns(size: int) -> range:
    """As many inputs of so many bytes as no cache holds together."""
    return range(max(1, -(-ROTATED_BYTES // size)))


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
    """Everything that reads P, over one graph, in both storages: as neighbour lists, as compressed rows, and
    transposed."""
    indices, weights = graph(g, S, local)
    by_state = sp.csr_array(
        (
            weights.transpose(2, 0, 1).ravel(),
            indices.transpose(2, 0, 1).ravel(),
            np.arange(0, indices.size + 1, WIDTH, dtype=np.int32),
        ),
        shape=(S * A, S),
    )
    transposed = upload_transposed(by_state)
    del by_state
    lists = np.swapaxes(indices, 1, 2).ravel(), np.swapaxes(weights, 1, 2).ravel()
    starts = np.arange(0, indices.size + 1, WIDTH, dtype=np.int32)
    table, vector, many = 8 * A * S, 8 * S, 8 * S * SIGNALS
    f, means, through = (cuda.to_device(g.random(shape)) for shape in ((A, S), (A, S), (A * S, 1)))
    pi = cuda.to_device(g.dirichlet(np.ones(A), size=S).T.copy())
    x, y, out = ([cuda.to_device(g.random((S, k))) for k in (1, SIGNALS)] for _ in range(3))
    sums, actions = cuda.device_array((A * S, SIGNALS)), cuda.to_device(np.zeros(S, dtype=np.int32))
    for storage in (np.float64, np.float32):
        where = {"states": S, "neighbours": "local" if local else "scattered"}
        where["storage"] = np.dtype(storage).name
        P = indices.nbytes + weights.size * np.dtype(storage).itemsize
        stored = weights.astype(storage)
        even = [EvenRows(cuda.to_device(indices), cuda.to_device(stored)) for _ in turns(P)]
        jobs: list[Job] = [
            (
                "policy sweep, 1 signal",
                P + table + 3 * vector,
                lambda r: r.policy(pi, 0.99, x[0], y[0], out[0]),
            ),
            (
                "policy sweep, 3 signals",
                P + table + 3 * many,
                lambda r: r.policy(pi, 0.99, x[1], y[1], out[1]),
            ),
            (
                "optimal sweep",
                P + table + 3 * vector,
                lambda r: r.greedy(f, 0.99, x[0], 0.0, actions, out[0]),
            ),
            ("means of rows", P + table + vector, lambda r: r.means(x[0], means)),
        ]
        yield from rows_of(jobs, even, copy, **where)
        del even, stored
        stored = lists[1].astype(storage)
        uneven = [UnevenRows(*(cuda.to_device(z) for z in (starts, lists[0], stored)), A) for _ in turns(P)]
        size = P + starts.nbytes + many + SIGNALS * table
        jobs = [("row sums, compressed, 3 signals", size, lambda r: r.sum(1.0, x[1], None, sums))]
        yield from rows_of(jobs, uneven, copy, **where)
        del uneven, stored
        stored = transposed.weights.copy_to_host().astype(storage)
        backwards = [
            UnevenRows(
                *(cuda.to_device(z.copy_to_host()) for z in (transposed.starts, transposed.indices)),
                cuda.to_device(stored),
                1,
            )
            for _ in turns(P)
        ]
        size = P + 4 * (S + 1) + table + 2 * vector
        jobs = [("transposed sweep", size, lambda r: r.sum(0.99, through, y[0], out[0]))]
        yield from rows_of(jobs, backwards, copy, **where)
        del backwards, stored


def state_by_state(g: np.random.Generator, S: int, copy: float) -> Iterator[Row]:
    """Everything that does not read P: steps, means of policies, the work of BiCGSTAB, reductions."""
    table, vector, many = 8 * A * S, 8 * S, 8 * S * SIGNALS

    def each(kernel: Any, *arguments: Any) -> None:
        kernel[blocks(S), BLOCK](*arguments)

    def reduced(kernel: Any, second: Any, x: Any, n: int, *arguments: Any) -> None:
        kernel[PARTIALS, BLOCK](*arguments, x.partial[n])
        second[1, BLOCK](x.partial[n], x.total[n])

    def summed(kernel: Any, x: Any, n: int, *arguments: Any) -> None:
        reduced(kernel, reductions.sums, x, n, *arguments)

    jobs: list[Job] = [
        ("softmax", 2 * table, lambda x: each(steps.softmax, x.log_p, x.pi)),
        ("log-softmax", 2 * table + vector, lambda x: each(steps.log_softmax, x.log_q, x.v)),
        (
            "signals of a policy",
            (SIGNALS + 1) * table + many,
            lambda x: each(steps.policy_signals, x.f, x.pi, x.V[0]),
        ),
        ("scaling", 2 * vector, lambda x: each(steps.scale, 0.5, x.v, x.w)),
        ("mix of signals", many + 2 * vector, lambda x: each(steps.combine, x.weights, x.V[0], x.w)),
        *(
            (
                f"{name} step",
                (SIGNALS + 3) * table + (3 if vanilla else 2) * vector,
                lambda x, vanilla=vanilla: each(
                    steps.primal_step,
                    *(x.weights, x.f, x.means, 0.99, x.v, x.d, vanilla, 0.1, x.log_p, x.out, x.w),
                ),
            )
            for name, vanilla in (("natural", False), ("vanilla", True))
        ),
        (
            "soft signal",
            (SIGNALS + 2) * table,
            lambda x: each(steps.soft_signal, x.weights, x.f, 0.1, x.log_p, x.soft),
        ),
        ("mean of policies", 3 * table, lambda x: each(steps.add, x.log_p, 0.5, False, False, x.log_q)),
        ("mean of log-policies", 3 * table, lambda x: each(steps.add, x.log_p, 0.5, True, False, x.log_q)),
        ("moves", 2 * table + vector, lambda x: each(steps.moves, x.log_p, x.out, x.v)),
        ("divergences", 2 * table + 2 * vector, lambda x: each(steps.divergence, x.log_p, x.out, x.pair)),
        ("policy of actions", table + 4 * S, lambda x: each(kernels.one_hot, x.actions, x.pi)),
        ("flow", 2 * table + vector, lambda x: each(kernels.flow, x.d, x.pi, x.through)),
        (
            "mean over actions, 3 signals",
            (SIGNALS + 1) * table + 2 * many,
            lambda x: each(kernels.policy_mean(SIGNALS), x.pi, 0.99, x.f_rows, x.V[0], x.V[1]),
        ),
        (
            "best of actions",
            2 * table + vector + 4 * S,
            lambda x: each(kernels.greedy_of_rows, x.means, 0.99, x.log_p, 0.0, x.actions, x.v),
        ),
        ("dot products", 2 * many, lambda x: summed(reductions.dot_partials, x, 1, *x.V[:2])),
        (
            "extremes",
            2 * many,
            lambda x: reduced(reductions.extreme_partials, reductions.maxima, x, 3, *x.V[:2]),
        ),
        ("start of BiCGSTAB", 6 * many, lambda x: summed(krylov.start, x, 2, *x.V)),
        ("direction", 4 * many, lambda x: each(krylov.direction, x.scalars, *x.V[:3])),
        ("half step", 3 * many, lambda x: each(krylov.half_step, x.scalars, *x.V[:2])),
        ("two products", 2 * many, lambda x: summed(krylov.pair_partials, x, 2, *x.V[:2])),
        ("full step", 7 * many, lambda x: summed(krylov.full_step, x, 2, x.scalars, *x.V[:5])),
        ("columns put back", 2 * many, lambda x: each(krylov.restore, x.bad, *x.V[:2])),
    ]
    one = (5 + 3 * SIGNALS) * table + 6 * many + 6 * vector
    inputs = [_tables(g, S) for _ in turns(one)]
    yield from rows_of(jobs, inputs, copy, states=S, neighbours="-", storage="float64")


def _tables(g: np.random.Generator, S: int) -> SimpleNamespace:
    """Inputs that stay bounded however often the kernels run on them."""

    def drawn(*shape: int) -> Any:
        return cuda.to_device(g.random(shape))

    tables = {name: drawn(A, S) for name in ("pi", "means", "log_p", "log_q", "out")}
    vectors = {name: drawn(S, 1) for name in ("v", "w", "d")}
    return SimpleNamespace(
        **tables,
        **vectors,
        f=drawn(SIGNALS, A, S),
        f_rows=drawn(A, S, SIGNALS),
        soft=drawn(1, A, S),
        through=drawn(A * S, 1),
        pair=drawn(S, 2),
        V=[drawn(S, SIGNALS) for _ in range(6)],
        weights=cuda.to_device(np.full(SIGNALS, 0.1)),
        scalars=cuda.to_device(np.full((6, SIGNALS), 1e-9)),
        bad=cuda.to_device(np.ones(SIGNALS, dtype=bool)),
        actions=cuda.to_device(np.zeros(S, dtype=np.int32)),
        partial={n: cuda.device_array((PARTIALS, n, SIGNALS)) for n in (1, 2, 3)},
        total={n: cuda.device_array((n, SIGNALS)) for n in (1, 2, 3)},
    )
