"""The atlas: of every rate the measured curve beside its bound."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS

CURVES = {
    "npg": ("rates.npg", "power_rate"),
    "entropy-npg": ("rates.entropy-npg", "linear_rate"),
    "mirror-descent": ("rates.mirror-descent", "linear_rate"),
    "npg-pd": ("npg-pd.published", "power_rate"),
    "rpg-pd": ("rates.rpg-pd", "linear_rate"),
    "opg-pd": ("rates.opg-pd", "linear_rate"),
    "pmd-pd": ("rates.pmd-pd", "power_rate"),
    "crpo": ("rates.crpo", "power_rate"),
    "entropy-dual": ("rates.entropy-dual", "power_rate"),
    "decentralised": ("rates.decentralised", "power_rate"),
    "decentralised-entropy": ("rates.decentralised-entropy", "linear_rate"),
    "heterogeneous-kernels": ("rates.heterogeneous-kernels", "power_rate"),
    "common-policy": ("rates.common-policy", "profile"),
}
"""By the end of the figure's name: the theorem with its study ``curve``, and the plot."""


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    return {
        f"rate-{name}": PLOTS[plot](study(report, f"{theorem}.curve"))
        for name, (theorem, plot) in CURVES.items()
    }
