"""Sweeps over large sparse problems against what the machine's memory can deliver.

``python -m benchmarks.bandwidth`` measures how fast plain sums read memory, on one thread and on all, and
what share of that the sweeps reach: local successors and scattered ones, even rows and compressed ones,
float64 and float32, a scattered order before and, where that pays, after the states are moved. Bytes are
those that a sweep cannot do without: every weight, index, signal, probability and value read once, every
result written once. A share is taken between a sweep and a sum measured in turn.

Beside it stands the share of a sweep that would cost no more than a plain loop that fetches its successors'
values: all indices read, the values they point to added up, nothing else; laid out and asked for ahead as the
sweep does where that pays. It is no bound, but where it is small the machine's caches are the limit rather
than the sweep.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import facts
from benchmarks.results import described, write_both
from tabular_fedrl.kernels import flows, packed, sparse, sparse_far
from tabular_fedrl.kernels.packs import aligned, packs_of, prefetch, store
from tabular_fedrl.kernels.sparse_rows import LANES, Rows
from tabular_fedrl.kernels.structure import line_up
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.measured import Array

ACTIONS, WIDTH, NEAR = 5, 5, 5
"""Actions, successors of each, and how far away the local ones are at most."""

STREAM = 1 << 28
"""Bytes of the plain sums: more than any cache holds."""

ROUNDS = 15

PASSES = 3
"""Over all rows, a minute apart: a host that others use is slow for seconds at a time."""

_, load_some, spread = packs_of(LANES)

Row = dict[str, Any]

Sweep = tuple[int, str, str, str, int]
"""States, successors, storage, name, bytes."""


@numba.njit(nogil=True, fastmath=True)
def _sum(x: Array, out: Array) -> None:
    total = 0.0
    for i in range(np.uint64(x.size)):  # an unsigned index lets the compiler vectorise
        total += x[i]
    out[0] = total


def read_sweep(threads: int) -> tuple[Callable[[], None], int]:
    """A plain sum on so many threads, and its bytes."""
    x = np.ones(STREAM // 8)
    parts = [(part, np.empty(1)) for part in np.array_split(x, threads)]
    return (lambda: in_parallel(_sum, parts)), x.nbytes


@numba.njit(nogil=True, fastmath=True)
def _fetch(successors: NDArray[np.uint32], V: Array, k: int, lead: int, out: Array) -> None:
    if k == 1:
        total = 0.0
        for p in range(np.uint64(successors.size)):
            total += V[np.uint64(successors[p])]
        out[0] = total
        return
    some, other = spread(0.0), spread(0.0)
    for p in range(np.uint64(0), np.uint64(successors.size - lead - 1), np.uint64(2)):
        for ahead in range(2 if lead else 0):
            prefetch(V, (np.uint64(successors[p + np.uint64(lead + ahead)]) * np.uint64(k),))
        some += load_some(V, (np.uint64(successors[p]) * np.uint64(k),), np.uint64(k))
        other += load_some(V, (np.uint64(successors[p + np.uint64(1)]) * np.uint64(k),), np.uint64(k))
    store(some + other, out, (np.uint64(0),))


def fetching(rows: Rows, k: int) -> Callable[[], None]:
    """Fetch the k values side by side of every successor, on all threads."""
    far = sparse_far.lies_far(rows, np.empty((rows.S, k)))
    stride, lead = (LANES, sparse_far.AHEAD) if far else (k, 0)
    V = aligned((rows.S * stride,))
    V[:] = 1.0
    parts = [(part,) for part in np.array_split(rows.successors, numba.get_num_threads())]
    out = np.empty(LANES)
    return lambda: in_parallel(_fetch, parts, V, stride, lead, out)


def rows_of_kind(kind: str, S: int, seed: int = 0) -> Rows:
    """Successors ``near`` by, ``scattered``, or near by in a ``shuffled`` order; even rows."""
    draw = np.random.default_rng(seed)
    state = np.repeat(np.arange(S), ACTIONS)[:, None]
    if kind == "scattered":
        successors = draw.integers(S, size=(S * ACTIONS, WIDTH))
    else:
        successors = (state + draw.integers(-NEAR, NEAR + 1, size=(S * ACTIONS, WIDTH))) % S
    if kind == "shuffled":
        names = draw.permutation(S)
        places = np.argsort(names)
        successors = names[successors.reshape(S, ACTIONS * WIDTH)[places]].reshape(-1, WIDTH)
    weights = draw.random((S * ACTIONS, WIDTH))
    weights /= weights.sum(axis=1, keepdims=True)
    indices = np.sort(successors, axis=1).astype(np.uint32)
    return Rows(weights.ravel(), indices.ravel(), np.empty(0, np.uint32), WIDTH, S, ACTIONS)


def compressed(rows: Rows) -> Rows:
    """The same rows, told where each starts."""
    starts = np.arange(0, rows.weights.size + 1, rows.width, dtype=np.uint32)
    return rows._replace(starts=starts, width=0)


def single(rows: Rows) -> Rows:
    """The same rows, their weights stored in float32."""
    return rows._replace(weights=rows.weights.astype(np.float32))


def sweeps(rows: Rows) -> Iterator[tuple[str, int, Callable[[], Any], int]]:
    """Name, signals, sweep and bytes of what is measured on some rows."""
    S, A = rows.S, rows.A
    draw = np.random.default_rng(1)
    kernel = sum(x.nbytes for x in (rows.weights, rows.successors, rows.starts))
    pi = None if A == 1 else np.full((S, A), 1.0 / A)
    table = S * A * 8
    for k in (1, 3):
        f, V, out = draw.random((k, S, A)), draw.random((S, k)), np.empty((S, k))
        own = kernel + f.nbytes + V.nbytes + out.nbytes + (0 if pi is None else pi.nbytes)
        yield (
            f"policy, {k} signal{'s' * (k > 1)}",
            k,
            lambda f=f, V=V, out=out: sparse.policy_sweep(rows, pi, f, 0.99, V, out),
            own,
        )
    if A == 1:
        return
    r, v, out, actions = f[0].copy(), V[:, 0].copy(), np.empty(S), np.empty(S, dtype=np.int32)
    yield (
        "greedy",
        1,
        lambda: sparse.greedy_sweep(rows, r, 0.99, v, out, actions),
        kernel + table + 2 * v.nbytes + actions.nbytes,
    )
    x, left = V[:, :1].copy(), np.empty((S, 1))
    yield (
        "flow",
        1,
        lambda: flows.flow_residual(rows, pi, v, 0.99, x, left),
        kernel + table + 3 * v.nbytes,
    )


def variants(S: int) -> Iterator[tuple[str, str, Rows]]:
    """Successors, storage, rows."""
    for kind in ("near", "scattered"):
        rows = rows_of_kind(kind, S)
        yield kind, "even", rows
        yield kind, "compressed", compressed(rows)
        yield kind, "even, float32", single(rows)
        yield kind, "one action, packed", packed.policy_rows(rows, np.zeros(S, dtype=np.int32))
    rows = rows_of_kind("shuffled", S)
    pi = np.full((S, ACTIONS), 1.0 / ACTIONS)
    own = np.arange(S, dtype=np.int32)
    yield "near, shuffled", "policy, packed", packed.moved_rows(rows, pi, own)
    line = line_up(rows, 1)
    if line.moved:
        yield "near, moved back", "policy, packed", packed.moved_rows(rows, pi, line.order)


def measure(states: list[int], rounds: int = ROUNDS) -> list[Row]:
    """One row for every sweep: its share of the read bandwidth on all threads, and that of fetching its
    values, medians and quartiles over the turns of all passes."""
    turns: dict[Sweep, list[list[float]]] = {}
    for n in range(PASSES):
        for sweep, taken in one_pass(states, rounds):
            turns.setdefault(sweep, []).extend(taken)
            shares = (_spread(column)["median"] for column in zip(*taken))
            print(f"[{n + 1}/{PASSES}]", *sweep[:-1], *(f"{x:.2f}" for x in shares), file=sys.stderr)
    names = ("states", "successors", "storage", "sweep", "bytes", "share", "fetching")
    return [dict(zip(names, (*sweep, *map(_spread, zip(*taken))))) for sweep, taken in turns.items()]


def one_pass(states: list[int], rounds: int) -> Iterator[tuple[Sweep, list[list[float]]]]:
    """Every sweep with its share and that of fetching in each turn."""
    read, read_bytes = read_sweep(numba.get_num_threads())
    for S in states:
        for kind, storage, rows in variants(S):
            for name, k, sweep, size in sweeps(rows):
                fetch = fetching(rows, k)
                turns = [
                    [size / _seconds(call) / (read_bytes / _seconds(read)) for call in (sweep, fetch)]
                    for _ in range(rounds + 1)
                ]
                yield (S, kind, storage, name, size), turns[1:]  # the first turn compiles


def _spread(shares: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(shares, n=4)
    return {"median": middle, "low": low, "high": high}


def read_rates() -> dict[str, float]:
    """Bytes a second of plain sums, by the number of threads."""
    rates = {}
    for threads in sorted({1, numba.get_num_threads()}):
        read, size = read_sweep(threads)
        read()
        rates[str(threads)] = size / min(_seconds(read) for _ in range(ROUNDS))
    return rates


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def markdown(content: dict[str, Any]) -> str:
    """The table, with the machine it is of."""
    rates = (f"{v / 1e9:.1f} GB/s on {k}" for k, v in content["read_bytes_per_second"].items())
    lines = [
        "# Sweeps against the memory's limit",
        "",
        *described(content["machine"]),
        "",
        f"Plain sums read {', '.join(rates)} thread(s). Share: of that on all threads, median (quartiles)",
        f"of {PASSES} passes over all rows.",
        "Fetching: the share if the sweep cost no more than a plain loop that fetches successors' values.",
        "",
        "| states | successors | storage | sweep | share | fetching |",
        "|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in content["rows"]]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    shares = (row[name] for name in ("share", "fetching"))
    told = [f"{share['median']:.2f} ({share['low']:.2f} to {share['high']:.2f})" for share in shares]
    return [str(row["states"]), row["successors"], row["storage"], row["sweep"], *told]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table; with ``--out``, write it as JSON and beside it as Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks.bandwidth", description=__doc__)
    parser.add_argument("--states", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    content: dict[str, Any] = {"machine": facts(), "read_bytes_per_second": read_rates()}
    content["rows"] = measure(options.states, options.rounds)
    print(markdown(content), end="")
    if options.out:
        write_both(options.out, content, markdown(content))


if __name__ == "__main__":
    main()
