"""The largest problems: what their optimum and FedNPG on them take, in memory and in products with the
kernel.

``python -m benchmarks.million --out benchmarks/results/million.json``; a minute or two for each family.
Times are counted in products of the kernel with a vector by SciPy, on one thread. Memory is counted in the
problem's own arrays: 1 for them, and what the process held beside them at most.
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bandwidth import read_rates
from benchmarks.machine import facts
from benchmarks.plan import garnet, grid, ring
from benchmarks.results import described, write_both
from tabular_fedrl.cmdp import federated
from tabular_fedrl.instances import load
from tabular_fedrl.kernels.memory import make_room
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve

FAMILIES: dict[str, Callable[[int], str]] = {
    "random": lambda S: garnet(S, 1),
    "ring": lambda S: ring(S, 1),
    "grid": lambda S: grid(math.isqrt(S), 1),
}
ROUNDS, LOCAL_STEPS = 3, 2
COMPILED = 3000
"""States of a problem on which everything is done once before."""

Row = dict[str, Any]


def measure(family: str, states: int) -> Row:
    """The optimum of a problem, then FedNPG against it; in a process of its own."""
    _both(FAMILIES[family](COMPILED))
    problem = load(FAMILIES[family](states))
    x = problem.cmdp
    own = sum(a.nbytes for a in (x.P.data, x.P.indices, x.P.indptr, x.r, x.c, x.d, x.rho))
    product = statistics.median(_seconds(lambda v=v: x.rows @ v)[0] for v in np.ones((5, x.S)))
    gc.collect()
    make_room(own)
    before = _resident("VmRSS")
    _peak_since(before)
    solving, solution = _seconds(lambda: solve(x))
    peak = _peak_since(before)
    running, done = _seconds(
        lambda: run("fednpg", problem, ROUNDS, backend="numba", solution=solution, local_steps=LOCAL_STEPS)
    )
    return {
        "family": family, "states": x.S, "source": FAMILIES[family](states), "bytes": own,
        "product_seconds": product, "solver": solution.solver, "duality_gap": solution.duality_gap,
        "solve_seconds": solving, "solve_memory": 1 + peak / own,
        "run_seconds": running, "run_memory": 1 + _peak_since(before) / own,
        "gap": _enclosed(done.gap), "violation": _enclosed(done.violations),
    }  # fmt: skip


def _both(source: str) -> None:
    problem = federated(load(source))
    run("fednpg", problem, 1, backend="numba", solution=solve(problem.cmdp), local_steps=LOCAL_STEPS)


def _enclosed(x: Any) -> list[float]:
    """Value and error of the largest entry."""
    at = int(np.argmax(x.value))
    return [float(x.value.flat[at]), float(x.error.flat[at])]


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    done = call()
    return time.perf_counter() - start, done


def _resident(field: str) -> int:
    """Bytes of this process in memory: at present (``VmRSS``) or at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def _peak_since(before: int) -> int:
    """The most since the last call, less ``before``; the count begins anew."""
    peak = _resident("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak


def rows(families: list[str], states: int) -> Iterator[Row]:
    """A row for each family, with what the memory gave just before."""
    for family in families:
        rates = read_rates()
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            yield {"read_bytes_per_second": rates, **alone.submit(measure, family, states).result()}


def markdown(content: dict[str, Any]) -> str:
    """The table, with the machine it is of."""
    lines = [
        "# The largest problems",
        "",
        *described(content["machine"]),
        "",
        "Time: in products of P with a vector by SciPy on one thread. Memory: the most that was held, in the",
        f"problem's own arrays, they included. FedNPG: {ROUNDS} rounds of {LOCAL_STEPS} local steps, the",
        "optimum held beside it; gap and violation are certified by the bounds of both. Reads: plain sums",
        "just before, in GB/s, on one thread and on all.",
        "",
        "| problem | optimum: proved gap | time | memory | FedNPG: time | memory | gap | violation | reads |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in content["rows"]]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    def products(name: str) -> str:
        return f"{row[name] / row['product_seconds']:,.0f}"

    return [
        f"`{row['source']}`", f"{row['duality_gap']:.1e} ({row['solver']})",
        products("solve_seconds"), f"{row['solve_memory']:.2f}",
        products("run_seconds"), f"{row['run_memory']:.2f}",
        *("{:.9g} ± {:.0e}".format(*row[name]) for name in ("gap", "violation")),
        ", ".join(f"{rate / 1e9:.0f}" for rate in row["read_bytes_per_second"].values()),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table; with ``--out``, write it as JSON and beside it as Markdown."""
    parser = argparse.ArgumentParser(prog="benchmarks.million", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    content: dict[str, Any] = {"machine": facts(), "rows": []}
    for row in rows(options.families, options.states):
        content["rows"].append(row)
        print(" | ".join(_cells(row)), file=sys.stderr, flush=True)
    print(markdown(content), end="")
    if options.out:
        write_both(options.out, content, markdown(content))


if __name__ == "__main__":
    main()
