"""Numbers of both signs over many decades, as colours: improvements blue, losses vermilion, nothing white."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, SymLogNorm
from matplotlib.figure import Figure

from tabular_fedrl.measured import Array
from tabular_fedrl.plots.style import BLACK, BLUE, GREY, VERMILION

COLORS = LinearSegmentedColormap.from_list("signed", [VERMILION, "#FFFFFF", BLUE])
DECADES = 3
"""Below the largest number by this much, colours fade linearly to white."""

NEARLY_NOTHING = 1e-200
"""A map of numbers smaller than this is white."""


def scale(*tables: Array) -> SymLogNorm:
    """One scale for all tables, symmetric about 0."""
    size = np.abs(np.concatenate([np.ravel(t) for t in tables]))
    most = float(size[np.isfinite(size)].max(initial=0.0))
    most = most if most > NEARLY_NOTHING else 1.0
    return SymLogNorm(linthresh=most * 10.0**-DECADES, vmin=-most, vmax=most)


def panel(ax: Axes, x: Array, y: Array, table: Array, norm: SymLogNorm) -> Any:
    """The table ``(y, x)`` on logarithmic axes, with the line on which it is 0."""
    ax.set(xscale="log", yscale="log")
    ax.grid(False)
    mesh = ax.pcolormesh(x, y, table, norm=norm, cmap=COLORS, shading="nearest", linewidth=0.25)
    # Cells that only touch show the paper between them.
    mesh.set_edgecolor("face")
    known = table[np.isfinite(table)]
    if known.size and known.min() < 0 < known.max():
        ax.contour(x, y, table, levels=[0.0], colors=BLACK, linewidths=0.9)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    return mesh


def bar(figure: Figure, mesh: Any, axes: Any, label: str) -> None:
    """The colour bar, labelled with powers of ten on both sides of 0."""
    colorbar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=28)
    most = mesh.norm.vmax
    tops = most * 10.0 ** -np.arange(0.0, DECADES)
    ticks = np.concatenate([-tops, [0.0], tops[::-1]])
    colorbar.set_ticks(ticks.tolist(), labels=[_number(t) for t in ticks])
    colorbar.ax.minorticks_off()
    colorbar.outline.set_edgecolor(GREY)
    colorbar.outline.set_linewidth(0.5)
    colorbar.set_label(label)


def _number(x: float) -> str:
    if x == 0:
        return "0"
    mantissa, exponent = f"{x:.0e}".split("e")
    power = int(exponent)
    if -3 <= power <= 3:
        return f"{float(x):.1g}".replace("-", "−")
    return rf"${mantissa}\cdot 10^{{{power}}}$"
