"""What federation costs clients whose environments differ, and what the parts of Fed-SE add."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {name: PLOTS[name](study(report, f"fed-se.transfer.{name}")) for name in ("transfer", "evolution")}
