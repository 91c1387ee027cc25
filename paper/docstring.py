"""A theorem's docstring, reStructuredText, as LaTeX; what is broken is refused with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import roles
from docutils.utils import Reporter
from math_core import LatexError

from paper.latex import code, quoted
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.mathematics import converted

ROLES = ("mod", "class", "func", "data", "meth", "attr")
"""Sphinx's roles for names of the package: shown as code."""


@dataclass(frozen=True)
class Part:
    """A run of blocks that begins with a bold word or two: ``head`` (empty before the first), and LaTeX."""

    head: str
    body: str


def parts(text: str, place: str) -> list[Part]:
    """The parts of a docstring whose first line is its title, which is left out.

    ``place``: what an error is said to be in.

    Raises
    ------
    InvalidProblem: markup that docutils reports, an element that has no LaTeX here, a formula that the report
        could not typeset either, a character that the fonts lack.
    """
    title, _, body = text.partition("\n\n")
    # Lines keep their numbers, so that an error names the line of the docstring.
    document = _document("\n" * (title.count("\n") + 2) + body, place)
    found: list[tuple[str, list[nodes.Node]]] = [("", [])]
    for block in document.children:
        if head := _head(block):
            found.append((head, []))
        found[-1][1].append(block)
    written = [Part(head, _Blocks(place, skip=bool(head)).all(blocks)) for head, blocks in found]
    return [part for part in written if part.head or part.body]


def paragraphs(text: str, place: str) -> str:
    """A whole text, without parts."""
    return _Blocks(place).all(_document(text, place).children)


def formula(latex: str, place: str) -> str:
    """A formula within a line.

    Raises
    ------
    InvalidProblem: LaTeX outside the subset that the report's pages typeset.
    """
    return f"${_checked(latex, place, display=False)}$"


class _Blocks:
    """Blocks and inline markup as LaTeX; ``skip``: without the bold words that begin the first paragraph."""

    def __init__(self, place: str, skip: bool = False) -> None:
        self.place, self.skip = place, skip

    def all(self, blocks: Iterable[nodes.Node]) -> str:
        """One block after the other; a display belongs to the paragraph that it stands in."""
        out = ""
        for block in blocks:
            between = "\n" if isinstance(block, nodes.math_block) or out.endswith("*}") else "\n\n"
            out += (between if out else "") + self.block(block)
        return out

    def block(self, node: nodes.Node) -> str:
        match node:
            case nodes.paragraph():
                return self.inline(node).strip()
            case nodes.math_block():
                return self.display(node.astext())
            case nodes.bullet_list():
                return self.items("itemize", "", node)
            case nodes.enumerated_list():
                return self.items("enumerate", f"[{_label(node)}]", node)
            case nodes.comment():
                return ""
        raise self.refused(node)

    def items(self, environment: str, option: str, node: nodes.Element) -> str:
        lines = [rf"\item {self.all(item.children)}" for item in node.children]
        return "\n".join([rf"\begin{{{environment}}}{option}", *lines, rf"\end{{{environment}}}"])

    def display(self, latex: str) -> str:
        checked = _checked(latex, self.place, display=True)
        name = "align*" if "\\\\" in checked or "&" in checked else "equation*"
        return f"\\begin{{{name}}}\n{checked}\n\\end{{{name}}}"

    def inline(self, node: nodes.Element) -> str:
        return "".join(self.span(child) for child in node.children)

    def span(self, node: nodes.Node) -> str:
        match node:
            case nodes.Text():
                return self.text(node.astext())
            case nodes.math():
                return formula(node.astext(), self.place)
            case nodes.literal():
                return code(node.astext())
            case nodes.emphasis():
                return rf"\emph{{{self.inline(node)}}}"
            case nodes.strong():
                if self.skip:
                    self.skip = False
                    return ""
                return rf"\textbf{{{self.inline(node)}}}"
            case nodes.reference():
                return code(node.astext())
        raise self.refused(node)

    def text(self, text: str) -> str:
        try:
            return quoted(text)
        except InvalidProblem as error:
            raise InvalidProblem(f"{self.place}: {error}") from None

    def refused(self, node: nodes.Node) -> InvalidProblem:
        return InvalidProblem(
            f"{self.place}: {type(node).__name__} has no form in the paper: {node.astext()[:60]!r}"
        )


def _head(block: nodes.Node) -> str:
    """The bold words with a capital letter that begin a block."""
    if isinstance(block, nodes.paragraph) and isinstance(block.children[0], nodes.strong):
        return str(block.children[0].astext())
    return ""


def _label(node: Any) -> str:
    """The counter of an enumerated list as enumitem writes it."""
    how = {"arabic": r"\arabic*", "loweralpha": r"\alph*", "lowerroman": r"\roman*"}[
        node.get("enumtype", "arabic")
    ]
    start = f", start={node['start']}" if "start" in node else ""
    return rf"label={node.get('prefix', '')}{how}{node.get('suffix', '.')}{start}"


def _checked(latex: str, place: str, display: bool) -> str:
    source = " ".join(latex.split())
    try:
        converted(source, display)
    except LatexError as error:
        raise InvalidProblem(f"{place}: the formula {source!r} is not understood: {error}") from None
    if re.search(r"(?<!\\)[$%]", source):
        raise InvalidProblem(f"{place}: the formula {source!r} holds a bare $ or %")
    return source


def _document(text: str, place: str) -> nodes.document:
    for name in ROLES:
        roles.register_local_role(name, _name_role)
    settings = {
        "report_level": Reporter.SEVERE_LEVEL + 1,
        "halt_level": Reporter.SEVERE_LEVEL + 1,
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "smart_quotes": False,
        "doctitle_xform": False,
    }
    document = publish_doctree(text, settings_overrides=settings)
    for message in list(document.findall(nodes.system_message)):
        if message["level"] >= Reporter.WARNING_LEVEL:
            words = " ".join(nodes.Element.astext(message).split())
            raise InvalidProblem(f"{place}, line {message.get('line', '?')}: {words}")
        message.parent.remove(message)
    return document


def _name_role(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: Any = None,
    content: Sequence[str] = (),
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    shown = text.rpartition(".")[2] if text.startswith("~") else text
    return [nodes.literal(rawtext, shown)], []
