"""Formulae as MathML, by the converter of the report: the site fetches no script and no font."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from math_core import LatexError
from sphinx.application import Sphinx
from sphinx.util import logging

from tabular_fedrl.report.mathematics import converted

logger = logging.getLogger(__name__)


def inline(writer: Any, node: nodes.Element) -> None:
    writer.body.append(f'<span class="math">{_mathml(node, display=False)}</span>')
    raise nodes.SkipNode


def block(writer: Any, node: nodes.Element) -> None:
    writer.body.append(f'<div class="math">{_mathml(node, display=True)}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, display: bool) -> str:
    latex = " ".join(node.astext().split())
    try:
        return converted(latex, display)
    except LatexError as error:
        logger.warning("a formula that is not MathML: %s (%s)", latex, error, location=node)
        return f"<code>{nodes.unescape(latex)}</code>"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
