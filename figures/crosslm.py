"""CrossLM: what generated items gain the clients, and what the generator forgets for it."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "crosslm-enhancement": PLOTS["enhancement"](study(report, "crosslm.pooled.federation")),
        "crosslm-forgetting": PLOTS["forgetting"](study(report, "crosslm.budget.curves")),
    }
