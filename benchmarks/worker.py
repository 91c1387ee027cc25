"""The process that runs one method on one problem: a crash, a hang or a leak stays in here."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contenders import Entry

PREPARED = "prepared"

TURN = 0.05
"""Seconds that a turn's calls take together at least: one call of a few milliseconds after a pause would
measure how the machine wakes up."""


def serve(
    orders: Connection, entry: Entry, path: Path, settings: Mapping[str, Any], memory: int, cpu_seconds: int
) -> None:
    """Prepare, say so, solve on order and send ``(seconds, answer)``, over and over until the pipe closes.

    Short calls are repeated, each on a new model, and their mean is sent.

    An exception is sent as one line of text and ends the process. ``memory``: bytes of address space;
    ``cpu_seconds``: an end for a process whose parent is gone.
    """
    _silence()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    try:
        from tabular_fedrl.instances import load

        method = entry.load()
        problem = load(path)
        while True:
            given = method.fresh(problem, **settings)
            gc.collect()
            orders.send(PREPARED)
            orders.recv()
            spent, calls = 0.0, 0
            while spent < TURN:
                if calls:
                    given = method.fresh(problem, **settings)
                begin = time.perf_counter()
                raw = method.solve(given)
                spent += time.perf_counter() - begin
                calls += 1
            orders.send((spent / calls / method.units, method.answer(raw)))
            del given, raw
    except EOFError:
        return
    except Exception as error:
        orders.send(f"{type(error).__name__}: {error}".splitlines()[0][:200])


def _silence() -> None:
    """Peers write to the terminal from C++."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
