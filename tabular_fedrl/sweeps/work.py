"""The part of a sweep that workers do: cells in, the rows of those that were done out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.runner import run
from tabular_fedrl.sweeps.columns import asked, described, failed, measured, message
from tabular_fedrl.sweeps.plan import Cell, Instance

SECONDS = 2.0
"""A worker that has been at work for so long hands in what it has and leaves the rest of its cells."""


def work(cells: Sequence[Cell], schema: pa.Schema, backend: str) -> tuple[int, bytes]:
    """How many of the cells, from the first on, were run, and their rows as an Arrow message."""
    until = time.monotonic() + SECONDS
    rows: list[dict[str, Any]] = []
    instance: Instance | None = None
    problem: FederatedCMDP | None = None
    for cell in cells:
        if rows and time.monotonic() > until:
            break
        if cell.instance is not instance:
            instance, problem = cell.instance, None
        row = asked(cell, schema)
        try:
            problem = problem or cell.instance.load()
            row |= described(problem)
            row |= measured(
                run(cell.algorithm, problem, cell.rounds, seed=cell.seed, backend=backend, **cell.settings)
            )
        except Exception as error:
            row |= failed(error)
        rows.append(row)
    return len(rows), message(rows, schema)
