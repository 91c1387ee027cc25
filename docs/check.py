"""Whether a built site stands by itself: no resource from elsewhere, every internal link leads somewhere, and
no page names the machine it was built on.

``python docs/check.py docs/_build/html`` prints what is wrong; exit code 1 if anything is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
HERE = Path(__file__).resolve().parents[1]
FETCHED = {"src", "srcset", "poster", "data"}


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser fetches for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in FETCHED:
                self.fetched += [part.split()[0] for part in value.split(",") if part.split()]
            elif name in ("href", "xlink:href"):
                (self.links if tag == "a" else self.fetched).append(value)
            elif name == "style":
                self.fetched += STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.fetched += STYLE.findall(data)


def faults(site: Path) -> Iterator[str]:
    """A line for each thing that is wrong."""
    site = site.resolve()
    pages = {p: Page(p.read_text(encoding="utf-8")) for p in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} holds no page"
    for path, page in pages.items():
        name = path.relative_to(site)
        if str(HERE) in path.read_text(encoding="utf-8"):
            yield f"{name} names the folder it was built in"
        for target in page.fetched:
            if target.startswith("data:"):
                continue
            if ELSEWHERE.match(target):
                yield f"{name} fetches {target}"
            elif urlsplit(target).path and not _place(path, target).exists():
                yield f"{name} fetches {target}, which does not exist"
        for target in page.links:
            if ELSEWHERE.match(target) or target.startswith("mailto:"):
                continue
            place = _place(path, target)
            fragment = unquote(urlsplit(target).fragment)
            if not place.is_file():
                yield f"{name} links to {target}, which does not exist"
            elif fragment and place in pages and fragment not in pages[place].anchors:
                yield f"{name} links to {target}, an anchor that does not exist"
    for path in sorted(site.rglob("*.css")):
        for target in STYLE.findall(path.read_text(encoding="utf-8")):
            if ELSEWHERE.match(target):
                yield f"{path.relative_to(site)} fetches {target}"


def _place(page: Path, target: str) -> Path:
    """The file that a link on a page means."""
    path = unquote(urlsplit(target).path)
    return (page.parent / path).resolve() if path else page


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print("\n".join(found) or "the site stands by itself: no resource from elsewhere, no broken link")
    sys.exit(bool(found))
