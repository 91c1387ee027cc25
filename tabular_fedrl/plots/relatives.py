"""Several algorithms on one problem, against rounds and against bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.comparison import COLORS, SHAPES
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, PAGE, VALUE, paper

ROWS = {
    "gap": rf"gap $[V_r^\star - V_r]_+$ {VALUE}",
    "violation": rf"violation $\max_j[V_{{c_j}} - d_j]_+$ {VALUE}",
}


@paper()
def draw(data: Data) -> Figure:
    r"""Gap and violation of n algorithms, averaged (solid) and of the last policy (dashed).

    ``labels (n,)``, at most seven; ``rounds (p,)``; ``bytes (n, p)`` sent so far, 0 for algorithms that do
    not communicate, which the right panels leave out; ``gap, violation (n, 2, p)``, averaged and last;
    ``bounds (n, 2)``: what theorems guarantee of averaged gap and violation at the end, NaN for nothing;
    optional ``name``: the title.
    """
    labels, rounds = texts(data, "labels"), numbers(data, "rounds", None)
    n, p = len(labels), len(rounds)
    if n > len(COLORS):
        raise InvalidProblem(f"plot data 'labels' has {n} algorithms: at most {len(COLORS)}")
    sent, bounds = numbers(data, "bytes", n, p), numbers(data, "bounds", n, 2)
    talking = [i for i in range(n) if sent[i, -1] > 0]
    figure = Figure(figsize=(PAGE, 5.0))
    axes = figure.subplots(2, 2 if talking else 1, squeeze=False)
    hidden = False
    for row, (key, label) in enumerate(ROWS.items()):
        y = numbers(data, key, n, 2, p)
        low, high = logarithmic.limits(y, bounds[:, row])
        for ax in axes[row]:
            ax.set(xscale="log", yscale="log", ylim=(low, high), ylabel=label)
            logarithmic.plain_ticks(ax.yaxis, low, high)
        for i in range(n):
            hidden |= _curves(axes[row, 0], rounds, y[i], low, i)
            if bounds[i, row] > 0:
                mark = {"marker": "_", "markersize": 9, "markeredgewidth": 1.6, "clip_on": False}
                axes[row, 0].plot(rounds[-1], bounds[i, row], color=COLORS[i], **mark)
        for i in talking:
            hidden |= _curves(axes[row, 1], sent[i], y[i], low, i)
    for column, words in zip(axes.T, ("rounds", "bytes sent, up and down")):
        for ax in column:
            ax.set_xlabel(words)
    figure.suptitle(text(data, "name"))
    entries = [legend.line(label, color=COLORS[i], marker=SHAPES[i]) for i, label in enumerate(labels)]
    entries += [
        legend.line("averaged so far", color=BLACK),
        legend.line("last policy", color=BLACK, linestyle="--", linewidth=0.8),
    ]
    if np.isfinite(bounds).any():
        entries.append(legend.line("guarantee at the end", color=BLACK, marker="_", linestyle="none"))
    if hidden:
        entries.append(legend.edge("zero or negative", BLACK))
    legend.below(figure, entries, columns=4)
    return figure


def _curves(ax: Axes, x: Array, both: Array, low: float, i: int) -> bool:
    """Averaged and last of one algorithm; whether a point lies at the bottom edge."""
    positive = np.maximum(both, 0.0)
    look: dict[str, Any] = {"color": COLORS[i], "marker": SHAPES[i], "markevery": (3 * i % 8, 8)}
    ax.plot(
        x, logarithmic.visible(positive[1], low), color=COLORS[i], linestyle="--", linewidth=0.8, alpha=0.8
    )
    ax.plot(x, logarithmic.visible(positive[0], low), **look)
    at_edge = positive[0] <= low
    if at_edge.any():
        edge = {**logarithmic.EDGE, "color": COLORS[i], "transform": ax.get_xaxis_transform()}
        ax.plot(x[at_edge][::8], np.zeros(len(x[at_edge][::8])), **edge)
    return bool(at_edge.any())
