"""How tight every claim was seen to be."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREY, PAGE, VERMILION, paper

ROWS = 60
"""Claims in one panel before a second one stands beside it."""

FLOOR = 1e-6
"""Smaller ratios stand at the left edge: that a bound is loose by a million is all there is to say."""

ROUNDING = 1e-9
"""A ratio this close to 1 is an equality."""


@paper()
def draw(data: Data) -> Figure:
    """One dot for each claim: its largest lhs/rhs over all instances, on a logarithmic axis, with 1 marked.

    ``labels (claims,)``; ``ratio (claims,)``: below 1 the claim holds with room, at 1 it is attained, above 1
    (another colour and shape) it fails; ratios that are not positive, or too small to show, stand at the left
    edge, and claims without one (NaN) say so. ``name``: the title.
    """
    labels = texts(data, "labels")
    ratio = numbers(data, "ratio", len(labels))
    panels = max(1, -(-len(labels) // ROWS))
    # Rows are spread evenly; two panels fill the page's width.
    rows = max(1, -(-len(labels) // panels))
    figure = Figure(figsize=(PAGE, min(9.0, 0.135 * rows + 0.9)))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    shown = ratio[ratio > FLOOR]
    low, high = logarithmic.limits(shown, np.array([1.0]))
    for i, ax in enumerate(axes):
        part = slice(i * rows, (i + 1) * rows)
        _panel(ax, labels[part], ratio[part], rows, (low, high))
    figure.suptitle(text(data, "name"))
    if (ratio > 1 + ROUNDING).any() or (ratio <= low).any():
        legend.below(figure, _entries(ratio, low), columns=5)
    return figure


def _panel(ax: Axes, labels: list[str], ratio: Array, rows: int, limits: tuple[float, float]) -> None:
    at = np.arange(len(labels))
    ax.set(xscale="log", xlim=limits, ylim=(rows - 0.4, -0.6))
    ax.set_xlabel("largest lhs/rhs (dimensionless)")
    logarithmic.plain_ticks(ax.xaxis, *limits)
    ax.set_yticks(at, labels)
    ax.tick_params(axis="y", length=0)
    ax.axvline(1.0, color=BLACK, linewidth=0.8, zorder=1)
    broken, hidden = ratio > 1 + ROUNDING, ratio <= limits[0]
    sound = ~broken & ~hidden & ~np.isnan(ratio)
    ax.plot(ratio[sound], at[sound], color=BLUE, marker="o", linestyle="none", zorder=3)
    ax.plot(
        ratio[broken], at[broken], color=VERMILION, marker="X", markersize=4.5, linestyle="none", zorder=3
    )
    # Only where there are points: an empty line that is not clipped takes room at the corner of the page.
    if hidden.any():
        edge = {**logarithmic.EDGE, "marker": "<", "color": BLUE, "transform": ax.get_yaxis_transform()}
        ax.plot(np.zeros(int(hidden.sum())), at[hidden], **edge)
    for y in at[np.isnan(ratio)]:
        ax.annotate(
            "no ratio",
            (0.0, y),
            (4, 0),
            ax.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            color=GREY,
            fontsize=6,
        )


def _entries(ratio: Array, low: float) -> list[legend.Entry]:
    entries = [
        legend.line("at most 1", color=BLUE, marker="o", linestyle="none"),
        legend.line("equality", color=BLACK, linewidth=0.8),
    ]
    if (ratio > 1 + ROUNDING).any():
        entries.append(legend.line("above 1", color=VERMILION, marker="X", linestyle="none"))
    if (ratio <= low).any():
        entries.append(legend.edge("not positive, or below the axis", BLUE, marker="<"))
    return entries
