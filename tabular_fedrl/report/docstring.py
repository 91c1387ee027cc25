"""A theorem's docstring as HTML: the little of reStructuredText that such pages use."""

from __future__ import annotations

import html
import re
import textwrap

from tabular_fedrl.report.markup import Html, tag
from tabular_fedrl.report.mathematics import mathml

_INLINE = re.compile(
    r":math:`(?P<math>[^`]+)`|``(?P<code>[^`]+)``|\*\*(?P<bold>[^*]+)\*\*|(?<!\w)\*(?P<italic>[^*\s][^*]*)\*(?!\w)"
)
_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")


def docstring_html(text: str) -> str:
    """Paragraphs, lists, display mathematics (``.. math::``) and inline markup; everything is escaped."""
    blocks = re.split(r"\n[ \t]*\n", textwrap.dedent(text).strip())
    out: list[str] = []
    position = 0
    while position < len(blocks):
        block = blocks[position].strip("\n")
        position += 1
        lead, _, rest = block.partition(".. math::")
        if rest or block.rstrip().endswith(".. math::"):
            if lead.strip():
                out.append(_paragraph(lead))
            body = [rest]
            # The directive's content is what is indented below it, blank lines included.
            while position < len(blocks) and blocks[position].startswith((" ", "\t")):
                body.append(blocks[position])
                position += 1
            out.append(formula_html("\n".join(body)))
        elif re.match(r"\s*([*-]|\d+\.) ", block):
            out.append(_list(block))
        elif block.strip():
            out.append(_paragraph(block))
    return "\n".join(out)


def inline_html(text: str) -> str:
    """Inline markup of one paragraph."""
    out, end = [], 0
    text = _ROLE.sub(lambda m: m[0] if m[0].startswith(":math:") else f"``{m[1]}``", text)
    for match in _INLINE.finditer(text):
        out.append(html.escape(text[end : match.start()]))
        role, content = next((k, v) for k, v in match.groupdict().items() if v is not None)
        names = {"code": "code", "bold": "strong", "italic": "em"}
        out.append(mathml(content) if role == "math" else tag(names[role], Html(html.escape(content))))
        end = match.end()
    return "".join([*out, html.escape(text[end:])])


def _paragraph(block: str) -> str:
    return f"<p>{inline_html(' '.join(block.split()))}</p>"


def _list(block: str) -> str:
    items = re.split(r"(?m)^\s*(?:[*-]|\d+\.) ", block)
    return (
        "<ul>" + "".join(f"<li>{inline_html(' '.join(i.split()))}</li>" for i in items if i.strip()) + "</ul>"
    )


def formula_html(latex: str) -> Html:
    """A displayed formula, which scrolls sideways where it is too wide."""
    return tag("div", mathml(latex, display=True), class_="formula")
