"""Learning from one's own successes: round by round, and against the rank of the adapters."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLUE, GREEN, ORANGE, PAGE, PURPLE, SKY, VERMILION, paper

SETTINGS = ((BLUE, "o", "-"), (SKY, "s", "--"), (VERMILION, "^", "-"), (ORANGE, "D", "--"))
RANKS = ((GREEN, "o", "-"), (GREEN, "s", ":"), (PURPLE, "o", "-"), (PURPLE, "s", ":"))


@paper()
def draw(data: Data) -> Figure:
    """Left: the mean probability of success in every round, and its range over seeds; right: after the last
    one, against the rank.

    ``labels (4,)``, ``value, low, high (4, T+1)``; ``ranks (k,)``: names in their order, ``rank_labels
    (4,)``, ``by_rank (4, k)``; ``name``: the title.
    """
    labels, lines = texts(data, "labels", len(SETTINGS)), texts(data, "rank_labels", len(RANKS))
    value = numbers(data, "value", len(SETTINGS), None)
    low, high = (numbers(data, key, *value.shape) for key in ("low", "high"))
    ranks = texts(data, "ranks")
    by_rank = numbers(data, "by_rank", len(RANKS), len(ranks))
    figure = Figure(figsize=(PAGE, 3.0))
    left, right = figure.subplots(1, 2)
    rounds = np.arange(value.shape[1])
    for (color, marker, style), row, least, most in zip(SETTINGS, value, low, high):
        left.fill_between(rounds, least, most, color=color, alpha=0.15, linewidth=0)
        left.plot(rounds, row, color=color, linestyle=style, marker=logarithmic.markers(len(rounds), marker))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="round $t$", ylabel="success (probability)")
    for (color, marker, style), row in zip(RANKS, by_rank):
        right.plot(np.arange(len(ranks)), row, color=color, linestyle=style, marker=marker)
    right.set_xticks(range(len(ranks)), ranks)
    right.set(xlabel="rank $r$ of the adapters", ylabel="success (probability)")
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line(label, color=c, marker=m, linestyle=s)
        for label, (c, m, s) in zip([*labels, *lines], SETTINGS + RANKS)
    ]
    legend.below(figure, entries, columns=4)
    return figure
