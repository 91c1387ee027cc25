"""How often guarantees from data are wrong, and how many records it takes until there are any."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREEN, GREY, ORANGE, PAGE, PURPLE, SKY, VERMILION, paper

WRONG = ((BLUE, "o"), (GREEN, "s"), (ORANGE, "^"), (VERMILION, "D"), (PURPLE, "X"))
ISSUED = ((BLACK, "o"), (SKY, "s"), (PURPLE, "^"), (GREEN, "D"), (ORANGE, "v"), (VERMILION, "P"))

TINY = 1e-3
"""Neighbouring bars stand this far apart, in decades, times ten."""


@paper()
def draw(data: Data) -> Figure:
    r"""Left: the frequency of wrong guarantees against :math:`\delta`, with its confidence intervals and the
    line it must stay below. Right: the share of data sets for which an improvement is certified.

    ``delta (n,)``; ``rate, low, high (k, n)``: frequencies and the ends of their intervals; ``names (k,)``;
    ``records (m,)``: records per state-action pair; ``certified (c, m)``; ``certificates (c,)``: their names;
    ``name``: the title. Frequencies of zero stand at the bottom edge; NaN is left out.
    """
    delta, names = numbers(data, "delta", None), texts(data, "names")
    rate, low, high = (numbers(data, key, len(names), len(delta)) for key in ("rate", "low", "high"))
    records, certificates = numbers(data, "records", None), texts(data, "certificates")
    certified = numbers(data, "certified", len(certificates), len(records))
    figure = Figure(figsize=(PAGE, 3.0))
    left, right = figure.subplots(1, 2)
    hidden = _rates(left, delta, rate, low, high)
    for (color, marker), row in zip(ISSUED, certified):
        right.plot(records, row, color=color, marker=logarithmic.markers(len(records), marker))
    right.set(xscale="log", xlim=logarithmic.limits(records, spare=1.25), ylim=(-0.03, 1.03))
    right.set_xlabel("records per state-action pair")
    right.set_ylabel("certified data sets (fraction)")
    figure.suptitle(text(data, "name"))
    entries = [legend.line(n, color=c, marker=m) for n, (c, m) in zip(names, WRONG)]
    entries.append(legend.line("what is promised", color=BLACK, linewidth=0.8))
    if hidden:
        entries.append(legend.edge("none wrong", BLACK))
    entries += [
        legend.line(f"{n} (right)", color=c, marker=m) for n, (c, m) in zip(certificates, ISSUED)
    ]  # fmt: skip
    legend.below(figure, entries, columns=4)
    return figure


def _rates(ax: Axes, delta: Array, rate: Array, low: Array, high: Array) -> bool:
    """The left panel; whether a point of it lies at the bottom edge."""
    across = logarithmic.limits(delta, spare=1.25)
    bottom, top = logarithmic.limits(delta, rate, high)
    ax.set(xscale="log", yscale="log", xlim=across, ylim=(bottom, top))
    ax.plot(across, across, color=BLACK, linewidth=0.8, zorder=1)
    ax.fill_between(across, across, [top, top], color=GREY, alpha=0.12, linewidth=0, zorder=0)
    hidden = False
    for i, (color, marker) in enumerate(WRONG[: len(rate)]):
        # Side by side, so that intervals do not hide each other.
        at = delta * 10 ** (10 * TINY * (i - (len(rate) - 1) / 2))
        known = high[i] > bottom
        ax.vlines(at[known], np.fmax(low[i], bottom)[known], high[i][known], color=color, linewidth=0.9)
        hidden |= logarithmic.curve(
            ax, at, rate[i], bottom, color=color, marker=marker, linewidth=0.6, zorder=3
        )
    ax.set_xlabel(r"$\delta$ (probability)")
    ax.set_ylabel("frequency of wrong guarantees (probability)")
    return hidden
