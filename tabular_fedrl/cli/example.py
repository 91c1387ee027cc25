"""``tabular-fedrl example``."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

from rich.table import Table

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.examples import load, names


def list_examples() -> Answer:
    """The notebooks, in the order in which to read them."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for name in names():
        table.add_row(name, load(name).title)
    data = {"status": "ok", "examples": [{"name": n, "title": load(n).title} for n in names()]}
    return Answer(data, [table, "Read one: tabular-fedrl example NAME"], brief=[table])


def write_example(output: Output, name: str, out: str | None) -> Answer:
    """Run an example and write it as HTML, or as it is where ``out`` ends in .ipynb; a page opens in the
    browser of whoever sits at a terminal."""
    notebook = load(name)
    path = Path(out or f"{name}.html")
    if path.suffix not in (".html", ".ipynb"):
        raise InvalidProblem(f"cannot write {path}: the name must end in .html or .ipynb")
    if path.suffix == ".html":
        from tabular_fedrl.examples.page import page

        with output.progress(f"running {name}", "cells") as tick:
            content = page(notebook, tick)
    else:
        content = notebook.raw
    with atomic_path(path) as temporary:
        Path(temporary).write_text(content, encoding="utf-8")
    if path.suffix == ".html" and sys.stdin.isatty() and output.side.is_terminal and not output.json:
        webbrowser.open(path.resolve().as_uri())
    data = {"status": "ok", "example": name, "title": notebook.title, "file": str(path)}
    return Answer(data, [f"{notebook.title}: {path}"], brief=[str(path)])
