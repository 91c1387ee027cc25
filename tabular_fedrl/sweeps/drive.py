"""Driving a sweep: tasks through an executor, a bounded number in flight, rows appended as they come."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tabular_fedrl.errors import InvalidProblem, TabularFedRLError
from tabular_fedrl.sweeps.axes import Grid, whole
from tabular_fedrl.sweeps.columns import arrays, schema_of
from tabular_fedrl.sweeps.files import SweepFile, read_sweep
from tabular_fedrl.sweeps.plan import Plan, plan
from tabular_fedrl.sweeps.work import Handed, work

MOST_CELLS = 512
"""Cells of one task; a task that takes long hands the rest of them back."""
AHEAD = 2
"""Tasks in flight for each worker, so that none waits for this process."""


def sweep(
    algorithms: str | Sequence[str],
    sources: Any,
    *,
    rounds: int | Sequence[int] = 1000,
    seeds: int | Sequence[int] = 0,
    grid: Grid | Sequence[Grid] = (),
    backend: str = "numpy",
    executor: Executor | None = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run every algorithm on every problem with every number of rounds, setting and seed.

    Parameters
    ----------
    algorithms: a name of :data:`tabular_fedrl.algorithms.ALGORITHMS`, or several.
    sources: a SOURCE, a CMDP or a FederatedCMDP, or a sequence of them. In a SOURCE, ``key=low..high`` stands
        for every whole number of the range.
    rounds, seeds: one whole number, or several.
    grid: values to combine by name, ``{"eta": [0.1, 0.2], "gamma": [0.9, 0.99]}``; several grids in a
        sequence are swept one after another. A name is a parameter of the algorithms (None: the theory's
        value), or else a key of the SOURCEs, as in ``garnet:S=20,gamma=0.9``: their own ones, gamma, d,
        agents, visible, rho.
    backend: as for :func:`tabular_fedrl.runner.run`; or ``"lockstep"``, which runs cells of one shape side by
        side (:mod:`tabular_fedrl.sweeps.lockstep`): the fastest, averages only, without error bounds.
    executor: where the runs are done: any ``concurrent.futures.Executor``, such as a ``ThreadPoolExecutor``,
        a ``ProcessPoolExecutor`` or Dask's ``Client.get_executor()``; None for this thread. The rows do not
        depend on it.
    workers: how many tasks the executor runs side by side, if it does not say; at most twice as many are in
        flight.
    out: the file that the rows are appended to (:mod:`tabular_fedrl.sweeps.files`).
    resume: go on with ``out`` if it exists; else it must not exist.
    progress: called with (cells done, cells in all).

    Returns
    -------
    The columns of :mod:`tabular_fedrl.sweeps.columns` by name, as :func:`read_sweep` gives them. A cell that
    cannot be run, because its problem is infeasible for one, is a row that says so in ``status``.

    Raises
    ------
    InvalidProblem: unknown names, a problem that cannot be read, or a file that is in use, damaged or another
    sweep's.
    TabularFedRLError: at the end, when all other runs are done, if some ended with an error that says nothing
    about their problem; resuming runs those again.
    """
    if workers is not None:
        (workers,) = whole("workers", workers, 1)
    cells = plan(algorithms, sources, rounds, seeds, grid, backend)
    schema = schema_of(cells)
    if out is None:
        if resume:
            raise InvalidProblem("resume continues a sweep in a file: name it with out")
        rows = Rows(len(cells))
        _drive(cells, schema, rows, executor or Here(), workers, progress)
        return arrays(rows.table(schema))
    file = SweepFile(out, schema, len(cells), resume)
    try:
        _drive(cells, schema, file, executor or Here(), workers, progress)
    finally:
        file.close()
    return read_sweep(out)


class Sink(Protocol):
    """Where rows go: ``done`` says of every cell whether its row is there already."""

    done: np.ndarray[Any, np.dtype[np.bool_]]

    def append(self, batch: bytes) -> None:
        """Keep a record batch, or raise and be as before."""
        ...


class Rows:
    """Rows in memory."""

    def __init__(self, cells: int) -> None:
        self.done = np.zeros(cells, dtype=bool)
        self.batches: list[bytes] = []

    def append(self, batch: bytes) -> None:
        self.batches.append(batch)

    def table(self, schema: pa.Schema) -> pa.Table:
        """All of them."""
        return pa.ipc.open_stream(b"".join([schema.serialize(), *self.batches])).read_all()


class Here(Executor):
    """Does each task at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The finished task."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _drive(
    cells: Plan,
    schema: pa.Schema,
    sink: Sink,
    executor: Executor,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    side_by_side = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
    most = 1 if isinstance(executor, Here) else AHEAD * side_by_side
    total, done = len(cells), int(sink.done.sum())
    size = max(1, min(MOST_CELLS, -(-(total - done) // (2 * most))))
    ahead = ranges(~sink.done, size)
    rests: deque[tuple[int, int]] = deque()
    flying: dict[Future[Handed], tuple[int, int]] = {}
    defects: list[str] = []
    if progress is not None:
        progress(done, total)
    try:
        while True:
            while len(flying) < most and (span := _next(rests, ahead)) is not None:
                part = [cells.cell(number) for number in range(*span)]
                flying[executor.submit(work, part, schema, cells.backend)] = span
            if not flying:
                break
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                first, end = flying.pop(future)
                handed = future.result()
                if handed.rows:
                    sink.append(handed.batch)
                done += handed.rows
                defects += handed.defects
                if first + handed.cells < end:
                    rests.append((first + handed.cells, end))
                if progress is not None:
                    progress(done, total)
    except BrokenExecutor as error:
        raise TabularFedRLError(
            f"a worker ended abruptly ({error}); {done} of {total} cells are done, and resuming goes on"
        ) from None
    finally:
        for future in flying:
            future.cancel()
    if defects:
        raise TabularFedRLError(
            f"{len(defects)} of {total} runs ended in a defect and have no row; the first: {defects[0]}"
        )


def _next(rests: deque[tuple[int, int]], ahead: Iterator[tuple[int, int]]) -> tuple[int, int] | None:
    """The cells of the next task: what an earlier one left, before anything new."""
    return rests.popleft() if rests else next(ahead, None)


def ranges(wanted: np.ndarray[Any, np.dtype[np.bool_]], size: int) -> Iterator[tuple[int, int]]:
    """The wanted numbers as ranges (first, end) of at most ``size``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]])))
    for first, end in edges.reshape(-1, 2).tolist():
        for start in range(first, end, size):
            yield start, min(start + size, end)
