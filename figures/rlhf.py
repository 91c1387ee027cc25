"""Learning from one-bit preferences: rates against votes and bits; what people cannot tell apart."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        "rlhf-epsilon": PLOTS["power_rate"](study(report, "rlhf.distinguishability.found")),
        "rlhf-rate": PLOTS["power_rate"](study(report, "rlhf.budget.rate")),
        "rlhf-bits": PLOTS["log_profile"](study(report, "rlhf.budget.bits")),
        "rlhf-progress": PLOTS["log_profile"](study(report, "rlhf.budget.progress")),
    }
