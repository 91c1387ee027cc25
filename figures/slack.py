"""What each link of the proof of F1 adds on the way from the gap to the bound."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "slack": PLOTS["slack"](study(report, "fednpg.f1.slack")),
    }
