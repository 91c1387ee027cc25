"""Gap and violation against T with the bound: tuned steps (F1), a kept instance, large steps (F2)."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "convergence-f1": PLOTS["convergence"](study(report, "fednpg.f1.convergence")),
        "convergence-f1-mdp": PLOTS["convergence"](study(report, "fednpg.f1.convergence_mdp")),
        "convergence-f1-bandit": PLOTS["convergence"](study(report, "fednpg.f1.convergence_bandit")),
        "convergence-f2": PLOTS["convergence"](study(report, "fednpg.f2.convergence")),
    }
