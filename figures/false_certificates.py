"""How often DRPO's guarantees from data are wrong, against delta, and how many records they take."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from figures.data import study
from tabular_fedrl.plots import PLOTS


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name."""
    data = study(report, "drpo.false-certificates.rates")
    return {"false-certificates": PLOTS["false_certificates"](data)}
