"""What the families share: random subsets, and limits on their parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.errors import InvalidProblem

MAX_ENTRIES = 100_000_000
"""Families refuse to build arrays with more entries than this."""


def subsets(draw: np.random.Generator, rows: int, S: int, b: int) -> NDArray[np.int64]:
    """``rows`` uniform b-subsets of range(S), one a row (Floyd's algorithm on all rows at once): ``(rows,
    b)``."""
    chosen = np.empty((rows, b), dtype=np.int64)
    for k, top in enumerate(range(S - b, S)):
        candidate = draw.integers(0, top + 1, size=rows)
        taken = (chosen[:, :k] == candidate[:, None]).any(axis=1)
        chosen[:, k] = np.where(taken, top, candidate)
    return chosen


def at_least(family: str, **bounds: tuple[int, int]) -> None:
    """Refuse a parameter below its least value: ``name=(value, least)``."""
    for name, (value, low) in bounds.items():
        if value < low:
            raise InvalidProblem(f"{family}: {name} = {value} is below {low}")


def limit_size(family: str, entries: int, advice: str = "") -> None:
    """Refuse what would hold more than :data:`MAX_ENTRIES` entries."""
    if entries > MAX_ENTRIES:
        raise InvalidProblem(
            f"{family}: {entries:.3g} entries are over the limit of {MAX_ENTRIES:.3g}{advice}"
        )
