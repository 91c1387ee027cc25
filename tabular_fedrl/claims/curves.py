"""Studies of rates: measured curves beside what a theorem says of them, with the fitted slope or factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tabular_fedrl.claims.slopes import factor, last_decade, second_half, slope
from tabular_fedrl.claims.theorem import StudyData
from tabular_fedrl.measured import Array, Measured

PRECISE = 100.0
"""A number is shown if it is this many times its error: smaller ones may be rounding."""


@dataclass(frozen=True)
class Panel:
    """One quantity on one problem: its ``title``, and the label of its axis, with the unit."""

    title: str
    ylabel: str


@dataclass(frozen=True)
class Curve:
    """``measured (n,)`` at ``x (n,)`` and the ``bound (n,)`` of a theorem; either may be missing."""

    panel: Panel
    label: str
    x: np.ndarray[Any, Any]
    measured: Measured | None
    bound: Measured | None = None


@dataclass(frozen=True)
class Law:
    """What is fitted where; on the scale ``straight`` of x it is a straight line in log y, whose slope is
    ``steepness`` of the fitted number."""

    name: str
    fit: Callable[[Array, Array], dict[str, Any]]
    window: Callable[[Array], Any]
    straight: Callable[[Array], Array]
    steepness: Callable[[Any], Any]
    form: str


POWER = Law("slope", slope, last_decade, np.log, np.asarray, ".3f")
LINEAR = Law("factor", factor, second_half, np.asarray, np.log, ".5f")


@dataclass(frozen=True)
class Fit:
    """``number``: the slope or factor and its confidence interval, NaN without one; ``line (n,)``: the fitted
    line where it was fitted; ``words``: number and interval for a table, or why there are none."""

    line: Array
    number: Array = field(default_factory=lambda: np.full(3, np.nan))
    words: tuple[str, str] = ("–", "–")


def power_study(name: str, mark: str, xlabel: str, curves: Sequence[Curve]) -> StudyData:
    """Data of the plot ``power_rate``: slopes over the last decade of x."""
    return _study(name, mark, xlabel, curves, POWER)


def linear_study(name: str, mark: str, xlabel: str, curves: Sequence[Curve]) -> StudyData:
    """Data of the plot ``linear_rate``: factors a round over the second half of what is shown."""
    return _study(name, mark, xlabel, curves, LINEAR)


def profile_study(name: str, mark: str, xlabel: str, curves: Sequence[Curve]) -> StudyData:
    """Data of the plots ``profile`` and ``log_profile``, to which nothing is fitted."""
    return _study(name, mark, xlabel, curves, None)


def _study(name: str, mark: str, xlabel: str, curves: Sequence[Curve], law: Law | None) -> StudyData:
    """The arrays of the plot, the ``error`` of what was measured besides, and a table of what was fitted."""
    columns: dict[str, list[Array]] = {}
    rows = []
    for curve in curves:
        least = PRECISE if law else 0.0
        x, y, bound = curve.x, _shown(curve.measured, curve.x, least), _shown(curve.bound, curve.x, least)
        error = np.full(len(x), np.nan) if curve.measured is None else curve.measured.error
        fit, other = (_fit(law, x, z) for z in (y, bound))
        arrays = {
            "x": x,
            "measured": y,
            "error": error,
            "bound": bound,
            "fitted": fit.line,
            "fit": fit.number,
        }
        for key, row in arrays.items():
            columns.setdefault(key, []).append(np.asarray(row, dtype=np.float64))
        if law is not None and curve.measured is not None:
            known = ~np.isnan(y) & ~np.isnan(bound)
            ratio = f"{(y[known] / bound[known]).max():.3g}" if known.any() else "–"
            rows.append([f"{curve.panel.title}; {curve.label}", *fit.words, other.words[0], ratio])
    data = {
        "panel": np.array([curve.panel.title for curve in curves]),
        "ylabel": np.array([curve.panel.ylabel for curve in curves]),
        "labels": np.array([curve.label for curve in curves]),
        "xlabel": np.array([xlabel]),
        "name": np.array(f"{name} (mark: {mark})"),
        **{key: _table(parts) for key, parts in columns.items()},
    }
    if law is None:
        return StudyData(data)
    head = ["curve", law.name, "95 % interval", f"{law.name} of the bound", "largest measured/bound"]
    return StudyData(data, {"tables": [{"title": f"Fitted {law.name}s", "head": head, "rows": rows}]})


def _shown(x: Measured | None, like: np.ndarray[Any, Any], least: float) -> Array:
    """The numbers that are at least ``least`` times their error, NaN elsewhere."""
    if x is None:
        return np.full(len(like), np.nan)
    known = np.isfinite(x.error) & (np.abs(x.value) >= least * x.error)
    return np.where(known, x.value, np.nan)


def _fit(law: Law | None, x: np.ndarray[Any, Any], y: Array) -> Fit:
    line = np.full(len(x), np.nan)
    known = np.flatnonzero(~np.isnan(y))
    if law is None or not known.size:
        return Fit(line)
    found = law.fit(x[known], y[known])
    if found[law.name] is None:
        return Fit(line, words=(found["reason"], "–"))
    number = np.array([found[law.name], found["low"], found["high"]])
    used = known[law.window(x[known])]
    at = law.straight(x[used])
    line[used] = np.exp(np.log(y[used]).mean() + law.steepness(number[0]) * (at - at.mean()))
    value, low, high = (f"{z:{law.form}}" for z in number)
    return Fit(line, number, (value, f"[{low}, {high}]"))


def _table(rows: Sequence[Array]) -> Array:
    """Rows of any lengths as one table, NaN where a row has ended."""
    n = max(map(len, rows))
    return np.array([np.append(row, np.full(n - len(row), np.nan)) for row in rows])
