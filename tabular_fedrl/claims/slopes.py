"""Slopes of curves on log-log axes and factors on semilogarithmic ones, with confidence intervals, and the
convergence studies they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from tabular_fedrl.claims.theorem import StudyData
from tabular_fedrl.measured import Array, Measured


def last_decade(T: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The points of ``T (n,)`` that :func:`slope` is fitted to."""
    return T.max() / 10 * (1 - 1e-12) <= T


def second_half(T: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The points of ``T (n,)`` that :func:`factor` is fitted to."""
    return (T.min() + T.max()) / 2 <= T


def slope(T: Array, y: Array, confidence: float = 0.95) -> dict[str, Any]:
    """Least-squares slope of log y against log T over the last decade of T.

    ``y`` may carry leading axes (seeds): all their points enter one fit. Returns ``{"slope", "low", "high",
    "points", "confidence"}``, or ``{"slope": None, "reason"}`` when some value there is zero or negative (a
    rate of the positive part has no slope) or fewer than three points remain.
    """
    last = last_decade(T)
    fit = _straight(np.log(T[last]), np.atleast_2d(y)[..., last], confidence)
    if isinstance(fit, str):
        return {"slope": None, "reason": fit}
    value, half, points = fit
    return {
        "slope": value,
        "low": value - half,
        "high": value + half,
        "points": points,
        "confidence": confidence,
    }


def factor(T: Array, y: Array, confidence: float = 0.95) -> dict[str, Any]:
    """The factor f by which y shrinks from T to T+1: log f is the least-squares slope of log y against T over
    the second half of T. Returns the same as :func:`slope`, with ``factor``."""
    half_of_T = second_half(T)
    fit = _straight(T[half_of_T], np.atleast_2d(y)[..., half_of_T], confidence)
    if isinstance(fit, str):
        return {"factor": None, "reason": fit}
    value, half, points = fit
    number, low, high = (float(np.exp(x)) for x in (value, value - half, value + half))
    return {"factor": number, "low": low, "high": high, "points": points, "confidence": confidence}


def _straight(x: Array, y: Array, confidence: float) -> tuple[float, float, int] | str:
    """Slope of log ``y (..., n)`` against ``x (n,)``, half of its confidence interval, the number of points;
    or why there is none."""
    at, values = np.broadcast_to(x, y.shape).ravel(), y.ravel()
    if not (values > 0).all():
        return "n/a: zero or negative"
    if at.size < 3:
        return f"n/a: {at.size} points"
    fit = stats.linregress(at, np.log(values))
    half = float(stats.t.ppf(0.5 + confidence / 2, at.size - 2) * fit.stderr)
    return float(fit.slope), half, int(at.size)


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
