"""The gain of one round of DRPO over the plane of its two weights."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"balance-map": PLOTS["balance_map"](study(report, "drpo.balance.map"))}
