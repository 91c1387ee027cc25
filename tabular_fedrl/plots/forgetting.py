"""CrossLM: what a generator forgets for what the clients' scores gain, and the budget for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text
from tabular_fedrl.plots.style import BLUE, GREEN, GREY, PAGE, VERMILION, paper

TILT, FILTER = (BLUE, "o"), (VERMILION, "D")
BY_GAIN: dict[str, Any] = {"color": GREEN, "linestyle": "--"}
BY_SPAN: dict[str, Any] = {"color": GREY, "linestyle": ":"}


@paper()
def draw(data: Data) -> Figure:
    r"""Left: :math:`KL(G_1\|G_0)` of one update against the gain of the mean score; right:
    :math:`KL(G_T\|G_0)` against the number of rounds.

    ``gain, tilt, budget (r,)``: of tilts of growing strength, the budget being :math:`\eta` times the gain;
    ``filter (4,)``: the filter's gain, its divergence and the ends of that one's confidence interval;
    ``rounds (T,)``; ``divergence, divergence_low, divergence_high (2, T)``: of the tilt and the filter;
    ``paid, spans (T,)``: the tilt's budgets, by the gain and by the spans of the scores; ``name``: the title.
    """
    gain = numbers(data, "gain", None)
    tilt, budget = (numbers(data, key, len(gain)) for key in ("tilt", "budget"))
    kept, rounds = numbers(data, "filter", 4), numbers(data, "rounds", None)
    bands = [numbers(data, f"divergence{end}", 2, len(rounds)) for end in ("", "_low", "_high")]
    paid, spans = (numbers(data, key, len(rounds)) for key in ("paid", "spans"))
    figure = Figure(figsize=(PAGE, 2.9))
    left, right = figure.subplots(1, 2)
    _once(left, gain, tilt, budget, kept)
    _over_rounds(right, rounds, bands, paid, spans)
    figure.suptitle(text(data, "name"))
    looks = (("tilt", TILT), ("filter", FILTER))
    entries = [legend.line(name, color=color, marker=marker) for name, (color, marker) in looks]
    entries += [
        legend.line(r"budget of the tilt: $\eta$ times the gain", **BY_GAIN),
        legend.line(r"$\eta$ times the spans of the scores (right)", **BY_SPAN),
    ]
    legend.below(figure, entries, columns=2)
    return figure


def _once(ax: Axes, gain: Array, tilt: Array, budget: Array, kept: Array) -> None:
    across = logarithmic.limits(gain, kept[:1], spare=1.25)
    low, high = logarithmic.limits(tilt, budget, kept[1:], spare=1.4)
    ax.set(xscale="log", yscale="log", xlim=across, ylim=(low, high))
    x = logarithmic.visible(gain, 0.0)
    ax.plot(x, logarithmic.visible(budget, low), **BY_GAIN)
    logarithmic.curve(ax, x, tilt, low, color=TILT[0], marker=TILT[1], markersize=3)
    if across[0] < kept[0] < across[1] and low < kept[1] < high:
        ax.vlines(kept[0], max(kept[2], low), kept[3], color=FILTER[0], linewidth=0.9, zorder=4)
        ax.plot(kept[0], kept[1], color=FILTER[0], marker=FILTER[1], linestyle="none", zorder=4)
    ax.set_xlabel(r"gain of the mean score $E_{G_1}\bar s - E_{G_0}\bar s$ (dimensionless)")
    ax.set_ylabel(r"forgotten in a round: $KL(G_1\|G_0)$ (nats)")


def _over_rounds(ax: Axes, rounds: Array, bands: list[Array], paid: Array, spans: Array) -> None:
    ax.plot(rounds, paid, **BY_GAIN)
    ax.plot(rounds, spans, **BY_SPAN)
    for mean, bottom, top, (color, marker) in zip(*bands, (TILT, FILTER)):
        ax.fill_between(rounds, bottom, top, color=color, alpha=0.2, linewidth=0)
        ax.plot(rounds, mean, color=color, marker=logarithmic.markers(len(rounds), marker))
    high = np.nanmax(np.concatenate([spans, paid, *bands, [0.0]], axis=None))
    ax.set_ylim(0.0, 1.08 * high if high > 0 else 1.0)
    ax.set_xlabel("rounds T")
    ax.set_ylabel(r"forgotten: $KL(G_T\|G_0)$ (nats)")
