"""How close a theorem's bounds come to their left sides on the worst instances found."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREEN, ORANGE, PAGE, PURPLE, VERMILION, paper

LOOKS = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"))

SIGNS = {"gamma": r"discount $\gamma$", "m": "constraints, $m$", "N": "agents, $N$"} | {
    "local_steps": "local steps a round, $E$",
    "rounds": "rounds, $K$",
}
"""What an axis is called where its name is a letter of the page."""


@paper()
def draw(data: Data) -> Figure:
    """One panel for each parameter: the worst lhs/rhs found for each claim at each of its values, 1 marked.

    ``names (c,)``: the claims; ``axes (k,)``: the parameters; for each of them ``values_NAME (n,)`` and
    ``ratio_NAME (c, n)``; ``name``: the title. Values stand side by side, evenly; ratios are logarithmic,
    those that are not positive at the bottom edge.
    """
    names, parameters = texts(data, "names"), texts(data, "axes")
    values = [numbers(data, f"values_{p}", None) for p in parameters]
    ratios = [numbers(data, f"ratio_{p}", len(names), len(x)) for p, x in zip(parameters, values)]
    figure = Figure(figsize=(PAGE, 2.4))
    panels = figure.subplots(1, max(1, len(parameters)), sharey=True, squeeze=False)[0]
    low, high = logarithmic.limits(np.array([1.0]), *ratios, spare=1.3)
    hidden = False
    for ax, parameter, x, ratio in zip(panels, parameters, values, ratios):
        hidden |= _panel(ax, x, ratio, low)
        ax.set(xlabel=SIGNS.get(parameter, parameter), ylabel="worst ratio found (dimensionless)")
        # One axis for all panels, labelled at the first.
        ax.yaxis.label.set_visible(ax is panels[0])
    panels[0].set(yscale="log", ylim=(low, high))
    logarithmic.plain_ticks(panels[0].yaxis, low, high)
    figure.suptitle(text(data, "name"))
    entries = [legend.line(n, color=c, marker=m) for n, (c, m) in zip(names, _looks(len(names)))]
    entries.append(legend.line("equality", color=BLACK, linewidth=0.8))
    if hidden:
        entries.append(legend.edge("not positive", BLACK))
    legend.below(figure, entries, columns=6)
    return figure


def _panel(ax: Axes, x: Array, ratio: Array, low: float) -> bool:
    at = np.arange(len(x), dtype=np.float64)
    ax.axhline(1.0, color=BLACK, linewidth=0.8, zorder=1)
    hidden = False
    for row, (color, marker) in zip(ratio, _looks(len(ratio))):
        hidden |= logarithmic.curve(ax, at, row, low, color=color, marker=marker)
    ax.set_xticks(at, [f"{value:g}" for value in x])
    ax.set_xlim(-0.3, len(x) - 0.7)
    return hidden


def _looks(count: int) -> list[tuple[str, str]]:
    return [LOOKS[i % len(LOOKS)] for i in range(count)]
