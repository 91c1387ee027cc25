"""The frame of every HTML page: head, style, landmarks; nothing is fetched and nothing runs."""

from __future__ import annotations

from importlib.resources import files

from tabular_fedrl.report.data import Data, file_name
from tabular_fedrl.report.markup import Html, join, paragraph, tag, text, void

OVERVIEW = "index.html"


def theorem_page(name: str) -> str:
    """Where the page of a theorem lies, beside the overview."""
    return f"theorems/{file_name(name)}.html"


def frame(data: Data, title: str, body: Html, navigation: Html | None = None) -> str:
    """A whole page of a report."""
    end = paragraph(f"{data['package']} {data['version']}; data: results.json and data/*.npz")
    return document(f"{title} · {data['package']}", body, end, navigation)


def document(title: str, body: Html, end: Html, navigation: Html | None = None) -> str:
    """A whole page with ``end`` at its foot."""
    style = files("tabular_fedrl.report").joinpath("style.css").read_text(encoding="utf-8")
    head = join(
        [
            void("meta", charset="utf-8"),
            void("meta", name="viewport", content="width=device-width, initial-scale=1"),
            # Without it a browser asks the server for an icon.
            void("link", rel="icon", href="data:,"),
            tag("title", text(title)),
            tag("style", Html(style)),
        ]
    )
    header = [tag("header", navigation)] if navigation else []
    content = join([*header, tag("main", body), tag("footer", end)])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{content}\n</body>\n</html>\n'
    )
