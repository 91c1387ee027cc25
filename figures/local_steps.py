"""Violation against E at a fixed step, gap at fixed rounds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "local-steps": PLOTS["local_steps"](study(report, "fednpg.f1.local_steps")),
    }
