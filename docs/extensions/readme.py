"""Sections of the README in the site: ``.. readme:: Title`` (an empty title: what stands above the first)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from markdown_it import MarkdownIt
from sphinx.application import Sphinx

README = Path(__file__).parents[2] / "README.md"


def section(title: str, text: str) -> str | None:
    """The Markdown below a heading, up to the next; None if there is no such heading."""
    parts = re.split(r"(?m)^#+ (.*)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title)


class ReadmeDirective(Directive):
    """``.. readme:: Title``; ``:paragraphs: N`` takes only the first N blocks."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"paragraphs": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        self.state.document.settings.env.note_dependency(str(README))
        body = section(self.arguments[0], README.read_text(encoding="utf-8"))
        if body is None:
            raise self.error(f"the README has no section {self.arguments[0]!r}")
        if "paragraphs" in self.options:
            body = "\n\n".join(re.split(r"\n{2,}", body.strip())[: self.options["paragraphs"]])
        return list(_blocks(body))


def _blocks(markdown: str) -> list[nodes.Node]:
    """Code as Sphinx's own blocks, so that it is highlighted; the rest as HTML."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    out: list[nodes.Node] = []
    html: list[Any] = []

    def flush() -> None:
        if html:
            text = parser.renderer.render(html, parser.options, {})
            # The class by which the theme knows its tables.
            out.append(nodes.raw("", text.replace("<table>", '<table class="docutils">'), format="html"))
            html.clear()

    for token in parser.parse(markdown):
        if token.type == "fence":
            flush()
            language = {"sh": "shell", "": "text"}.get(token.info, token.info)
            out.append(nodes.literal_block(token.content, token.content.rstrip(), language=language))
        else:
            html.append(token)
    flush()
    return out


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("readme", ReadmeDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
