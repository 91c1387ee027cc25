"""Logarithmic axes for data that may be zero, negative or missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tabular_fedrl.measured import Array

DECADES = 12
"""An axis spans at most this much below its largest number: what lies lower is rounding."""

EDGE: dict[str, Any] = {
    "marker": "v",
    "linestyle": "none",
    "markerfacecolor": "white",
    "clip_on": False,
    "zorder": 5,
}
"""How a point is drawn that a logarithmic axis cannot show: hollow, at the bottom edge."""


def limits(*arrays: Array, spare: float = 1.6) -> tuple[float, float]:
    """Limits that hold every positive number of ``arrays``, a factor ``spare`` at both ends.

    Without any, (0.1, 1). At least about a decade, so that a power of ten always carries a label.
    """
    x = np.concatenate([np.ravel(a) for a in arrays])
    x = x[x > 0]
    if not x.size:
        return 0.1, 1.0
    high = float(x.max()) * spare
    low = float(x[x > x.max() * 10.0**-DECADES].min()) / spare
    widen = max(1.0, np.sqrt(12.0 * low / high))
    return low / widen, high * widen


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Label 1, 2 and 5 of every decade in plain figures where a few decades hold few powers of ten."""
    if high / low < 200 and low > 1e-3 and high < 1e4:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def visible(y: Array, low: float) -> Array:
    """``y`` with NaN for what lies at or below ``low``: a line then breaks there."""
    return np.where(y > low, y, np.nan)


def curve(ax: Axes, x: Array, y: Array, low: float, **look: Any) -> bool:
    """A line through the part of ``y`` above ``low``, others at the bottom edge; True if there are any."""
    ax.plot(x, visible(y, low), **look)
    hidden = y <= low
    if hidden.any():
        edge = {**EDGE, "color": look.get("color", "black"), "transform": ax.get_xaxis_transform()}
        ax.plot(x[hidden], np.zeros(int(hidden.sum())), **edge)
    return bool(hidden.any())


def markers(n: int, shape: str = "o") -> str:
    """A marker for each of ``n`` points, or none where they would run into each other."""
    return shape if n <= 40 else ""
