"""``.. extras::``, the package's optional dependencies; ``.. examples::``, its notebooks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from markdown_it import MarkdownIt
from sphinx.application import Sphinx

from tabular_fedrl.examples import load, names
from tabular_fedrl.report.mathematics import converted

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


class ExtrasDirective(Directive):
    """A row for each extra: its name, and what it installs."""

    def run(self) -> list[nodes.Node]:
        self.state.document.settings.env.note_dependency(str(PROJECT))
        extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        out = nodes.bullet_list()
        for name, needs in extras.items():
            line = nodes.paragraph("", "", nodes.literal("", f"pip install 'tabular-fedrl[{name}]'"))
            packages = ", ".join(re.match(r"[\w.-]+(?:\[[\w,]+\])?", need)[0] for need in needs)
            line += nodes.Text(f": {packages}")
            out += nodes.list_item("", line)
        return [out]


class ExamplesDirective(Directive):
    """For each notebook its title, its name and its one idea."""

    def run(self) -> list[nodes.Node]:
        out = nodes.definition_list()
        for name in names():
            notebook = load(name)
            idea = re.search(r"(?ms)^\*\*One idea\.\*\* (.*?)\n\n", notebook.cells[0].source)
            if idea is None:
                raise self.error(f"the notebook {name} does not say what its one idea is")
            term = nodes.term("", notebook.title + " (", nodes.literal("", name), nodes.Text(")"))
            text = nodes.raw("", _paragraph(idea[1]), format="html")
            out += nodes.definition_list_item("", term, nodes.definition("", text))
        return [out]


def _paragraph(markdown: str) -> str:
    """A paragraph of Markdown with formulae between dollars."""
    parts = re.split(r"\$([^$]+)\$", markdown)
    inline = MarkdownIt("commonmark", {"html": False}).renderInline
    # split alternates between text and formulae.
    html = [converted(x, display=False) if i % 2 else inline(x) for i, x in enumerate(parts)]
    return f"<p>{''.join(html)}</p>"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("extras", ExtrasDirective)
    app.add_directive("examples", ExamplesDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
