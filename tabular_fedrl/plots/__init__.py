"""Figures from arrays: a function of :data:`PLOTS` draws a study's data, :func:`save` writes the ``Figure``.

Nothing here runs an algorithm or touches pyplot: a figure is a value, and the same data give the same bytes
on the same versions.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from tabular_fedrl.plots import (
    ablations,
    balance_map,
    certificates,
    comparison,
    convergence,
    drift,
    drift_scaling,
    enhancement,
    evolution,
    forgetting,
    growth,
    heterogeneity,
    improvement,
    local_steps,
    looseness,
    plane,
    rates,
    ratios,
    relatives,
    slack,
    transfer,
)
from tabular_fedrl.plots.data import Data
from tabular_fedrl.plots.style import paper, save

PLOTS: dict[str, Callable[[Data], Figure]] = {
    "convergence": convergence.draw,
    "local_steps": local_steps.draw,
    "plane": plane.draw,
    "drift": drift.draw,
    "slack": slack.draw,
    "ratios": ratios.draw,
    "looseness": looseness.draw,
    "improvement": improvement.draw,
    "false_certificates": certificates.draw,
    "balance_map": balance_map.draw,
    "heterogeneity": heterogeneity.draw,
    "drift_scaling": drift_scaling.draw,
    "ablations": ablations.draw,
    "comparison": comparison.draw,
    "enhancement": enhancement.draw,
    "forgetting": forgetting.draw,
    "growth": growth.draw,
    "relatives": relatives.draw,
    "power_rate": rates.power,
    "linear_rate": rates.linear,
    "profile": rates.profile,
    "log_profile": rates.log_profile,
    "transfer": transfer.draw,
    "evolution": evolution.draw,
}
"""By name, as :func:`tabular_fedrl.claims.study` gives it."""

__all__ = ["PLOTS", "paper", "save"]
