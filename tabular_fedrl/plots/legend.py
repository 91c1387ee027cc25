"""One legend for the whole figure, below it: it covers no data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Entry = tuple[Artist | tuple[Artist, ...], str]
"""A sample of a look (several: one over the other), and what it stands for."""


def line(label: str, **look: Any) -> Entry:
    """The entry of a line, or of a marker with ``linestyle="none"``."""
    return Line2D([], [], **look), label


def edge(label: str, color: str, marker: str = "v") -> Entry:
    """The entry of points that stand at an axis's edge."""
    return line(label, color=color, marker=marker, linestyle="none", markerfacecolor="white")


def below(figure: Figure, entries: Sequence[Entry], columns: int) -> None:
    """Draw the legend, filled row by row in ``columns`` columns (Matplotlib fills column by column)."""
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows)
    blank: Entry = line("", linestyle="none")
    padded = [*entries, *[blank] * (rows * columns - len(entries))]
    ordered = [padded[r * columns + c] for c in range(columns) for r in range(rows)]
    # Matplotlib's annotations leave out that a handle may be a tuple.
    handles: list[Any] = [h for h, _ in ordered]
    labels = [s for _, s in ordered]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def wrapped(name: str, width: int) -> str:
    """``name`` in lines of about ``width`` characters, broken after commas only."""
    lines = [""]
    for piece in re.findall(r"[^,]*,\s*|[^,]+$", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
