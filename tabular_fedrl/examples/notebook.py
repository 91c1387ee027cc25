"""The notebooks that ship with the package, read as what they are: titles, text and code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tabular_fedrl.errors import InvalidProblem

ORDER = ("three-state", "simplex", "two-agents", "local-steps", "offline", "wrong-theorem")
"""From the first to read to the last."""


@dataclass(frozen=True)
class Cell:
    """``kind``: ``"markdown"`` or ``"code"``; ``alt``: what the figure shows that a code cell draws, if it
    draws one."""

    kind: str
    source: str
    alt: str | None = None


@dataclass(frozen=True)
class Notebook:
    """``title``: its first heading; ``raw``: the file as it is (.ipynb)."""

    name: str
    title: str
    cells: tuple[Cell, ...]
    raw: str


def names() -> tuple[str, ...]:
    """The notebooks' names, in the order in which to read them."""
    return ORDER


@cache
def load(name: str) -> Notebook:
    """A notebook by its name.

    Raises
    ------
    InvalidProblem: there is no such notebook.
    """
    if name not in ORDER:
        raise InvalidProblem(f"there is no example {name!r}: {', '.join(ORDER)}")
    raw = files("tabular_fedrl.examples").joinpath("notebooks", f"{name}.ipynb").read_text(encoding="utf-8")
    cells = tuple(
        Cell(cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("alt"))
        for cell in json.loads(raw)["cells"]
    )
    title = cells[0].source.splitlines()[0].removeprefix("# ")
    return Notebook(name, title, cells, raw)
