"""What clients lose by averaging, and how many end below where they began, against heterogeneity."""

from __future__ import annotations

from matplotlib.figure import Figure

from tabular_fedrl.plots import legend
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLUE, GREEN, GREY, ORANGE, PAGE, PURPLE, VERMILION, paper

LOOKS = (
    (BLUE, "o", "-"),
    (BLUE, "s", "--"),
    (GREEN, "^", "-"),
    (GREEN, "v", "--"),
    (VERMILION, "D", "-"),
    (VERMILION, "X", "--"),
)
"""Of the averages: one colour for each, dashed with weights."""
SHARES = ((ORANGE, "v"), (PURPLE, "o"))
"""Of the ranks."""
SPREAD = "heterogeneity (fraction)"


@paper()
def draw(data: Data) -> Figure:
    """Above: negative transfer, the mean over clients of the probability of success that averaging costs, and
    how much less it is than with the first average; below: the share of clients that end below the base, with
    its interval, and the gradients' conflict.

    ``heterogeneity (k,)``; ``labels (6,)``: the averages; ``loss, low, high (6, k)``: over suites the mean,
    the least and the largest, and ``saved, saved_low, saved_high (6, k)`` of what is less than with the
    first; ``ranks (2,)``, ``harmed, harmed_low, harmed_high (2, k)``; ``conflict (k,)``: the mean cosine
    between two clients' gradients; ``name``: the title.
    """
    spread = numbers(data, "heterogeneity", None)
    labels, ranks = texts(data, "labels", len(LOOKS)), texts(data, "ranks", len(SHARES))
    loss, low, high = (numbers(data, key, len(LOOKS), len(spread)) for key in ("loss", "low", "high"))
    saved, worst, best = (
        numbers(data, key, len(LOOKS), len(spread)) for key in ("saved", "saved_low", "saved_high")
    )
    harmed, least, most = (
        numbers(data, key, len(SHARES), len(spread)) for key in ("harmed", "harmed_low", "harmed_high")
    )
    conflict = numbers(data, "conflict", len(spread))
    figure = Figure(figsize=(PAGE, 4.6))
    (upper, gains), (shares, cosine) = figure.subplots(2, 2)
    upper.fill_between(spread, low.min(axis=0), high.max(axis=0), color=GREY, alpha=0.2, linewidth=0)
    width = 0.02 * float(spread[-1] - spread[0])
    for (color, marker, style), row in zip(LOOKS, loss):
        upper.plot(spread, row, color=color, marker=marker, linestyle=style)
    for i, (color, marker, style) in enumerate(LOOKS):
        # Side by side, so that all bars can be read.
        at = spread + (i - (len(LOOKS) - 1) / 2) * width / 2
        gains.plot(at, saved[i], color=color, marker=marker, linestyle=style)
        gains.vlines(at, worst[i], best[i], color=color, linewidth=0.7)
    for ax in (upper, gains):
        ax.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    upper.set(xlabel=SPREAD, ylabel="negative transfer (probability)")
    gains.set(xlabel=SPREAD, ylabel=f"less than with {labels[0]} (probability)")
    for i, (color, marker) in enumerate(SHARES):
        at = spread + (2 * i - 1) * width / 2
        reach = [harmed[i] - least[i], most[i] - harmed[i]]
        shares.errorbar(at, harmed[i], reach, color=color, marker=marker, linewidth=1.0, capsize=2)
    shares.set(xlabel=SPREAD, ylabel="clients below the base (fraction)")
    cosine.plot(spread, conflict, color=GREY, marker="o")
    cosine.set(xlabel=SPREAD, ylabel="cosine of two gradients (dimensionless)")
    figure.suptitle(text(data, "name"))
    entries = [legend.line(label, color=c, marker=m, linestyle=s) for label, (c, m, s) in zip(labels, LOOKS)]
    entries += [legend.line(f"share at {rank}", color=c, marker=m) for rank, (c, m) in zip(ranks, SHARES)]
    legend.below(figure, entries, columns=4)
    return figure
