"""What differences between the clients' data cost, and what is left of a round's gain."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, signed
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREEN, ORANGE, PAGE, SKY, VALUE, VERMILION, paper

CURVES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"))
# In grey the two colours are the same: hatching tells them apart.
TIERS: tuple[dict[str, Any], ...] = (
    {"facecolor": ORANGE, "hatch": ""},
    {"facecolor": SKY, "hatch": "////"},
)
SPREAD = "spread of the clients' data (fraction)"


@paper()
def draw(data: Data) -> Figure:
    r"""Above: the two tiers :math:`\alpha H_b` and :math:`\beta D_w`, and the gain of a round, against the
    spread of the clients' data; below: the gain over the plane of the weights at one spread, for each mean.

    ``spread (k,)``; ``between, to_server (k,)``: the tiers; ``labels (3,)``: the means; ``gain (3, k)``;
    ``alpha (p,)``, ``beta (q,)``: positive, increasing; ``map (3, q, p)``; ``critical (c,)``: the alpha at
    which :math:`\bar C = 0` at the spreads ``at (c,)``, the map's last; ``name``: the title.
    """
    spread = numbers(data, "spread", None)
    between, to_server = (numbers(data, key, len(spread)) for key in ("between", "to_server"))
    labels = texts(data, "labels", len(CURVES))
    gain = numbers(data, "gain", len(CURVES), len(spread))
    alpha, beta = numbers(data, "alpha", None), numbers(data, "beta", None)
    maps = numbers(data, "map", len(CURVES), len(beta), len(alpha))
    critical = numbers(data, "critical", None)
    at = numbers(data, "at", len(critical))
    figure = Figure(figsize=(PAGE, 5.0))
    grid = figure.add_gridspec(2, 6)
    above = [figure.add_subplot(grid[0, 3 * k : 3 * k + 3]) for k in range(2)]
    below = [figure.add_subplot(grid[1, 2 * k : 2 * k + 2]) for k in range(3)]
    _tiers(above[0], spread, between, to_server)
    for (color, marker), row in zip(CURVES, gain):
        above[1].plot(spread, row, color=color, marker=marker)
    above[1].set(xlabel=SPREAD, ylabel=rf"$J(\pi_{{k+1}}) - J(\pi_k)$ {VALUE}")
    norm = signed.scale(maps)
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(critical)))
    for ax, label, table in zip(below, labels, maps):
        mesh = signed.panel(ax, alpha, beta, table, norm)
        for shade, place in zip(shades, critical):
            if alpha[0] <= place <= alpha[-1]:
                ax.axvline(place, color=shade, linestyle="--", linewidth=1.2)
        ax.set_title(label)
        ax.set_xlabel(rf"$\alpha$ {VALUE}")
    below[0].set_ylabel(rf"$\beta$ {VALUE}")
    signed.bar(figure, mesh, below, rf"gain {VALUE}")
    figure.suptitle(text(data, "name"))
    tiers = [
        (Patch(**TIERS[0], edgecolor="white"), r"$\alpha H_b$: between the clients"),
        (Patch(**TIERS[1], edgecolor="white"), r"$\beta D_w$: from the data to the server"),
    ]
    means = [legend.line(s, color=c, marker=m) for s, (c, m) in zip(labels, CURVES)]
    zero = legend.line("gain 0", color=BLACK, linewidth=0.9)
    lines = [
        legend.line(rf"$\bar C = 0$ at spread {x:.2g}", color=shade, linestyle="--", linewidth=1.2)
        for shade, x in zip(shades, at)
    ]
    legend.below(figure, [*tiers, *means, zero, *lines], columns=4)
    return figure


def _tiers(ax: Axes, spread: Array, between: Array, to_server: Array) -> None:
    ax.fill_between(spread, 0.0, between, **TIERS[0], edgecolor="white", linewidth=0)
    ax.fill_between(spread, between, between + to_server, **TIERS[1], edgecolor="white", linewidth=0)
    ax.set(xlabel=SPREAD, ylabel=f"cost no policy avoids {VALUE}")
