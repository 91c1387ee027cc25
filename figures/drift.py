"""Drift of the local policies per round, with the bound of L3."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "drift": PLOTS["drift"](study(report, "fednpg.l3.drift")),
    }
