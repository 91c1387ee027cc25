"""Which statements about DRPO survive when a regulariser is left out."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"ablations": PLOTS["ablations"](study(report, "drpo.ablations.table"))}
