"""Which statements survive when a regulariser is left out."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREY, PAGE, PALE, VERMILION, paper

COLORS = LinearSegmentedColormap.from_list("share", [VERMILION, "#FFFFFF", BLUE])


@paper()
def draw(data: Data) -> Figure:
    """The share of random rounds in which a statement (row) holds in a setting (column).

    ``statements (n,)``, ``settings (m,)``; ``share (n, m)`` in [0, 1], NaN where the statement makes no
    sense; ``name``: the title.
    """
    statements, settings = texts(data, "statements"), texts(data, "settings")
    share = numbers(data, "share", len(statements), len(settings))
    figure = Figure(figsize=(PAGE, 0.24 * len(statements) + 0.8))
    ax = figure.subplots()
    ax.set_facecolor(PALE)
    ax.grid(False)
    ax.imshow(share, cmap=COLORS, vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), x in np.ndenumerate(share):
        # White where the colour is dark.
        color = GREY if np.isnan(x) else "white" if abs(x - 0.5) > 0.35 else BLACK
        label = "n/a" if np.isnan(x) else _percent(x)
        ax.text(column, row, label, ha="center", va="center", color=color, fontsize=7)
    ax.set_yticks(range(len(statements)), statements)
    ax.set_xticks(range(len(settings)), settings)
    ax.xaxis.tick_top()
    ax.set_yticks(np.arange(len(statements) + 1) - 0.5, minor=True)
    ax.set_xticks(np.arange(len(settings) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("rounds in which it holds (fraction)")
    figure.suptitle(text(data, "name"))
    return figure


def _percent(x: float) -> str:
    """Never 100 % unless all, never 0 % unless none."""
    if 0 < x < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 < x < 1 else f"{100 * x:.0f} %"
