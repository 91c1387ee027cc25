"""The file of a sweep: an Arrow IPC stream that grows by one record batch for each finished task.

A batch is written with one call and flushed to the disk before it is reported, so that whatever ends the
process leaves all that was reported, and at most one torn batch behind it, which resuming cuts off. The
schema's metadata say what is swept and with which version; only the same sweep is resumed. The column
``cell`` says which cells are there, so that none is run twice. While a sweep runs, its file is locked.

One file to copy and to open with any Arrow reader, even half-way: ``polars.read_ipc_stream(path)``,
``pyarrow.ipc.open_stream(path).read_all()`` (then ``.to_pandas()``), ``arrow::read_ipc_stream`` in R. Parquet
would be smaller, but its index comes last: a file that was not closed cannot be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import FileIO
from typing import Any

import numpy as np
import pyarrow as pa

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import one_line, shorten
from tabular_fedrl.sweeps.columns import METADATA, arrays
from tabular_fedrl.sweeps.lock import lock
from tabular_fedrl.sweeps.plan import FORMAT

MARK = b"\xff\xff\xff\xff"
"""What every message of the stream begins with."""

BROKEN = (pa.ArrowException, OSError, EOFError, ValueError)
"""What pyarrow raises on bytes that are no message."""


class SweepFile:
    """A file open for appending; ``done``: which of the ``cells`` cells it holds, boolean ``(cells,)``.

    Raises
    ------
    InvalidProblem: the place cannot be written, the file is in use, is there although ``resume`` is false, is
    damaged, or belongs to another sweep or version.
    """

    def __init__(self, path: str | os.PathLike[str], schema: pa.Schema, cells: int, resume: bool) -> None:
        self.path = os.fspath(path)
        self.done = np.zeros(cells, dtype=bool)
        self._stream = self._open()
        try:
            lock(self._stream, self.path)
            self._begin(schema, resume)
        except BaseException:
            self._stream.close()
            raise

    def append(self, batch: bytes) -> None:
        """Add a record batch; when this returns it is on the disk, when it raises the file is as before."""
        try:
            left = memoryview(batch)
            while left:
                left = left[self._stream.write(left) or 0 :]
            os.fsync(self._stream.fileno())
        except BaseException as error:
            self._stream.truncate(self._end)
            self._stream.seek(self._end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror or str(error), self.path) from None
            raise
        self._end += len(batch)

    def close(self) -> None:
        """Close the file, which ends its lock."""
        self._stream.close()

    def _open(self) -> FileIO:
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):
            raise InvalidProblem(f"cannot write {self.path}: the folder {folder} does not exist")
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise InvalidProblem(f"cannot write {self.path}: it is not a regular file")
        try:
            return FileIO(
                self.path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666)
            )
        except OSError as error:
            raise InvalidProblem(f"cannot write {self.path}: {error.strerror or error}") from None

    def _begin(self, schema: pa.Schema, resume: bool) -> None:
        """Go to the end of the last whole batch, or write the header of a new file."""
        size = self._stream.seek(0, os.SEEK_END)
        if size and not resume:
            raise InvalidProblem(f"{self.path} is there already: resume its sweep, or name another file")
        header = schema.serialize().to_pybytes()
        self._end = 0
        self._stream.seek(0)
        if size < len(header) and header.startswith(self._stream.read(size)):
            self._stream.seek(0)
            self.append(header)
            return
        found, kept, self._end = scan(self.path, lambda batch: np.asarray(batch["cell"]))
        _same(self.path, found, schema)
        cells = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
        if not ((cells >= 0) & (cells < self.done.size)).all() or np.unique(cells).size < cells.size:
            raise InvalidProblem(f"{self.path} is damaged: it holds a cell twice, or one that does not exist")
        self.done[cells] = True
        self._stream.truncate(self._end)
        self._stream.seek(self._end)


def read_sweep(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The rows of a sweep's file as NumPy arrays by column, in the order of its cells.

    The columns are those of :mod:`tabular_fedrl.sweeps.columns`. Lists become ``(rows, most entries)``, NaN
    where a row has fewer; nulls are NaN, and None in text; whole numbers with nulls become floats. A sweep
    that is running, or was cut short, gives the rows that are there.

    Raises
    ------
    InvalidProblem: the file is damaged or no sweep's.
    """
    schema, batches, _ = scan(os.fspath(path), lambda batch: batch)
    return arrays(pa.Table.from_batches(batches, schema))


def scan(path: str, keep: Callable[[pa.RecordBatch], Any]) -> tuple[pa.Schema, list[Any], int]:
    """The schema of a sweep's file, what to ``keep`` of each record batch, and where the last one ends.

    What follows it is a batch that was being written; if another whole batch comes later, the file is
    damaged.
    """
    if not os.path.isfile(path):
        raise InvalidProblem(f"{path} is not a file")
    kept = []
    try:
        with pa.memory_map(path) as source:
            schema = pa.ipc.read_schema(source)
            swept = json.loads((schema.metadata or {})[METADATA])
            if not isinstance(swept, dict) or swept.get("format") != FORMAT or "cell" not in schema.names:
                raise InvalidProblem(f"{path} is not a sweep file of this version ({FORMAT})")
            end = source.tell()
            while (batch := _batch(source, schema)) is not None:
                kept.append(keep(batch))
                end = source.tell()
            source.seek(end)
            tail = source.read()
            place = tail.find(MARK, 1)
            while place >= 0:
                if _batch(pa.BufferReader(tail[place:]), schema) is not None:
                    raise InvalidProblem(f"{path} is damaged at byte {end}")
                place = tail.find(MARK, place + 1)
    except (*BROKEN, KeyError) as error:
        if isinstance(error, InvalidProblem):
            raise
        raise InvalidProblem(f"{path} is not the file of a sweep: {one_line(error)}") from None
    return schema, kept, end


def _batch(source: Any, schema: pa.Schema) -> pa.RecordBatch | None:
    """The next record batch, None if no whole one follows."""
    try:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(source), schema)
        batch.validate(full=True)
    except BROKEN:
        return None
    return batch


def _same(path: str, found: pa.Schema, wanted: pa.Schema) -> None:
    """Refuse the file of another sweep."""
    theirs, mine = (json.loads(x.metadata[METADATA]) for x in (found, wanted))
    for key, value in mine.items():
        if theirs.get(key) != value:
            what = f"{key} = {shorten(json.dumps(theirs.get(key)))}, not {shorten(json.dumps(value))}"
            raise InvalidProblem(f"{path} was swept with {'other sources' if key == 'sources' else what}")
    if not found.equals(wanted):
        raise InvalidProblem(f"{path} has other columns than this sweep")
