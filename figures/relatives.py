"""FedNPG among its relatives on one problem, against rounds and against what is sent."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {"relatives": PLOTS["relatives"](study(report, "rates.pmd-pd.relatives"))}
