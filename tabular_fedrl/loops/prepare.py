"""Compiling the loops before they are needed, outside what is timed."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.fednpg import fednpg
from tabular_fedrl.loops.optimum import optima


def prepare() -> None:
    """Compile the loops of batches, or load them from the cache on disk: seconds the first time, then hardly
    any."""
    fednpg(_smallest(), 1, 1, 1.0, 1.0, 1.0)
    optima(_smallest())


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
