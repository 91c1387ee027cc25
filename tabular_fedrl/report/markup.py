"""HTML pieces: every text that goes in is escaped here, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

Html = NewType("Html", str)
"""Text that is already HTML."""


def text(x: object) -> Html:
    """Anything as escaped text; what is HTML already stays."""
    return Html(escape(str(x)))


def tag(name: str, content: Html, /, **attributes: object) -> Html:
    """``<name attributes>content</name>``; a trailing underscore of an attribute's name is dropped."""
    return Html(f"{void(name, **attributes)}{content}</{name}>")


def void(name: str, /, **attributes: object) -> Html:
    """``<name attributes>``: an element without content."""
    pairs = "".join(f' {key.rstrip("_")}="{escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{pairs}>")


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    """Pieces one after the other."""
    return Html(between.join(parts))


def paragraph(content: object, class_: str = "") -> Html:
    """A paragraph of plain text."""
    return tag("p", text(content), **({"class_": class_} if class_ else {}))


def grid(head: Sequence[str], rows: Iterable[Sequence[Html]], classes: Sequence[str] = ()) -> Html:
    """A table that scrolls sideways on a narrow screen; ``classes`` of the columns."""
    columns = list(classes) + [""] * (len(head) - len(classes))

    def cell(content: Html, class_: str, name: str = "td", **attributes: object) -> Html:
        return tag(name, content, **attributes, **({"class_": class_} if class_ else {}))

    titles = (cell(text(h), c, "th", scope="col") for h, c in zip(head, columns, strict=True))
    body = [tag("tr", join((cell(x, c) for x, c in zip(row, columns, strict=True)), "")) for row in rows]
    table = tag("table", Html(tag("thead", tag("tr", join(titles, ""))) + tag("tbody", join(body))))
    return tag("div", table, class_="scroll")
