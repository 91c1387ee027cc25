r"""A theorem's docstring as HTML: the little of reStructuredText that such pages use; LaTeX stays LaTeX."""

from __future__ import annotations

import html
import re
import textwrap

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
            out.append(_display("\n".join(body)))
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
        tag, content = next((k, v) for k, v in match.groupdict().items() if v is not None)
        opening = {"math": '<code class="math">', "code": "<code>", "bold": "<strong>", "italic": "<em>"}[tag]
        closing = {"math": "code", "code": "code", "bold": "strong", "italic": "em"}[tag]
        out.append(f"{opening}{html.escape(content)}</{closing}>")
        end = match.end()
    return "".join([*out, html.escape(text[end:])])


def _paragraph(block: str) -> str:
    return f"<p>{inline_html(' '.join(block.split()))}</p>"


def _list(block: str) -> str:
    items = re.split(r"(?m)^\s*(?:[*-]|\d+\.) ", block)
    return (
        "<ul>" + "".join(f"<li>{inline_html(' '.join(i.split()))}</li>" for i in items if i.strip()) + "</ul>"
    )


def _display(body: str) -> str:
    first, *others = body.strip("\n").splitlines() or [""]
    lines = [first.strip(), *textwrap.dedent("\n".join(others)).splitlines()]
    text = "\n".join(line for line in lines if line.strip())
    return f'<pre class="math">{html.escape(text)}</pre>'
