"""Times of calls that took turns, as a ratio with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """``median``, and the quartiles ``low`` and ``high``, over ``rounds`` rounds of taking turns."""

    median: float
    low: float
    high: float
    rounds: int


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio | None:
    """How many times as long they take as we do, round by round; above 1 we are ahead. None without times.

    Who took fewer turns is compared over those; a single time of theirs against the median of ours.
    """
    if not theirs or not ours:
        return None
    if len(theirs) == 1:
        only = theirs[0] / float(np.median(ours))
        return Ratio(only, only, only, 1)
    rounds = min(len(theirs), len(ours))
    each = np.array(theirs[:rounds]) / np.array(ours[:rounds])
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75])
    return Ratio(float(median), float(low), float(high), rounds)


def spread(seconds: Sequence[float]) -> float:
    """Half the interquartile range over the median: how steady the times are."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return float((high - low) / (2 * median))
