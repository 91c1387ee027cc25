"""What differences between the clients' data cost, and where a round of DRPO improves."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"heterogeneity": PLOTS["heterogeneity"](study(report, "drpo.balance.tiers"))}
