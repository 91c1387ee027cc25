"""Where a command's words go: the answer to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

Tick = Callable[..., None]
"""``tick(done, total)`` or ``tick(done, total, what)``"""

PATIENCE = 2.0
"""Seconds after which a command that is still at work says so."""
EVERY = 20.0
"""Seconds between two plain lines of progress."""
WIDTH = 110
"""Columns where the output is no terminal and COLUMNS is not set."""


@dataclass(frozen=True)
class Answer:
    """What a command found.

    ``data``: the JSON object; ``view``: what a terminal shows; ``brief``: what ``--quiet`` shows; ``code``:
    the exit code.
    """

    data: dict[str, Any]
    view: Sequence[RenderableType]
    brief: Sequence[RenderableType] = ()
    code: int = 0


class PipedConsole(Console):
    """A console that lets a broken pipe be handled by its caller."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@dataclass(frozen=True)
class Output:
    """``json``: one JSON object on standard output; ``quiet``: no progress, a brief answer."""

    json: bool = False
    quiet: bool = False
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def console(self) -> Console:
        """Standard output."""
        return PipedConsole(highlight=False, width=_width(sys.stdout))

    @cached_property
    def side(self) -> Console:
        """Standard error."""
        return PipedConsole(stderr=True, highlight=False, soft_wrap=True)

    def show(self, answer: Answer) -> None:
        """The answer, in the form that was asked for."""
        if self.json:
            from tabular_fedrl.report.plain import plain

            self.emit(plain(answer.data))
            return
        for part in (answer.brief or answer.view) if self.quiet else answer.view:
            # Sentences are the terminal's to wrap: one answer stays one line in a file.
            self.console.print(part, soft_wrap=isinstance(part, str | Text))
        sys.stdout.flush()

    def emit(self, data: dict[str, Any]) -> None:
        """One JSON object, of plain data."""
        sys.stdout.write(json.dumps(data, allow_nan=False) + "\n")
        sys.stdout.flush()

    def say(self, message: str, style: str = "") -> None:
        """A line on standard error."""
        self.side.print(message, style=style, markup=False)

    def warn(self, message: str) -> None:
        """A warning: a line on standard error, and kept for the answer."""
        self.warnings.append(message)
        self.say(f"warning: {message}", "yellow")

    @contextmanager
    def progress(self, title: str, unit: str) -> Iterator[Tick | None]:
        """A bar on a terminal; elsewhere a plain line once it takes longer than :data:`PATIENCE`."""
        if self.quiet:
            yield None
        elif self.side.is_terminal:
            with self._bar(title, unit) as tick:
                yield tick
        else:
            yield _Lines(self, title, unit)

    @contextmanager
    def _bar(self, title: str, unit: str) -> Iterator[Tick]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        now = TextColumn("[dim]{task.fields[what]}", markup=True)
        with Progress(*columns, TimeElapsedColumn(), now, console=self.side, transient=True) as bar:
            task = bar.add_task(title, total=None, what="")

            def tick(done: int, total: int, what: str = "") -> None:
                bar.update(task, completed=done, total=total, what=what)

            yield tick

    @contextmanager
    def waiting(self, title: str) -> Iterator[None]:
        """A spinner on a terminal; elsewhere a plain line once it takes longer than :data:`PATIENCE`."""
        if self.quiet:
            yield
        elif self.side.is_terminal:
            with self.side.status(f"{title} ..."):
                yield
        else:
            timer = threading.Timer(PATIENCE, self.say, [f"{title} ..."])
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()


class _Lines:
    """Progress as plain lines, far apart."""

    def __init__(self, output: Output, title: str, unit: str) -> None:
        self.output, self.title, self.unit = output, title, unit
        self.due = time.monotonic() + PATIENCE

    def __call__(self, done: int, total: int, what: str = "") -> None:
        now = time.monotonic()
        if now >= self.due and done < total:
            self.output.say(f"{self.title}: {done} of {total} {self.unit}")
            self.due = now + EVERY


def _width(stream: Any) -> int | None:
    """None (the terminal's own) on a terminal or where COLUMNS says it."""
    return None if stream.isatty() or os.environ.get("COLUMNS") else WIDTH
