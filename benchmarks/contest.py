"""Methods on one problem, taking turns: ours, theirs, ours, theirs, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import Entry
from benchmarks.machine import cores, memory_bytes
from benchmarks.worker import PREPARED, serve

Answer = Mapping[str, Any]

PAUSE = 0.15
"""Seconds between two calls: OpenBLAS's threads spin for 0.1 s after their work, which slows the next."""

PREPARATION = 40.0
"""Seconds for what is not timed: a process that starts, and a model in a peer's own format."""

_THREADS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """``seconds``: for one call; ``budget``: seconds for all counted calls of a method together; ``rounds``:
    of taking turns, at most."""

    seconds: float
    budget: float
    rounds: int


@dataclass
class Record:
    """What a method did: ``seconds`` of each counted call per problem solved, its first and last ``answers``,
    ``failure``, why it gave none, or no more, and ``stopped``, the seconds after which it was."""

    method: str
    seconds: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failure: str | None = None
    stopped: float | None = None


class NoAnswer(Exception):
    """One clause on why; ``stopped``: the seconds a call was given, where they were too few."""

    def __init__(self, why: str, stopped: float | None = None) -> None:
        super().__init__(why)
        self.stopped = stopped


def contest(
    entries: Mapping[str, Entry], path: Path, settings: Mapping[str, Any], limits: Limits
) -> list[Record]:
    """Records of the methods ``entries`` on the problem at ``path``, in that order; the first one is ours.

    A method's first call compiles and warms and is not counted; a peer whose first call takes half its budget
    is not asked again, and that call counts.
    """
    records = [Record(name) for name in entries]
    with ExitStack() as stack:
        playing: list[tuple[Record, _Process]] = []
        for record, entry in zip(records, entries.values()):
            if not entry.installed:
                record.failure = "not installed"
                continue
            process = stack.enter_context(_process(entry, path, settings, limits))
            first = _turn(record, process, limits.seconds + entry.compilation)
            if first is None:
                continue
            if record is not records[0] and first > limits.budget / 2:
                record.seconds.append(first)
                process.close()
            else:
                playing.append((record, process))
        for _ in range(limits.rounds):
            for record, process in playing:
                if record.failure is None and sum(record.seconds) < limits.budget:
                    seconds = _turn(record, process, limits.seconds)
                    if seconds is not None:
                        record.seconds.append(seconds)
    return records


def _turn(record: Record, process: _Process, limit: float) -> float | None:
    """One call; None if it gave no answer, which the record then says."""
    try:
        seconds, answer = process.call(limit)
    except NoAnswer as reason:
        record.failure, record.stopped = str(reason), reason.stopped
        process.close()
        return None
    time.sleep(PAUSE)
    record.answers[1:] = [answer]
    return seconds


class _Process:
    """A worker and the pipe to it."""

    def __init__(self, entry: Entry, path: Path, settings: Mapping[str, Any], limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        cpu = int(4 * cores() * (limits.budget + limits.seconds)) + 600
        arguments = (other, entry, path, dict(settings), memory_bytes() // 2, cpu)
        self.worker = context.Process(target=serve, args=arguments, daemon=True)
        with _threads(entry.threads or cores()):
            self.worker.start()
        other.close()

    def call(self, seconds: float) -> tuple[float, Answer]:
        """The reply to an order.

        Raises
        ------
        NoAnswer: it was late, or raised an exception, or the process died.
        """
        try:
            prepared = self._receive(PREPARATION, "its model was not ready")
            if prepared != PREPARED:
                raise NoAnswer(f"failed: {prepared}")
            self.pipe.send("solve")
            reply = self._receive(seconds, "did not finish", stopped=seconds)
        except (EOFError, OSError):
            self.worker.join(5)
            raise NoAnswer(f"the process died (exit code {self.worker.exitcode})") from None
        if isinstance(reply, str):
            raise NoAnswer(f"failed: {reply}")
        return reply

    def close(self) -> None:
        self.worker.kill()
        self.worker.join()
        self.pipe.close()

    def _receive(self, seconds: float, late: str, stopped: float | None = None) -> Any:
        if not self.pipe.poll(seconds):
            raise NoAnswer(f"{late} in {seconds:g} s", stopped)
        return self.pipe.recv()


@contextmanager
def _process(entry: Entry, path: Path, settings: Mapping[str, Any], limits: Limits) -> Iterator[_Process]:
    process = _Process(entry, path, settings, limits)
    try:
        yield process
    finally:
        process.close()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """The environment of a process that may use so many threads; thread pools read it when they start."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update({name: str(count) for name in _THREADS})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
