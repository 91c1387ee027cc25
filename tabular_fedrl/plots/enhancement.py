"""CrossLM: how much generated items improve the clients' models, and what that costs the generator."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, PAGE, PURPLE, SKY, VERMILION, paper

WEIGHTS = ((GREY, "o"), (BLUE, "s"), (SKY, "^"), (VERMILION, "D"))
PATHS = ((GREEN, "o"), (PURPLE, "s"), (ORANGE, "D"))


@paper()
def draw(data: Data) -> Figure:
    r"""The clients' errors relative to those of their private items alone, with confidence bands: left
    against the weight of generated items after one round, right against what the generator forgot.

    ``weight (q,)``: :math:`wm/n`, positive, increasing; ``labels (k,)`` with ``error, error_low, error_high
    (k, q)``; ``paths (p,)`` with ``forgotten, path, path_low, path_high (p, r)``; ``name``: the title.
    """
    weight, labels = numbers(data, "weight", None), texts(data, "labels")
    errors = [numbers(data, f"error{end}", len(labels), len(weight)) for end in ("", "_low", "_high")]
    paths = texts(data, "paths")
    forgotten = numbers(data, "forgotten", len(paths), None)
    along = [numbers(data, f"path{end}", *forgotten.shape) for end in ("", "_low", "_high")]
    figure = Figure(figsize=(PAGE, 3.1))
    left, right = figure.subplots(1, 2)
    left.set(xscale="log", xlim=logarithmic.limits(weight, spare=1.2))
    logarithmic.plain_ticks(left.xaxis, *left.get_xlim())
    _panel(left, np.broadcast_to(logarithmic.visible(weight, 0.0), errors[0].shape), errors, WEIGHTS)
    _panel(right, forgotten, along, PATHS)
    left.set_xlabel(r"weight of the generated items $w m/n$ (dimensionless)")
    right.set_xlabel(r"forgotten: $KL(G_T\|G_0)$ (nats)")
    left.set_ylabel("error / error of private items (dimensionless)")
    figure.suptitle(text(data, "name"))
    entries = [legend.line(s, color=c, marker=m) for s, (c, m) in zip(labels, WEIGHTS)]
    entries += [legend.line(f"{s} (right)", color=c, marker=m) for s, (c, m) in zip(paths, PATHS)]
    entries.append(legend.line("private items alone", color=BLACK, linewidth=0.8))
    legend.below(figure, entries, columns=3)
    return figure


def _panel(ax: Axes, x: Array, curves: list[Array], looks: tuple[tuple[str, str], ...]) -> None:
    low, high = logarithmic.limits(*curves, np.ones(1), spare=1.15)
    ax.set(yscale="log", ylim=(low, high))
    logarithmic.plain_ticks(ax.yaxis, low, high)
    ax.axhline(1.0, color=BLACK, linewidth=0.8, zorder=1)
    for row, mean, bottom, top, (color, marker) in zip(x, *curves, looks):
        ax.fill_between(row, np.fmax(bottom, low), top, color=color, alpha=0.2, linewidth=0, zorder=2)
        logarithmic.curve(ax, row, mean, low, color=color, marker=marker, zorder=3)
