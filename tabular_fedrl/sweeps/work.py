"""The part of a sweep that workers do: cells in, the rows of those that were done out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import NoDevice, TabularFedRLError
from tabular_fedrl.instances.text import one_line
from tabular_fedrl.runner import Run, run
from tabular_fedrl.sweeps.columns import asked, described, failed, measured, message
from tabular_fedrl.sweeps.plan import Cell, Instance

SECONDS = 2.0
"""A worker that has been at work for so long hands in what it has and leaves the rest of its cells."""


@dataclass(frozen=True)
class Handed:
    """What a worker hands in.

    ``cells``: how many cells it has been through, from the first on; ``rows`` of them have a row in
    ``batch``, an Arrow message. ``defects``: a line for each of the others, whose run ended with an error
    that says nothing about its problem.
    """

    cells: int
    rows: int
    batch: bytes
    defects: tuple[str, ...]


def one(cell: Cell, problem: FederatedCMDP, backend: str) -> Run:
    """The cell's run; of its rounds only the first and the last are recorded."""
    K = cell.rounds
    return run(cell.algorithm, problem, K, seed=cell.seed, backend=backend, every=K, **cell.settings)


def work(cells: Sequence[Cell], schema: pa.Schema, backend: str) -> Handed:
    """Run cells until they are done or the time is up."""
    until = time.monotonic() + SECONDS
    rows: list[dict[str, Any]] = []
    defects: list[str] = []
    instance: Instance | None = None
    problem: FederatedCMDP | None = None
    for cell in cells:
        if (rows or defects) and time.monotonic() > until:
            break
        if cell.instance is not instance:
            instance, problem = cell.instance, None
        row = asked(cell, schema)
        try:
            problem = problem or cell.instance.load()
            row |= described(problem)
            row |= measured(one(cell, problem, backend))
        except NoDevice:
            raise  # the machine's fault, and every other cell's as well
        except TabularFedRLError as error:
            row |= failed(error)
        except Exception as error:
            where = f"{cell.algorithm} on {cell.instance.source}, rounds = {cell.rounds}, {cell.settings}"
            defects.append(f"{where}: {type(error).__name__}: {one_line(error)}")
            continue
        rows.append(row)
    return Handed(len(rows) + len(defects), len(rows), message(rows, schema), tuple(defects))
