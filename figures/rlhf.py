"""Learning from one-bit preferences: rates against votes for several numbers of agents, and against bits."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        f"rlhf-{name}": PLOTS["power_rate"](study(report, f"rlhf.budget.{name}")) for name in ("rate", "bits")
    }
