"""How the drift of DRPO's clients falls with the temperature."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"drift-scaling": PLOTS["drift_scaling"](study(report, "drpo.drift.scaling"))}
