"""What the rounds of one algorithm gain under several settings, on several data sets."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, PAGE, PURPLE, VALUE, VERMILION, paper

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
SHAPES = "os^Dv"
DECADES = 3
"""Gains smaller than the largest by more than this are drawn on a linear scale."""


@paper()
def draw(data: Data) -> Figure:
    r"""Left: the value :math:`J(\pi_k)` round by round; right: the gain :math:`J(\pi_{k+1}) - J(\pi_k)`.

    ``labels (n,)``: the settings, at most five; ``value, low, high (n, K+1)``: the median value and a band
    around it; ``typical, worst (n, K)``: the median gain of a round, and the least over the data sets;
    optional ``name``: the title.
    """
    labels = texts(data, "labels")
    value = numbers(data, "value", len(labels), None)
    low, high = (numbers(data, key, *value.shape) for key in ("low", "high"))
    typical, worst = (numbers(data, key, len(labels), value.shape[1] - 1) for key in ("typical", "worst"))
    if len(labels) > len(COLORS):
        raise InvalidProblem(f"plot data 'labels' has {len(labels)} settings: at most {len(COLORS)}")
    rounds = np.arange(value.shape[1])
    figure = Figure(figsize=(PAGE, 3.0))
    left, right = figure.subplots(1, 2)
    for color, shape, middle, bottom, top, gain, least in zip(
        COLORS, SHAPES, value, low, high, typical, worst
    ):
        marker = logarithmic.markers(len(rounds), shape)
        left.fill_between(rounds, bottom, top, color=color, alpha=0.13, linewidth=0)
        left.plot(rounds, middle, color=color, marker=marker)
        right.plot(rounds[:-1], gain, color=color, marker=marker)
        right.plot(rounds[:-1], least, color=color, linestyle=":", linewidth=1.3)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _signed(right, typical, worst)
    right.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    left.set(xlabel="round $k$", ylabel=rf"$J(\pi_k)$ {VALUE}")
    right.set(xlabel="round $k$", ylabel=rf"$J(\pi_{{k+1}}) - J(\pi_k)$ {VALUE}")
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line(label, color=color, marker=shape)
        for label, color, shape in zip(labels, COLORS, SHAPES, strict=False)
    ]
    entries.append(legend.line("worst data set", color=BLACK, linestyle=":", linewidth=1.3))
    legend.below(figure, entries, columns=5)
    return figure


def _signed(ax: Axes, *gains: Array) -> None:
    """A scale that is logarithmic on both sides of 0."""
    size = np.abs(np.concatenate([np.ravel(g) for g in gains]))
    reach = float(size[np.isfinite(size)].max(initial=0.0))
    if reach > 1e-200:
        ax.set_yscale("symlog", linthresh=reach * 10.0**-DECADES, linscale=1.0)
