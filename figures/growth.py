"""How cost grows with S, A, m, N and E, from the benchmark's own results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.results import RESULTS, read
from tabular_fedrl.plots import PLOTS

NOTHING = [np.nan] * 3


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name; none as long as no series has been measured. ``report`` holds none of it."""
    series = read(RESULTS / "full.json")["series"]
    return {"growth": growth(series)} if any(one["values"] for one in series) else {}


def growth(measured: list[dict[str, Any]]) -> Figure:
    """The figure of the benchmark's series, those that could not be measured left out."""
    series = [one for one in measured if one["values"]]
    longest = max(len(one["values"]) for one in series)
    fits = [one["exponent"] for one in series]
    data = {
        "parameter": np.array([one["parameter"] for one in series]),
        "work": np.array([one["title"] for one in series]),
        "size": np.array([_padded(one["values"], longest) for one in series]),
        "cost": np.array([_padded(one["seconds"], longest) for one in series]),
        "exponent": np.array([[fit["value"], fit["low"], fit["high"]] if fit else NOTHING for fit in fits]),
    }
    return PLOTS["growth"](data)


def _padded(numbers: list[float], length: int) -> list[float]:
    return [*map(float, numbers), *[np.nan] * (length - len(numbers))]
