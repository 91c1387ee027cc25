"""Slopes of curves on log-log axes, with confidence intervals, and the convergence studies they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from tabular_fedrl.claims.theorem import StudyData
from tabular_fedrl.measured import Array, Measured


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


def convergence_study(
    name: str,
    sources: Sequence[str],
    T: Array,
    *,
    gap: Sequence[Sequence[Measured]],
    violation: Sequence[Sequence[Measured]],
    gap_bound: Sequence[Sequence[Measured]],
    violation_bound: Sequence[Sequence[Measured]],
    trivial: Sequence[Measured],
) -> StudyData:
    """Data of the plot ``convergence``: tables with a row per source and a column per T; slopes of every row.

    The bounds and the trivial range are drawn as medians over the sources.
    """
    curves = {
        "gap": gap,
        "violation": violation,
        "bound on the gap": gap_bound,
        "bound on the violation": violation_bound,
    }
    values = {curve: np.array([[float(x) for x in row] for row in rows]) for curve, rows in curves.items()}
    slopes = [
        {"curve": curve, "instance": source, **slope(T, row)}
        for curve, rows in values.items()
        for source, row in zip(sources, rows, strict=True)
    ]
    arrays = {
        "T": T,
        "gap": values["gap"],
        "violation": values["violation"],
        "gap_bound": np.median(values["bound on the gap"], axis=0),
        "violation_bound": np.median(values["bound on the violation"], axis=0),
        "trivial": np.median([float(x) for x in trivial]),
        "name": np.array(name),
    }
    return StudyData(arrays, {"instance": name, "slopes": slopes})
