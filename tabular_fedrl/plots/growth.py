r"""How cost grows with the size of a problem: measured costs and the fitted power laws."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
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
    paper,
)

LOOKS = (
    (BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"), (BLACK, "X"),
)  # fmt: skip

COLUMNS = 3

NAMES = {
    "S": "states $S$",
    "A": "actions $A$",
    "m": "constraints $m$",
    "N": "agents $N$",
    "E": "local steps $E$",
}


@paper()
def draw(data: Data) -> Figure:
    r"""A panel for each parameter, on log-log axes: cost against its value, as a multiple of the first.

    ``parameter (k,)`` and ``work (k,)``: what grows, and what is done, for each of k series; ``size, cost (k,
    n)``, NaN where a series is shorter; ``exponent (k, 3)``: the fitted exponent and its confidence interval,
    NaN where there is none; ``name``: the title.
    """
    parameters = texts(data, "parameter")
    k = len(parameters)
    work = texts(data, "work", k)
    size = numbers(data, "size", k, None)
    cost = numbers(data, "cost", *size.shape)
    exponent = numbers(data, "exponent", k, 3)
    kinds = list(dict.fromkeys(work))
    panels = list(dict.fromkeys(parameters))
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(PAGE, 0.75 + 1.95 * lines))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, parameter in zip(axes, panels):
        chosen = [i for i in range(k) if parameters[i] == parameter]
        looks = [LOOKS[kinds.index(work[i]) % len(LOOKS)] for i in chosen]
        _panel(ax, parameter, size[chosen], cost[chosen], exponent[chosen], looks)
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line(kind, color=color, marker=marker, linestyle="none")
        for kind, (color, marker) in zip(kinds, LOOKS * len(kinds))
    ]
    entries.append(legend.line("fitted power, its exponent (95 %)", color=GREY))
    legend.below(figure, entries, columns=COLUMNS)
    return figure


def _panel(
    ax: Axes, parameter: str, size: Array, cost: Array, exponent: Array, looks: list[tuple[str, str]]
) -> None:
    relative = np.array([_relative(row) for row in cost])
    low, high = logarithmic.limits(relative)
    # Room above the points for the exponents, a line of text each.
    high *= (high / low) ** (0.16 * len(looks))
    ax.set(xscale="log", yscale="log", xlim=logarithmic.limits(size, spare=1.3), ylim=(low, high))
    logarithmic.plain_ticks(ax.xaxis, *ax.get_xlim())
    logarithmic.plain_ticks(ax.yaxis, low, high)
    ax.set_xlabel(NAMES.get(parameter, f"${parameter}$"))
    ax.set_ylabel("cost / first cost (dimensionless)")
    for place, (x, y, fit, (color, marker)) in enumerate(zip(size, relative, exponent, looks)):
        known = (x > 0) & (y > 0)
        ax.plot(x[known], y[known], color=color, marker=marker, linestyle="none", zorder=4)
        if np.isnan(fit).any() or not known.any():
            continue
        ends = np.array([x[known].min(), x[known].max()])
        level = np.exp(np.mean(np.log(y[known]) - fit[0] * np.log(x[known])))
        ax.plot(ends, level * ends ** fit[0], color=color, linewidth=0.9, zorder=3)
        label = f"{fit[0]:.2f} ({fit[1]:.2f} to {fit[2]:.2f})"
        # The marker beside the exponent says whose it is where colours do not.
        ax.scatter(0.045, 0.955 - 0.085 * place, s=9.0, color=color, marker=marker, transform=ax.transAxes)
        ax.text(
            0.09, 0.98 - 0.085 * place, label, color=color, fontsize=6.5, va="top",
            transform=ax.transAxes, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip


def _relative(cost: Array) -> Array:
    """Multiples of the first cost that is known."""
    known = cost[cost > 0]
    return cost / known[0] if known.size else np.full_like(cost, np.nan)
