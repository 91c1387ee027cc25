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
from tabular_fedrl.plots.rates import POWER, ROW, beneath, fitted
from tabular_fedrl.plots.style import BLACK, PAGE, VALUE, paper

ROWS = {
    "gap": rf"gap $[V_r^\star - V_r]_+$ {VALUE}",
    "violation": rf"violation $\max_j[V_{{c_j}} - d_j]_+$ {VALUE}",
}
KINDS = "averaged so far", "last policy"

GUARANTEE: dict[str, Any] = {
    "linestyle": "none", "markersize": 5.5, "markerfacecolor": "white", "clip_on": False, "zorder": 6,
}  # fmt: skip
"""A bound: the algorithm's marker, hollow."""
DASHED: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8, "alpha": 0.8}


@paper()
def draw(data: Data) -> Figure:
    r"""Gap and violation of n algorithms: averaged and of the last policy against rounds, both against bytes.

    ``labels (n,)``, at most seven; ``rounds (p,)``; ``bytes (n, p)`` sent so far, 0 for algorithms that do
    not communicate, which the right panels leave out; ``gap, violation (n, 2, p)``, averaged and last;
    ``bounds (n, 2)``: what theorems guarantee of averaged gap and violation at the end, NaN for nothing;
    ``slopes (n, 2, 2, 3)``: of gap and violation, averaged and last, the slope at the end and its confidence
    interval, NaN for none; optional ``name``: the title.
    """
    labels, rounds = texts(data, "labels"), numbers(data, "rounds", None)
    n, p = len(labels), len(rounds)
    if n > len(COLORS):
        raise InvalidProblem(f"plot data 'labels' has {n} algorithms: at most {len(COLORS)}")
    sent, bounds = numbers(data, "bytes", n, p), numbers(data, "bounds", n, 2)
    slopes = numbers(data, "slopes", n, 2, 2, 3)
    talking = [i for i in range(n) if sent[i, -1] > 0]
    lines = sum(_entry(name, np.zeros(3)).count("\n") + 1 for name in labels)
    figure = Figure(figsize=(PAGE, 0.7 + 2 * (2.3 + ROW * (lines + 1))))
    axes = figure.subplots(2, 3 if talking else 2, squeeze=False)
    hidden = False
    for row, (key, label) in enumerate(ROWS.items()):
        y = numbers(data, key, n, 2, p)
        low, high = logarithmic.limits(y, bounds[:, row])
        for ax in axes[row]:
            ax.set(xscale="log", yscale="log", ylim=(low, high), xlabel="rounds", ylabel=label)
            logarithmic.plain_ticks(ax.yaxis, low, high)
        for kind, words in enumerate(KINDS):
            ax = axes[row, kind]
            ax.set_title(words)
            for i in range(n):
                hidden |= _curve(ax, rounds, y[i, kind], low, i)
            beneath(ax, [_entry(name, slopes[i, row, kind]) for i, name in enumerate(labels)])
        ends = [(axes[row, 0], np.full(n, rounds[-1]), list(range(n)))]
        if talking:
            ax = axes[row, 2]
            ax.set(title="both", xlabel="bytes sent, up and down")
            for i in talking:
                ax.plot(sent[i], logarithmic.visible(y[i, 1], low), color=COLORS[i], **DASHED)
                hidden |= _curve(ax, sent[i], y[i, 0], low, i)
            ends.append((ax, sent[:, -1], talking))
        for ax, last, shown in ends:
            for i in shown:
                if bounds[i, row] > 0:
                    ax.plot(last[i], bounds[i, row], color=COLORS[i], marker=SHAPES[i], **GUARANTEE)
    figure.suptitle(text(data, "name"))
    entries = [legend.line("measured", color=BLACK, marker="o")]
    if talking:
        entries.append(legend.line("last policy, against bytes", color=BLACK, **DASHED))
    if np.isfinite(bounds).any():
        entries.append(legend.line("guarantee at the end", color=BLACK, marker="o", **GUARANTEE))
    if hidden:
        entries.append(legend.edge("zero or negative", BLACK))
    entries.append(legend.line("slope: of the last decade, with its 95 % interval", linestyle="none"))
    legend.below(figure, entries, columns=3)
    return figure


def _entry(name: str, slope: Array) -> str:
    """A row of a panel's legend; a long name stands on lines of its own."""
    number = fitted(slope, POWER)
    lines = legend.wrapped(name, 28)
    return lines + (number if len(name) <= 12 else number.replace(": ", ":\n", 1))


def _curve(ax: Axes, x: Array, y: Array, low: float, i: int) -> bool:
    """One algorithm; whether a point lies at the bottom edge."""
    look: dict[str, Any] = {"color": COLORS[i], "marker": SHAPES[i], "markevery": (3 * i % 8, 8)}
    ax.plot(x, logarithmic.visible(y, low), **look)
    at_edge = y <= low
    if at_edge.any():
        edge = {**logarithmic.EDGE, "color": COLORS[i], "transform": ax.get_xaxis_transform()}
        ax.plot(x[at_edge][::8], np.zeros(len(x[at_edge][::8])), **edge)
    return bool(at_edge.any())
