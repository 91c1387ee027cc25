"""The largest lhs/rhs of every inequality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures.data import results
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    rows = [row for row in results(report)["summary"] if row["role"] == "claim" and row["ratio"]]
    data = {
        "labels": np.array([f"{row['theorem']}: {row['claim']}" for row in rows]),
        "ratio": np.array([row["ratio"] for row in rows]),
    }
    return {"ratios": PLOTS["ratios"](data)}
