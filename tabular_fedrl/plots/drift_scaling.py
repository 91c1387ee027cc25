"""How the drift of DRPO's clients falls with the temperature, and when it does not."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text
from tabular_fedrl.plots.style import BLACK, BLUE, COLUMN, GREY, VALUE, VERMILION, paper


@paper()
def draw(data: Data) -> Figure:
    r"""The drift :math:`|J(\bar\pi) - \sum_i \omega_i J(\pi_i)|` against :math:`\tau = \alpha + \beta`.

    ``tau (n,)``; ``fixed, tied (n,)``: with alpha fixed, and with the ratio of the weights fixed;
    ``fixed_bound, tied_bound (n,)``: D3; ``second``: the coefficient of :math:`\tau^{-2}`; ``limit``: of the
    tied curve; ``name``: the title. Points without drift stand at the bottom edge; NaN is left out.
    """
    tau = numbers(data, "tau", None)
    curves = {key: numbers(data, key, len(tau)) for key in ("fixed", "tied", "fixed_bound", "tied_bound")}
    second, limit = float(numbers(data, "second")), float(numbers(data, "limit"))
    guide = second / tau**2
    figure = Figure(figsize=(COLUMN, 3.2))
    ax = figure.subplots()
    low, high = logarithmic.limits(*curves.values())
    ax.set(xscale="log", yscale="log", xlim=logarithmic.limits(tau, spare=1.25), ylim=(low, high))
    logarithmic.plain_ticks(ax.yaxis, low, high)
    hidden = False
    for name, color, shape in (("fixed", BLUE, "o"), ("tied", VERMILION, "s")):
        ax.plot(tau, logarithmic.visible(curves[f"{name}_bound"], low), color=color, linestyle="--", zorder=2)
        marker = logarithmic.markers(len(tau), shape)
        hidden |= logarithmic.curve(ax, tau, curves[name], low, color=color, marker=marker, zorder=4)
    ax.plot(tau, _within(guide, low, high), color=GREY, linestyle=":", zorder=3)
    if low < limit < high:
        ax.axhline(limit, color=GREY, linewidth=0.7, zorder=1)
    ax.set_xlabel(rf"$\tau = \alpha + \beta$ {VALUE}")
    ax.set_ylabel(rf"drift $|J(\bar\pi) - \Sigma_i\omega_i J(\pi_i)|$ {VALUE}")
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line(r"$\alpha$ fixed", color=BLUE, marker="o"),
        legend.line(r"$\alpha/\tau$ fixed", color=VERMILION, marker="s"),
        legend.line("bound (D3)", color=BLACK, linestyle="--"),
        legend.line(r"$|L|/\tau^2$: slope $-2$", color=GREY, linestyle=":"),
        legend.line("drift of the anchors", color=GREY, linewidth=0.7),
    ]
    if hidden:
        entries.append(legend.edge("zero", BLACK))
    legend.below(figure, entries, columns=3)
    return figure


def _within(y: Array, low: float, high: float) -> Array:
    return np.where((y > low) & (y < high), y, np.nan)
