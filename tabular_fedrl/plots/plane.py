"""The plane of cost and reward: everything a policy can achieve, and where the algorithm goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots import legend
from tabular_fedrl.plots.data import Data, numbers, text
from tabular_fedrl.plots.style import BLACK, BLUE, COLUMN, GREEN, PAGE, PALE, VALUE, VERMILION, paper

ZOOM = 0.4
"""Paths that fill less than this part of the region's width or height get a panel of their own."""

ENDS: dict[str, Any] = {"linestyle": "none", "markersize": 4.2, "zorder": 4}
"""The first and the last round of a path."""


@paper()
def draw(data: Data) -> Figure:
    r"""The exactly achievable region in the plane :math:`(V_c, V_r)`, threshold, optimum and two paths.

    ``region (p, 2)``: its boundary, in order; ``threshold``; ``optimum (2,)``; ``path_small (k, 2)`` and
    ``path_large``: the global policy round by round, its first and last marked, named by ``label_small`` and
    ``label_large``;
    optional ``name``: the title, ``cost_label, reward_label``: the axes. The infeasible side is shaded. Where
    the paths fill little of the region a second panel enlarges them.
    """
    region = numbers(data, "region", None, 2)
    threshold = float(numbers(data, "threshold"))
    optimum = numbers(data, "optimum", 2)
    paths = [
        (text(data, f"label_{which}", which), color, marker, numbers(data, f"path_{which}", None, 2))
        for which, color, marker in (("small", BLUE, "o"), ("large", GREEN, "s"))
    ]
    drawn = np.vstack([optimum[None], *(path for *_, path in paths)])
    whole, near = _window(np.vstack([drawn, region]), threshold), _window(drawn, threshold)
    zoom = bool((np.diff(near) < ZOOM * np.diff(whole)).any())
    figure = Figure(figsize=(PAGE, 3.0) if zoom else (COLUMN, 3.3))
    windows = [whole, near] if zoom else [whole]
    axes = figure.subplots(1, len(windows), squeeze=False)[0]
    for ax, window in zip(axes, windows):
        _panel(ax, window, region, threshold, optimum, paths)
        ax.set_xlabel(text(data, "cost_label", rf"$V_c(\rho)$ {VALUE}"))
    axes[0].set_ylabel(text(data, "reward_label", rf"$V_r(\rho)$ {VALUE}"))
    if zoom:
        axes[0].set_title("everything achievable")
        axes[1].set_title("the paths, enlarged")
        axes[0].plot(*_outline(near), color=BLACK, linewidth=0.5, linestyle=":")
    figure.suptitle(text(data, "name"))
    handles, labels = axes[0].get_legend_handles_labels()
    legend.below(figure, list(zip(handles, labels)), columns=4 if zoom else 2)
    return figure


def _panel(
    ax: Axes,
    window: Array,
    region: Array,
    threshold: float,
    optimum: Array,
    paths: list[tuple[str, str, str, Array]],
) -> None:
    ax.grid(False)
    ax.fill(*region.T, facecolor=PALE, edgecolor="#6B6B6B", linewidth=0.7, label="achievable", zorder=1)
    ax.axvspan(
        threshold,
        max(threshold, window[0, 1]),
        facecolor=VERMILION,
        alpha=0.13,
        linewidth=0,
        label="infeasible",
        zorder=2,
    )
    ax.axvline(threshold, color=VERMILION, linewidth=0.8, label="threshold $d$", zorder=2)
    for label, color, marker, path in paths:
        ax.plot(*path.T, color=color, linewidth=0.9, label=label, zorder=3)
        known = path[~np.isnan(path).any(axis=1)]
        ends = {**ENDS, "color": color, "marker": marker}
        ax.plot(*known[:1].T, markerfacecolor="white", **ends)
        ax.plot(*known[-1:].T, **ends)
    ax.plot(
        *optimum,
        color=BLACK,
        marker="*",
        markersize=8,
        markeredgecolor="white",
        markeredgewidth=0.4,
        linestyle="none",
        label="optimum",
        zorder=5,
    )
    look = {**ENDS, "color": BLACK, "marker": "o"}
    ax.plot([], [], markerfacecolor="white", label="first round", **look)
    ax.plot([], [], label="last round", **look)
    ax.set(xlim=window[0], ylim=window[1])


def _window(points: Array, threshold: float) -> Array:
    """``[[left, right], [bottom, top]]`` around the points and the threshold, with a margin."""
    points = points[~np.isnan(points).any(axis=1)]
    if not len(points):
        points = np.array([[threshold, 0.0]])
    low, high = points.min(axis=0), points.max(axis=0)
    low[0], high[0] = min(low[0], threshold), max(high[0], threshold)
    extent = high - low
    margin = np.where(extent > 0, 0.09 * extent, 0.05 * np.maximum(np.abs(high), 1.0))
    return np.stack([low - margin, high + margin], axis=1)


def _outline(window: Array) -> tuple[Array, Array]:
    (left, right), (bottom, top) = window
    return np.array([left, right, right, left, left]), np.array([bottom, bottom, top, top, bottom])
