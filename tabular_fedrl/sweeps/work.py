"""The part of a sweep that workers do: cells in, the rows of those that were done out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from tabular_fedrl.errors import NoDevice, TabularFedRLError
from tabular_fedrl.instances.text import one_line
from tabular_fedrl.runner import run
from tabular_fedrl.sweeps.columns import Outcome, asked, described, failed, measured, message
from tabular_fedrl.sweeps.lockstep import lockstep
from tabular_fedrl.sweeps.plan import LOCKSTEP, Cell, Instance

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


def work(cells: Sequence[Cell], schema: pa.Schema, backend: str) -> Handed:
    """Run cells until they are done or the time is up."""
    until = time.monotonic() + SECONDS
    rows: list[dict[str, Any]] = []
    defects: list[str] = []
    waiting = iter(cells)
    for outcomes in lockstep(cells) if backend == LOCKSTEP else singly(cells, backend):
        for cell, (problem, result) in zip(islice(waiting, len(outcomes)), outcomes):
            row = asked(cell, schema) | problem
            if isinstance(result, NoDevice):
                raise result  # the machine's fault, and every other cell's as well
            if isinstance(result, TabularFedRLError):
                rows.append(row | failed(result))
            elif isinstance(result, Exception):
                where = f"{cell.algorithm} on {cell.instance.source}, rounds = {cell.rounds}, {cell.settings}"
                defects.append(f"{where}: {type(result).__name__}: {one_line(result)}")
            else:
                rows.append(row | result)
        if time.monotonic() > until:
            break
    return Handed(len(rows) + len(defects), len(rows), message(rows, schema), tuple(defects))


def singly(cells: Sequence[Cell], backend: str) -> Iterator[list[Outcome]]:
    """The outcomes of the cells, in their order, one at a time; of the rounds only the first and the last are
    recorded."""
    instance: Instance | None = None
    for cell in cells:
        if cell.instance is not instance:
            instance, problem, known = cell.instance, None, {}
        K, settings = cell.rounds, {"seed": cell.seed, "backend": backend, **cell.settings}
        try:
            problem = problem or cell.instance.load()
            known = described(problem)
            yield [(known, measured(run(cell.algorithm, problem, K, every=K, **settings)))]
        except Exception as error:
            yield [(known, error)]
