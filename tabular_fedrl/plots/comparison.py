"""Many methods on a few environments, round by round."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tabular_fedrl.errors import InvalidProblem
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

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
SHAPES = "os^Dv<>"


@paper()
def draw(data: Data) -> Figure:
    r"""What a method lacks to the optimum, :math:`(J^\star - J(\pi_k))/(J^\star - J(\pi_0))`, a panel per
    environment.

    ``names (p,)``: the environments; ``labels (n,)``: the methods; ``proposed (n,)``: 1 for those drawn as
    solid lines, 0 for what they are compared with, dashed (at most seven of each); ``lacking (p, n, K+1)``;
    optional ``name``: the title.
    """
    names, labels = texts(data, "names"), texts(data, "labels")
    proposed = numbers(data, "proposed", len(labels)) > 0
    lacking = numbers(data, "lacking", len(names), len(labels), None)
    if max(proposed.sum(), (~proposed).sum()) > len(COLORS):
        raise InvalidProblem(f"plot data 'labels' has {len(labels)} methods: at most {len(COLORS)} of a kind")
    looks = [_look(proposed, i) for i in range(len(labels))]
    rounds = np.arange(lacking.shape[2], dtype=np.float64)
    figure = Figure(figsize=(PAGE, 3.3))
    hidden = False
    for ax, name, table in zip(figure.subplots(1, len(names), squeeze=False)[0], names, lacking):
        low, high = logarithmic.limits(table)
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        logarithmic.plain_ticks(ax.yaxis, low, high)
        for look, y in zip(looks, table):
            hidden |= logarithmic.curve(ax, rounds, y, low, **look)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(title=name, xlabel="round $k$")
        ax.set_ylabel("lead of the optimum (fraction)")
    figure.suptitle(text(data, "name"))
    order = [*np.flatnonzero(proposed), *np.flatnonzero(~proposed)]
    entries = [legend.line(labels[i], **looks[i]) for i in order]
    if hidden:
        entries.append(legend.edge("none, or optimal", GREY))
    legend.below(figure, entries, columns=3)
    return figure


def _look(proposed: np.ndarray, i: int) -> dict[str, str]:
    """Both kinds go through the same colours."""
    kind = proposed == proposed[i]
    at = int(kind[:i].sum())
    dashed = {} if proposed[i] else {"linestyle": "--", "markerfacecolor": "white"}
    return {"color": COLORS[at], "marker": SHAPES[at], **dashed}
