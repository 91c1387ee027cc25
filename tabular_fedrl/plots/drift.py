"""How far the agents wander from the global policy within a round."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text
from tabular_fedrl.plots.style import BLACK, COLUMN, GREY, paper

FARTHEST = 2.0
"""The largest l1 distance of two distributions."""


@paper()
def draw(data: Data) -> Figure:
    r"""The drift :math:`\max_{i,s} \|\pi_i^{k,E} - \bar\pi_k\|_1` round by round and L3's bound, for each E.

    ``rounds (K,)``; ``drift (n_E, K)``; ``E (n_E,)``; ``bound (n_E,)``; ``name``: the title. Rounds without
    drift stand at the bottom edge; NaN is left out.
    """
    rounds, E = numbers(data, "rounds", None), numbers(data, "E", None)
    drift, bound = numbers(data, "drift", len(E), len(rounds)), numbers(data, "bound", len(E))
    figure = Figure(figsize=(COLUMN, 3.0))
    ax = figure.subplots()
    low, high = logarithmic.limits(drift, bound)
    ax.set(yscale="log", ylim=(low, high))
    logarithmic.plain_ticks(ax.yaxis, low, high)
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(E)))
    hidden = False
    for color, row, most in zip(colors, drift, bound):
        hidden |= logarithmic.curve(ax, rounds, row, low, color=color, zorder=3)
        if most > low:
            ax.axhline(most, color=color, linestyle="--", linewidth=0.9, zorder=2)
    if high > FARTHEST:
        ax.axhline(FARTHEST, color=GREY, linewidth=0.7, zorder=1)
    ax.set_xlabel("round $k$")
    ax.set_ylabel(r"drift $\mathrm{max}_{i,s}\,\|\pi_i^{k,E} - \bar\pi_k\|_1$ (probability)")
    figure.suptitle(text(data, "name"))
    entries = [legend.line(f"$E = {e:g}$", color=color) for color, e in zip(colors, E)]
    entries.append(legend.line("bound (L3)", color=BLACK, linestyle="--", linewidth=0.9))
    if high > FARTHEST:
        entries.append(legend.line("largest possible", color=GREY, linewidth=0.7))
    if hidden:
        entries.append(legend.edge("zero", BLACK))
    legend.below(figure, entries, columns=4)
    return figure
