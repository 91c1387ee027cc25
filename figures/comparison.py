"""DRPO and other methods on FrozenLake 8x8, CliffWalking and Taxi."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"comparison": PLOTS["comparison"](study(report, "drpo.real-data.comparison"))}
