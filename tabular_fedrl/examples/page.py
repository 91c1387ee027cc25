"""A notebook as one HTML file: text, formulas in MathML, code, results; nothing is fetched."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count

from markdown_it import MarkdownIt

from tabular_fedrl import __version__
from tabular_fedrl.examples.execute import Result, execute
from tabular_fedrl.examples.notebook import Cell, Notebook
from tabular_fedrl.report.markup import Html, join, paragraph, tag, text, void
from tabular_fedrl.report.mathematics import mathml
from tabular_fedrl.report.page import document

_MATH = re.compile(r"`[^`]*`|\$\$(?P<shown>.+?)\$\$|\$(?P<inline>[^$]+?)\$", re.DOTALL)


def page(notebook: Notebook, progress: Callable[[int, int, str], None] | None = None) -> str:
    """The page of a notebook, run now."""
    return render(notebook, execute(notebook, progress))


def render(notebook: Notebook, results: Sequence[Result]) -> str:
    """The page of a notebook with the results of its cells."""
    body = join(_cell(cell, result) for cell, result in zip(notebook.cells, results, strict=True))
    end = Html(
        paragraph(f"tabular_fedrl {__version__}. To work on the exercises, take the notebook:")
        + tag("pre", tag("code", text(f"tabular-fedrl example {notebook.name} --out {notebook.name}.ipynb")))
    )
    return document(f"{notebook.title} · tabular_fedrl", body, end)


def markdown_html(source: str) -> Html:
    r"""Markdown with formulas between ``$`` or ``$$``; raw HTML in it stays text."""
    kept: dict[str, Html] = {}
    numbers = count()

    def keep(match: re.Match[str]) -> str:
        shown, inline = match["shown"], match["inline"]
        if shown is None and inline is None:
            return match[0]
        mark = f"formula{next(numbers)}x"
        if shown is None:
            kept[mark] = mathml(inline)
        else:
            kept[mark] = tag("span", mathml(shown, display=True), class_="formula block")
        return mark

    html = str(_markdown().render(_MATH.sub(keep, source)))
    for mark, formula in kept.items():
        html = html.replace(mark, formula)
    return Html(html)


def _cell(cell: Cell, result: Result) -> Html:
    if cell.kind != "code":
        return markdown_html(cell.source)
    parts = [tag("pre", tag("code", text(cell.source)), class_="source")]
    if result.text:
        parts.append(tag("pre", text(result.text.rstrip("\n")), class_="printed"))
    for figure in result.figures:
        data = base64.b64encode(figure.encode()).decode()
        image = void("img", src=f"data:image/svg+xml;base64,{data}", alt=cell.alt or "a figure")
        parts.append(tag("figure", image))
    return join(parts)


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")
