"""When a round of DRPO improves: its exact gain over the plane of the two weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tabular_fedrl.plots import legend, signed
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, GREEN, PAGE, VALUE, paper

PREDICTED: dict[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 1.2}
ATTAINED: dict[str, Any] = {"color": BLACK, "linewidth": 0.9}
ASSURED: dict[str, Any] = {"color": GREEN, "linestyle": "-.", "linewidth": 1.2}


@paper()
def draw(data: Data) -> Figure:
    r"""The gain :math:`J(\pi_{k+1}) - J(\pi_k)` of one round against alpha and beta, a panel for each case.

    ``names (n,)``; ``alpha (p,)``, ``beta (q,)``: positive, increasing; ``gain (n, q, p)``; ``critical
    (n,)``: the alpha at which :math:`\bar C = 0`, NaN where there is none; ``assured (n, r)``: the beta from
    which on Theorem C assures an improvement at the alpha ``fine (r,)``, NaN where it never does; ``name``:
    the title.
    """
    names = texts(data, "names")
    alpha, beta = numbers(data, "alpha", None), numbers(data, "beta", None)
    gain = numbers(data, "gain", len(names), len(beta), len(alpha))
    critical, fine = numbers(data, "critical", len(names)), numbers(data, "fine", None)
    assured = numbers(data, "assured", len(names), len(fine))
    figure = Figure(figsize=(PAGE, 3.1))
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for ax, name, table, at, enough in zip(axes, names, gain, critical, assured):
        mesh = signed.panel(ax, alpha, beta, table, signed.scale(table))
        if alpha[0] <= at <= alpha[-1]:
            ax.axvline(at, **PREDICTED)
        ax.plot(fine, np.where(enough > 0, enough, np.nan), **ASSURED)
        signed.bar(figure, mesh, ax, rf"$J(\pi_{{k+1}}) - J(\pi_k)$ {VALUE}")
        ax.set_title(name)
        ax.set_xlabel(rf"weight of the data $\alpha$ {VALUE}")
    axes[0].set_ylabel(rf"weight of the server $\beta$ {VALUE}")
    figure.suptitle(text(data, "name"))
    entries = [
        legend.line("gain 0", **ATTAINED),
        legend.line(r"$\bar C = 0$", **PREDICTED),
        legend.line("assured above (Theorem C)", **ASSURED),
    ]
    legend.below(figure, entries, columns=3)
    return figure
