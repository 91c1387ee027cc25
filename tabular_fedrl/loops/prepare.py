"""Compiling the loops before they are needed, so that whoever asks can say what takes the time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.fednpg import fednpg
from tabular_fedrl.loops.optimum import optima

PATIENCE = 2.0
"""Seconds after which a call that should take a fraction of one must be compiling."""


@contextmanager
def announced() -> Iterator[None]:
    """Around a call of a compiled loop that returns within a second: a line on standard error if it has to
    be compiled first."""
    words = ["compiling the loops; from now on they are read from disk", "\n"]
    timer = threading.Timer(PATIENCE, lambda: sys.stderr.write("".join(words)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
