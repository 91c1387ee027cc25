"""The paper's look, and writing a figure so that the same versions give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import InvalidProblem

COLUMN = 3.4
"""Width of one column, in inches."""
PAGE = 7.0
"""Width of both columns, in inches."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
YELLOW = "#F0E442"
BLACK, GREY, PALE = "#000000", "#8C8C8C", "#EFEFEF"

VALUE = "(units of value)"
"""The unit of gaps and violations: reward or cost, summed with discount."""

STYLE = Path(__file__).with_name("paper.mplstyle")

# A date would make every file a new one.
_METADATA: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


@contextmanager
def paper() -> Iterator[None]:
    """Matplotlib's defaults with ``paper.mplstyle`` over them; the user's own settings return at the end.

    As a decorator, ``@paper()``, it wraps every call of a function.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rc_file(STYLE, use_default_template=False)
        yield


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure``, as SVG or PDF by the suffix of ``path``: whole or not at all, without dates.

    Raises
    ------
    InvalidProblem: another suffix, or a folder that does not exist.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _METADATA:
        raise InvalidProblem(f"cannot draw to {os.fspath(path)}: the name must end in .svg or .pdf")
    with paper(), atomic_path(path) as temporary:
        # The layout moves a little each time it is run again; run once, it is the same in every file.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])
