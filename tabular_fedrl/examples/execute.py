"""Running a notebook here and now, without Jupyter: what its cells print, give and draw."""

from __future__ import annotations

import ast
import io
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tabular_fedrl.examples.notebook import Notebook

MODULE = "tabular_fedrl_example"
"""What ``__name__`` is inside: classes of a notebook belong to a module, as in Jupyter."""


@dataclass(frozen=True)
class Result:
    """What a code cell showed: printed text and the last expression's value as text; SVG figures."""

    text: str
    figures: tuple[str, ...]


def execute(notebook: Notebook, progress: Callable[[int, int, str], None] | None = None) -> list[Result]:
    """The results of all cells, in order; those of text are empty.

    An error of a cell is raised as it is, with a note that names the cell.
    """
    results = []
    with _module() as module, _drawing() as figures:
        for position, cell in enumerate(notebook.cells):
            if progress is not None:
                progress(position, len(notebook.cells), "")
            if cell.kind != "code":
                results.append(Result("", ()))
                continue
            try:
                printed = _run(cell.source, f"<{notebook.name}, cell {position + 1}>", module)
            except Exception as error:
                error.add_note(f"in cell {position + 1} of the example {notebook.name}")
                raise
            results.append(Result(printed, tuple(figures())))
    return results


def _run(source: str, file: str, module: ModuleType) -> str:
    """What a cell prints, then the value of its last expression, as an interactive session shows it."""
    # Tracebacks and whoever reads the source of a class find the lines here.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    tree = ast.parse(source, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(tree, file, "exec"), module.__dict__)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), module.__dict__)
            if value is not None and not source.rstrip().endswith(";"):
                print(repr(value))
    return printed.getvalue()


@contextmanager
def _module() -> Iterator[ModuleType]:
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module
    try:
        yield module
    finally:
        del sys.modules[MODULE]


@contextmanager
def _drawing() -> Iterator[Callable[[], list[str]]]:
    """pyplot without a window and with the user's settings kept apart; gives the figures drawn since last
    asked."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    def figures() -> list[str]:
        drawn = []
        for number in plt.get_fignums():
            file = io.StringIO()
            plt.figure(number).savefig(file, format="svg", metadata={"Date": None})
            drawn.append(file.getvalue())
        plt.close("all")
        return drawn

    def show(*_: Any, **__: Any) -> None:
        """Whatever is open is shown at the end of its cell."""

    backend, shower = mpl.get_backend(), plt.show
    plt.switch_backend("agg")
    plt.show = show
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            yield figures
    finally:
        plt.close("all")
        plt.show = shower
        plt.switch_backend(backend)
