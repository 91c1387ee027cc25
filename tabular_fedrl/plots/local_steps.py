"""What more local work costs: violation at a fixed step, gap at a fixed number of rounds."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, BLUE, GREY, PAGE, VALUE, VERMILION, paper

LOOKS = ((BLUE, "o"), (VERMILION, "s"))


@paper()
def draw(data: Data) -> Figure:
    """Violation and gap against E.

    Left: total violation at a fixed step, log-log, with a line of slope one as a guide. Right:
    the signed gap, at a fixed number of rounds (full) and at the fixed step (open).

    ``E (n,)``; ``violation, gap (2, n)`` at the fixed step and ``gap_fixed_rounds (2, n)``: one row for each
    aggregation, named by ``names (2,)`` (default: arithmetic, geometric); ``name``: the title. NaN is left
    out.
    """
    E = numbers(data, "E", None)
    n = len(E)
    violation, gap = numbers(data, "violation", 2, n), numbers(data, "gap", 2, n)
    at_rounds = numbers(data, "gap_fixed_rounds", 2, n)
    names = texts(data, "names", 2) if "names" in data else ["arithmetic", "geometric"]
    figure = Figure(figsize=(PAGE, 2.6))
    left, right = figure.subplots(1, 2)
    across = logarithmic.limits(E, spare=1.25)
    low, high = logarithmic.limits(violation)
    left.set(xscale="log", yscale="log", xlim=across, ylim=(low, high))
    logarithmic.plain_ticks(left.yaxis, low, high)
    right.set(xscale="log", xlim=across)
    hidden = False
    for (color, marker), *rows in zip(LOOKS, violation, at_rounds, gap):
        look = {"color": color, "marker": logarithmic.markers(n, marker)}
        hidden |= logarithmic.curve(left, E, rows[0], low, **look)
        right.plot(E, rows[1], **look)
        right.plot(E, rows[2], linestyle=":", markerfacecolor="white", **look)
    left.plot(E, _slope(E, violation) * E, color=GREY, linestyle="--", linewidth=0.8, zorder=1)
    right.axhline(0.0, color=GREY, linewidth=0.7, zorder=1)
    left.set(xlabel="local steps a round, $E$", title="at a fixed step")
    left.set_ylabel(rf"violation $\Sigma_j[\mathrm{{avg}}\,V_{{c_j}} - d_j]_+$ {VALUE}")
    right.set(
        xlabel="local steps a round, $E$", title="at a fixed number of rounds (full) or a fixed step (open)"
    )
    right.set_ylabel(rf"gap $V_r^\star - \mathrm{{avg}}\,V_r$ {VALUE}")
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line(f"{name} mean", color=color, marker=marker) for (color, marker), name in zip(LOOKS, names)
    ]
    entries += [
        legend.line("fixed step", color=GREY, linestyle=":", marker="o", markerfacecolor="white"),
        legend.line("slope of $E$", color=GREY, linestyle="--", linewidth=0.8),
    ]
    if hidden:
        entries.append(legend.edge("no violation", BLACK))
    legend.below(figure, entries, columns=5)
    return figure


def _slope(E: Array, violation: Array) -> float:
    """The guide's factor: a little above the middle one of the positive points; NaN if there is none."""
    most = np.fmax.reduce(violation, axis=0)
    at = np.flatnonzero(most > 0)
    return float(1.6 * most[at[len(at) // 2]] / E[at[len(at) // 2]]) if at.size else np.nan
