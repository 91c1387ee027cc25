"""The sections of our docstrings (``Parameters``, ``Raises``: a name, a colon, a sentence) as field lists."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

SECTIONS = ("Parameters", "Attributes", "Returns", "Raises")
ARRAY = "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~numpy.float64]]"
_ITEM = re.compile(r"(?P<names>[\w.*]+(?:, [\w.*]+)*): (?P<text>.*)", re.DOTALL)


def fields(lines: list[str]) -> Iterator[str]:
    """The lines of a docstring with its underlined sections turned into fields."""
    position = 0
    while position < len(lines):
        title = lines[position]
        under = lines[position + 1] if position + 1 < len(lines) else ""
        if title in SECTIONS and under == "-" * len(title):
            end = position + 2
            while end < len(lines) and not _begins_section(lines, end):
                end += 1
            yield from ["", f":{title}:"]
            yield from textwrap.indent("\n".join(_items(title, lines[position + 2 : end])), "   ").split("\n")
            yield ""
            position = end
        else:
            yield title
            position += 1


def _begins_section(lines: list[str], at: int) -> bool:
    """Whether what follows a blank line is no longer the section's: another section, or plain text."""
    return not lines[at - 1].strip() and bool(lines[at].strip())


def _items(title: str, body: list[str]) -> Iterator[str]:
    entries = re.split(r"\n(?=\S)", "\n".join(body).strip("\n"))
    matches = [_ITEM.fullmatch(entry) for entry in entries]
    if title == "Returns" or not all(matches):
        yield from textwrap.dedent("\n".join(body)).strip("\n").split("\n")
        return
    for match in matches:
        assert match is not None
        form = ":exc:`{}`" if title == "Raises" else "``{}``"
        names = ", ".join(form.format(name) for name in match["names"].split(", "))
        yield f"* {names}: {' '.join(match['text'].split())}"


def entries(thing: Any, lines: list[str]) -> Iterator[str]:
    """The fields of a class, written as ``name: sentence`` line by line in its docstring, as a list."""
    names = "|".join(map(re.escape, getattr(thing, "__annotations__", ()))) or "(?!)"
    name = rf"(?:{names})(?: ``[^`]*``)?"
    entry = re.compile(rf"(?P<names>{name}(?:, {name})*): ")
    for block in re.split(r"\n{2,}", "\n".join(lines)):
        if not entry.match(block):
            yield from [*block.split("\n"), ""]
            continue
        for line in block.split("\n"):
            found = entry.match(line)
            marked = re.sub(rf"(?:^|(?<=, ))({names})\b", r"**\1**", found["names"]) if found else ""
            yield f"* {marked}: {line[found.end() :]}" if found else f"  {line.strip()}"
        yield ""


def readable(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature without values that are no expressions, and with the package's own name for its arrays."""

    def plain(text: str | None) -> str | None:
        return text and re.sub(r"<[^<>]*>", "...", text).replace(ARRAY, "~tabular_fedrl.measured.Array")

    return plain(signature), plain(returns)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in ("class", "exception"):
        lines[:] = list(entries(obj, lines))
    lines[:] = list(fields(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
