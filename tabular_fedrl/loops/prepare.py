"""Compiling the loops before they are needed, so that whoever asks can say what takes the time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.fednpg import fednpg
from tabular_fedrl.loops.optimum import optima

PATIENCE = 2.0
"""Seconds after which a call that should take a fraction of one must be compiling."""


_ready: set[Callable[..., Any]] = set()
"""Loops that have returned once in this process."""


@contextmanager
def announced(*loops: Callable[..., Any]) -> Iterator[None]:
    """Around a call that returns within a second: a line on standard error if something has to be compiled
    first. Where the compiled ``loops`` that it calls are named, only their first call is watched: a short run
    would spend a third of its time on the watch.
    """
    if loops and _ready.issuperset(loops):
        yield
        return
    words = ["compiling the loops; from now on they are read from disk", "\n"]
    timer = threading.Timer(PATIENCE, lambda: sys.stderr.write("".join(words)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    _ready.update(loops)


def prepare() -> None:
    """Compile all loops, or load them from the cache on disk: seconds the first time, then hardly any."""
    prepare_rounds()
    optima(_smallest())


@cache
def prepare_rounds() -> None:
    """The same for :func:`~tabular_fedrl.loops.fednpg` alone."""
    fednpg(_smallest(), 1, 1, 1.0, 1.0, 1.0)


def _smallest() -> Batch:
    one = np.ones
    return Batch(
        P=one((1, 1, 2, 1)),
        r=one((1, 1, 2)),
        c=one((1, 1, 1, 2)),
        d=2 * one((1, 1)),
        rho=one((1, 1)),
        gamma=0 * one(1),
        mask=np.ones((1, 1), dtype=bool),
    )
