"""Where a proof loses: how much of the final bound every link of its chain adds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    paper,
)

COLORS = (SKY, ORANGE, GREEN, PURPLE, VERMILION, YELLOW, GREY)
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "", "----")
FILLS = [(color, HATCHES[(i + j) % len(HATCHES)]) for j in range(3) for i, color in enumerate(COLORS)]
"""Colour and hatch of the links, in order, told apart in grey too; then they begin again."""

BEGIN: dict[str, Any] = {
    "color": BLACK,
    "marker": "D",
    "markersize": 3.0,
    "markeredgecolor": "white",
    "linestyle": "none",
}
"""The left side: also where it is negative, or too small for a bar."""


@paper()
def draw(data: Data) -> Figure:
    """A bar for each case from its left side to the final bound (1): a segment for what each link adds.

    ``labels (L,)``: the left side, then a name for each link; ``values (cases, L)``: the chain,
    non-decreasing; ``names (cases,)``; ``name``: the title. A case whose final bound is missing or not
    positive has no bar and says so.
    """
    labels, names = texts(data, "labels"), texts(data, "names")
    values = numbers(data, "values", len(names), len(labels))
    rows = [legend.wrapped(name, 36) for name in names]
    height = sum(0.13 * (1 + row.count("\n")) + 0.09 for row in rows)
    keys = -(-len(labels) // 2)
    figure = Figure(figsize=(PAGE, height + 0.15 * keys + 0.75))
    ax = figure.subplots()
    for at, chain in enumerate(values):
        _bar(ax, at, chain)
    ax.axvline(1.0, color=BLACK, linewidth=0.8, zorder=3)
    ax.axvline(0.0, color=GREY, linewidth=0.7, zorder=1)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_xlabel("part of the final bound (fraction)")
    figure.suptitle(text(data, "name"))
    begin = (Patch(facecolor=BLUE), Line2D([], [], **BEGIN))
    entries: list[legend.Entry] = [(begin, labels[0])] if labels else []
    entries += [(_patch(i), label) for i, label in enumerate(labels[1:])]
    legend.below(figure, entries, columns=2)
    return figure


def _bar(ax: Axes, at: int, chain: Array) -> None:
    if not len(chain) or not chain[-1] > 0 or np.isnan(chain).any():
        ax.annotate(
            "no positive bound", (0.0, at), (4, 0), textcoords="offset points", va="center", color=GREY
        )
        return
    share = chain / chain[-1]
    ax.barh(at, max(share[0], 0.0), color=BLUE, height=0.62)
    for i, (begin, end) in enumerate(pairwise(share)):
        # Rounding can turn an equality of the chain round; its segment is empty.
        color, hatch = FILLS[i % len(FILLS)]
        width = max(end - begin, 0.0)
        ax.barh(
            at,
            width,
            left=begin,
            height=0.62,
            facecolor=color,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            zorder=2,
        )
    ax.plot(share[0], at, clip_on=False, zorder=4, **BEGIN)


def _patch(i: int) -> Patch:
    color, hatch = FILLS[i % len(FILLS)]
    return Patch(facecolor=color, hatch=hatch, edgecolor="white")
