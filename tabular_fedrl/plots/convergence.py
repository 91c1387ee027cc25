r"""Gap and violation against the number of local steps, with the bound and the :math:`1/\sqrt T` guide."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text
from tabular_fedrl.plots.style import BLACK, BLUE, GREY, PAGE, VALUE, VERMILION, paper


@paper()
def draw(data: Data) -> Figure:
    r"""Two panels on log-log axes: gap and total violation of the averaged iterates against T = K E.

    ``T (n,)``; ``gap, violation (seeds, n)``, signed, drawn by their positive parts as median and range over
    the seeds; ``gap_bound, violation_bound (n,)``; ``trivial``: the range of the left side, a number or one
    for each panel; ``name``: the title. Points whose positive part is zero stand at the bottom edge. NaN is
    left out.
    """
    T = numbers(data, "T", None)
    n = len(T)
    per_panel = np.ndim(data.get("trivial", 0.0)) > 0
    trivial = np.broadcast_to(numbers(data, "trivial", 2) if per_panel else numbers(data, "trivial"), 2)
    figure = Figure(figsize=(PAGE, 2.75))
    axes = figure.subplots(1, 2)
    hidden = [
        _panel(axes[0], T, numbers(data, "gap", None, n), numbers(data, "gap_bound", n), trivial[0], BLUE),
        _panel(
            axes[1],
            T,
            numbers(data, "violation", None, n),
            numbers(data, "violation_bound", n),
            trivial[1],
            VERMILION,
        ),
    ]
    axes[0].set_ylabel(rf"gap $[V_r^\star - \mathrm{{avg}}\,V_r]_+$ {VALUE}")
    axes[1].set_ylabel(rf"violation $\Sigma_j[\mathrm{{avg}}\,V_{{c_j}} - d_j]_+$ {VALUE}")
    for ax in axes:
        ax.set_xlabel("local steps $T = KE$")
    figure.suptitle(text(data, "name"))
    seeds = len(numbers(data, "gap", None, n))
    _legend(figure, seeds, any(hidden))
    return figure


def _panel(ax: Axes, T: Array, measured: Array, bound: Array, trivial: float, color: str) -> bool:
    """One panel; whether a point of it lies at the bottom edge."""
    positive = np.where(np.isnan(measured), np.nan, np.maximum(measured, 0.0))
    # fmin and fmax pass over NaN, and say nothing where a column holds nothing else.
    least, most = np.fmin.reduce(positive, axis=0), np.fmax.reduce(positive, axis=0)
    median = _median(positive)
    low, high = logarithmic.limits(least, most, bound, np.array([trivial]))
    ax.set(xscale="log", yscale="log", xlim=logarithmic.limits(T, spare=1.25), ylim=(low, high))
    logarithmic.plain_ticks(ax.yaxis, low, high)
    ax.axhline(trivial, color=GREY, linewidth=0.7, zorder=1)
    ax.plot(T, bound, color=BLACK, linestyle="--", zorder=2)
    ax.plot(T, _anchor(T, most, bound) / np.sqrt(T), color=GREY, linestyle=":", zorder=1)
    ax.fill_between(T, np.maximum(least, low), np.maximum(most, low), color=color, alpha=0.22, linewidth=0)
    return logarithmic.curve(ax, T, median, low, color=color, marker=logarithmic.markers(len(T)), zorder=4)


def _median(x: Array) -> Array:
    """Median of every column over what is known of it."""
    known = ~np.isnan(x).all(axis=0)
    out = np.full(x.shape[1], np.nan)
    out[known] = np.nanmedian(x[:, known], axis=0)
    return out


def _anchor(T: Array, most: Array, bound: Array) -> float:
    """The guide's constant: a little above the last point measured; without one, a little below the bound."""
    for y, factor in ((most, 1.7), (bound, 0.5)):
        at = np.flatnonzero(y > 0)
        if at.size:
            return float(factor * y[at[-1]] * np.sqrt(T[at[-1]]))
    return 1.0


def _legend(figure: Figure, seeds: int, hidden: bool) -> None:
    entries = [legend.line(f"median of {seeds} seeds" if seeds > 1 else "measured", color=BLACK, marker="o")]
    if seeds > 1:
        entries.append(legend.line("range over seeds", color=BLACK, alpha=0.25, linewidth=5))
    entries += [
        legend.line("bound", color=BLACK, linestyle="--"),
        legend.line(r"slope of $1/\sqrt{T}$", color=GREY, linestyle=":"),
        legend.line("trivial range", color=GREY, linewidth=0.7),
    ]
    if hidden:
        entries.append(legend.edge("zero or negative", BLACK))
    legend.below(figure, entries, columns=6)
