"""``tabular-fedrl sweep``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tabular_fedrl.cli.guard import BAD_INPUT, INFEASIBLE, INTERNAL
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.pool import processors, workers
from tabular_fedrl.cli.settings import parse_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.words import plural
from tabular_fedrl.sweeps import sweep

CODES = {"infeasible": INFEASIBLE, "solver": INTERNAL, "invalid": BAD_INPUT, "not-slater": BAD_INPUT}
"""Exit codes where no run has a result, by what kept the first one from it."""

PATIENCE = 10
"""Seconds to wait for a Dask scheduler."""

_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})")


def sweep_sources(
    output: Output,
    algorithms: str,
    sources: Sequence[str],
    rounds: str,
    seeds: str,
    grid: Sequence[str],
    backend: str,
    out: str | None,
    resume: bool,
    jobs: int | None,
    dask: str | None,
) -> Answer:
    """Run the algorithms (joined by commas) on all sources with all values of the grid."""
    if resume and out is None:
        raise InvalidProblem("--resume continues the sweep in a file: name it with --out FILE")
    if jobs is not None and dask is not None:
        raise InvalidProblem("--jobs and --dask exclude each other")
    names = [name.strip() for name in algorithms.split(",")]
    values = parse_grid(grid)
    counts, draws = numbers("--rounds", rounds), numbers("--seeds", seeds)
    try:
        with (
            _cluster(dask) if dask is not None else _processes(jobs) as (executor, side_by_side),
            output.progress("sweeping", "runs") as tick,
        ):
            table = sweep(
                names,
                sources,
                rounds=counts,
                seeds=draws,
                grid=values,
                backend=backend,
                executor=executor,
                workers=side_by_side,
                out=out,
                resume=resume,
                progress=tick,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with --out {out} --resume" if out else "") from None
    return _answer(table, out)


def parse_grid(pairs: Sequence[str]) -> dict[str, list[Any]]:
    """``["eta=0.1,0.2", "local_steps=1..5"]`` as values by name; hyphens in names count as underscores.

    A value is read as for ``--set``; ``low..high`` stands for every whole number of the range.

    Raises
    ------
    InvalidProblem: what is not ``name=value,value,...``, or a name given twice.
    """
    grid: dict[str, list[Any]] = {}
    for pair in pairs:
        key, _, values = pair.partition("=")
        name, words = key.strip().replace("-", "_"), [word.strip() for word in values.split(",")]
        if not name.isidentifier() or not all(words):
            raise InvalidProblem(f"--grid {pair}: expected NAME=VALUE,VALUE,...")
        if name in grid:
            raise InvalidProblem(f"--grid {name} is given twice")
        # 0+1/1 says here who sees what, elsewhere it is two numbers.
        read: Callable[[str], Any] = str if name == "visible" else parse_value
        grid[name] = [value for word in words for value in (_range(word) or [read(word)])]
    return grid


def numbers(option: str, text: str) -> list[int]:
    """``0..9``, or whole numbers joined by commas."""
    out: list[int] = []
    for word in text.split(","):
        some = _range(word.strip())
        if not some and not re.fullmatch("[0-9]{1,18}", word.strip()):
            raise InvalidProblem(f"{option} {text}: expected whole numbers joined by commas, or low..high")
        out += some or [int(word)]
    return out


def _range(word: str) -> list[int]:
    match = _RANGE.fullmatch(word)
    if match is None:
        return []
    low, high = int(match[1]), int(match[2])
    if not low <= high < low + 10**7:
        raise InvalidProblem(f"{word}: a range rises, by less than ten million")
    return list(range(low, high + 1))


@contextmanager
def _processes(jobs: int | None) -> Iterator[tuple[Executor | None, int | None]]:
    with workers(jobs or processors()) as executor:
        yield executor, None


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """The workers of a Dask scheduler, and how many tasks they run side by side."""
    try:
        from distributed import Client
    except ImportError:
        raise InvalidProblem("--dask needs the extra dask: pip install 'tabular-fedrl[dask]'") from None
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise InvalidProblem(f"--dask {address}: no scheduler answers ({error})") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise InvalidProblem(f"--dask {address}: the scheduler has no workers")
        yield client.get_executor(), threads


def _answer(table: dict[str, Any], out: str | None) -> Answer:
    statuses = Counter(table["status"].tolist())
    failures = np.flatnonzero(table["status"] != "ok")
    groups = []
    for algorithm in dict.fromkeys(table["algorithm"]):
        for rounds in np.unique(table["rounds"]).tolist():
            chosen = (table["algorithm"] == algorithm) & (table["rounds"] == rounds)
            groups.append({"algorithm": algorithm, "rounds": rounds, **_extremes(table, chosen)})
    data: dict[str, Any] = {
        "status": "ok",
        "out": out,
        "cells": len(table["cell"]),
        "statuses": dict(statuses),
    }
    data["results"] = groups
    lines: list[RenderableType] = [_view(groups)]
    if failures.size:
        first = {name: table[name][failures[0]] for name in ("source", "status", "message")}
        data["first_failure"] = first
        kinds = ", ".join(f"{n} {word}" for word, n in statuses.items() if word != "ok")
        where = f"the first, {first['source']}: {first['message']}"
        lines.append(Text(f"{failures.size} without a result ({kinds}); {where}"))
    done = plural(data["cells"], "run") + (f" in {out}" if out else "")
    return Answer(data, [*lines, done], brief=[done], code=0 if statuses["ok"] else CODES[table["status"][0]])


def _extremes(table: dict[str, Any], chosen: Any) -> dict[str, Any]:
    """Number of runs and, over those with a result, the gap's mean and the largest gap and violation."""
    chosen = chosen & (table["status"] == "ok")
    gap, violation = table["gap"][chosen], table["violation"][chosen]
    if not gap.size:
        return {"runs": 0, "mean_gap": None, "largest_gap": None, "largest_violation": None}
    worst = (float(gap.mean()), float(gap.max()), float(violation.max()))
    return {"runs": gap.size, **dict(zip(("mean_gap", "largest_gap", "largest_violation"), worst))}


def _view(groups: Sequence[dict[str, Any]]) -> Table:
    view = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for head in ("algorithm", "rounds", "runs", "mean gap", "largest gap", "largest violation"):
        view.add_column(head, justify="left" if head == "algorithm" else "right")
    for group in groups:
        algorithm, *rest = group.values()
        view.add_row(algorithm, *("–" if x is None else f"{x:.6g}" for x in rest))
    return view
