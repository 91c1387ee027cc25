"""Slopes of curves on log-log axes, with confidence intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from tabular_fedrl.measured import Array


def slope(T: Array, y: Array, confidence: float = 0.95) -> dict[str, Any]:
    """Least-squares slope of log y against log T over the last decade of T.

    ``y`` may carry leading axes (seeds): all their points enter one fit. Returns ``{"slope", "low", "high",
    "points"}``, or
    ``{"slope": None, "reason"}`` when some value there is zero or negative (a rate of the positive part has
    no slope) or fewer than three points remain.
    """
    last = T.max() / 10 * (1 - 1e-12) <= T
    x = np.broadcast_to(np.log(T[last]), np.atleast_2d(y)[..., last].shape).ravel()
    values = np.atleast_2d(y)[..., last].ravel()
    if (values <= 0).any():
        return {"slope": None, "reason": "n/a: zero or negative"}
    if x.size < 3:
        return {"slope": None, "reason": f"n/a: {x.size} points"}
    fit = stats.linregress(x, np.log(values))
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 2) * fit.stderr)
    value = float(fit.slope)
    return {
        "slope": value,
        "low": value - half,
        "high": value + half,
        "points": int(x.size),
        "confidence": confidence,
    }
