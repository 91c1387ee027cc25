"""The plane of cost and reward: what policies achieve, the optimum, and FedNPG for small and large E."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "plane": PLOTS["plane"](study(report, "fednpg.heterogeneous-duals.plane")),
        "plane-bandit": PLOTS["plane"](study(report, "fednpg.heterogeneous-duals.bandit_plane")),
    }
