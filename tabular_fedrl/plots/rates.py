"""A measured curve beside its bound, with the fitted rate: power laws, linear convergence, plain profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend, logarithmic
from tabular_fedrl.plots.comparison import COLORS, SHAPES
from tabular_fedrl.plots.data import Data, numbers, text, texts
from tabular_fedrl.plots.style import BLACK, PAGE, paper

COLUMNS = 3
LABELS_BELOW = 30.0
"""From the axes down to their legend, in points: the numbers and the label of the axis stand between."""
ROW = 0.145
"""Height of a legend's row, in inches."""

BOUND: dict[str, Any] = {"linestyle": "--", "linewidth": 0.9, "markerfacecolor": "white"}


@dataclass(frozen=True)
class Scale:
    """Scales of the axes; how a fitted number is called, and written."""

    x: str
    y: str
    fitted: str
    form: str


POWER = Scale("log", "log", "slope", ".2f")
LINEAR = Scale("linear", "log", "factor", ".4f")
PLAIN = Scale("linear", "linear", "", "")
LOG = Scale("log", "log", "", "")


@paper()
def draw(data: Data, scale: Scale) -> Figure:
    r"""Panels side by side, a legend below each.

    A row for each of k curves: ``panel (k,)``: the title of its panel; ``ylabel (k,)``; ``labels (k,)``, at
    most seven in a panel; ``x (k, n)``; ``measured, bound (k, n)``, NaN where there is nothing (a row without
    ``measured`` is one more bound); ``fitted (k, n)``: the fitted line where it was fitted, NaN elsewhere;
    ``fit (k, 3)``: its slope, or its factor a round, and the confidence interval; ``xlabel (1,)``; ``name``:
    the title.
    """
    titles = texts(data, "panel")
    k = len(titles)
    labels, ylabels, (xlabel,) = texts(data, "labels", k), texts(data, "ylabel", k), texts(data, "xlabel", 1)
    x = numbers(data, "x", k, None)
    if scale.x == "log":
        x = logarithmic.visible(x, 0.0)
    tables = {key: numbers(data, key, *x.shape) for key in ("measured", "bound", "fitted")}
    fit = numbers(data, "fit", k, 3)
    panels = list(dict.fromkeys(titles))
    chosen = [[i for i in range(k) if titles[i] == title] for title in panels]
    most = max(len(rows) for rows in chosen)
    if most > len(COLORS):
        raise InvalidProblem(f"plot data 'panel' has {most} curves in a panel: at most {len(COLORS)}")
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(PAGE, 0.5 + lines * (2.35 + ROW * most)))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    hidden = False
    for ax, title, rows in zip(axes, panels, chosen):
        ax.set(title=title, xlabel=xlabel, ylabel=ylabels[rows[0]])
        hidden |= _panel(ax, x[rows], {key: y[rows] for key, y in tables.items()}, scale)
        looks = [{} if np.isfinite(tables["measured"][i]).any() else BOUND for i in rows]
        beneath(ax, [labels[i] + fitted(fit[i], scale) for i in rows], looks)
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.suptitle(text(data, "name"))
    entries = []
    if np.isfinite(tables["bound"]).any():
        entries += [
            legend.line("measured", color=BLACK, marker="o"),
            legend.line("bound", color=BLACK, marker="o", **BOUND),
        ]
    if np.isfinite(fit).any():
        entries.append(legend.line(f"fitted {scale.fitted} (95 %)", color=BLACK, linestyle=":"))
    if hidden:
        entries.append(legend.edge("zero or negative", BLACK))
    if entries:
        legend.below(figure, entries, columns=4)
    return figure


def _panel(ax: Axes, x: Array, tables: dict[str, Array], scale: Scale) -> bool:
    """The curves of a panel; whether a point of them lies at the bottom edge."""
    ax.set(xscale=scale.x, yscale=scale.y)
    low = -np.inf
    if scale.x == "log":
        ax.set_xlim(logarithmic.limits(x, spare=1.15))
        logarithmic.plain_ticks(ax.xaxis, *ax.get_xlim())
    if scale.y == "log":
        low, high = logarithmic.limits(tables["measured"], tables["bound"])
        ax.set_ylim(low, high)
        logarithmic.plain_ticks(ax.yaxis, low, high)
    hidden = False
    for i, at in enumerate(x):
        color, marker = COLORS[i], SHAPES[i]
        y, bound = tables["measured"][i], tables["bound"][i]
        every = max(1, int(np.isfinite(y).sum()) // 8)
        places = (i % every, every)
        hidden |= logarithmic.curve(ax, at, y, low, color=color, marker=marker, markevery=places, zorder=4)
        known = np.isfinite(at) & np.isfinite(bound)
        # Where bounds coincide their markers alternate.
        places = (i, max(1, len(x), int(known.sum()) // 8))
        ax.plot(at[known], bound[known], color=color, marker=marker, markevery=places, **BOUND, zorder=3)
        ax.plot(at, tables["fitted"][i], color=BLACK, linestyle=":", linewidth=0.9, zorder=5)
    return hidden


def fitted(fit: Array, scale: Scale) -> str:
    """The fitted number with its interval; nothing where there is none."""
    if not np.isfinite(fit).all():
        return ""
    value, low, high = (f"{number:{scale.form}}".replace("-", "\N{MINUS SIGN}") for number in fit)
    return f": {scale.fitted} {value} ({low} to {high})"


def beneath(ax: Axes, labels: list[str], looks: Sequence[dict[str, Any]] = ()) -> None:
    """Below the axes, a row for each curve: its look, if another than a measured curve's, and its label."""
    figure = ax.get_figure()
    assert figure is not None
    handles: list[Any] = []
    for i, look in enumerate(looks or [{}] * len(labels)):
        handles.append(legend.line("", color=COLORS[i], marker=SHAPES[i], **look)[0])
    below = ax.transAxes + ScaledTranslation(0.0, -LABELS_BELOW / 72, figure.dpi_scale_trans)
    ax.legend(
        handles, labels,
        loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, borderaxespad=0.0,
    )  # fmt: skip


power, linear, profile, log_profile = (partial(draw, scale=scale) for scale in (POWER, LINEAR, PLAIN, LOG))
