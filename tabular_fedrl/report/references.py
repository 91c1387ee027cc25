"""The publications that a theorem's page names, from the ``references.bib`` of the package it is in.

A page names one as ``Xiao (2022)``, ``Kakade, Langford (2002)`` (or with *and*), ``Achiam et al. (2017)``, or
by its arXiv number; title and place of publication stand in the one file, BibTeX with a field to a line.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tabular_fedrl.claims import Theorem
from tabular_fedrl.errors import InvalidProblem

FILE = "references.bib"

_ENTRY = re.compile(r"^@(?P<kind>\w+)\{(?P<key>[\w-]+),\n(?P<fields>(?:.*\n)*?)\}$", re.MULTILINE)
_FIELD = re.compile(r"^\s*(?P<name>\w+) = \{(?P<value>.*)\},?$", re.MULTILINE)


@dataclass(frozen=True)
class Reference:
    """An entry: its ``key``, and its ``fields`` as they stand in the file."""

    key: str
    fields: Mapping[str, str]

    @property
    def authors(self) -> list[tuple[str, str]]:
        """First and last names."""
        names = (name.partition(", ") for name in self.fields["author"].split(" and "))
        return [(first, last) for last, _, first in names]

    @property
    def labels(self) -> list[str]:
        """How a page may name it."""
        last, year = [_ascii(name) for _, name in self.authors], self.fields["year"]
        found = [f"{', '.join(last)} ({year})", *([f"{last[0]} et al. ({year})"] if len(last) > 2 else [])]
        return found + re.findall(r"arXiv \d{4}\.\d{5}", self.fields.get("note", ""))

    def __str__(self) -> str:
        """Authors, title, where, year."""
        text = {name: re.sub(r"[{}]", "", value).replace("--", "–") for name, value in self.fields.items()}
        authors = ", ".join(f"{first} {last}" for first, last in self.authors)
        where = [text[name] for name in ("journal", "booktitle", "institution", "series") if name in text]
        volume, number = text.get("volume", ""), text.get("number", "")
        issue = f"{volume}({number})" if volume and number else volume or number
        parts = [f"{', '.join(where)} {issue}".strip(), text.get("pages", ""), text["year"]]
        note = f" {text['note']}." if "note" in text else ""
        return f"{authors}. {text['title']}. {', '.join(filter(None, parts))}.{note}"


@cache
def read_references(path: Path) -> Mapping[str, Reference]:
    """The entries of a file by their keys, in its order.

    Raises
    ------
    InvalidProblem: a file that cannot be read, text that is no entry, an entry without author, title, year.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidProblem(f"{path} cannot be read: {error}") from None
    if rest := _ENTRY.sub("", text).strip():
        raise InvalidProblem(f"{path}: this is no entry with a field to a line: {rest.splitlines()[0]!r}")
    found = {m["key"]: Reference(m["key"], dict(_FIELD.findall(m["fields"]))) for m in _ENTRY.finditer(text)}
    for key, reference in found.items():
        if missing := {"author", "title", "year"} - reference.fields.keys():
            raise InvalidProblem(f"{path}: {key} has no {', '.join(sorted(missing))}")
    return found


def references_for(theorem: type[Theorem]) -> Mapping[str, Reference]:
    """The entries beside the package that a theorem is in; none for a theorem in a file of its own."""
    package = sys.modules.get(theorem.__module__.partition(".")[0])
    file = getattr(package, "__file__", None)
    path = Path(file).parent / FILE if file and hasattr(package, "__path__") else None
    return read_references(path) if path and path.is_file() else {}


def named(text: str, references: Mapping[str, Reference]) -> list[Reference]:
    """The entries that a text names, in the order in which it does."""
    return _search(text, references)[0]


def unknown(text: str, references: Mapping[str, Reference]) -> list[str]:
    """Years and arXiv numbers of a text that belong to none of them."""
    return re.findall(r"arXiv \S+|\b(?:19|20)\d\d\b", _search(text, references)[1])


def _search(text: str, references: Mapping[str, Reference]) -> tuple[list[Reference], str]:
    """The entries that a text names, and the text without their names."""
    plain = _plain(text)
    places: dict[str, int] = {}
    labels = [(label, key) for key, reference in references.items() for label in reference.labels]
    # The longest first: the end of one list of authors may be another.
    for label, key in sorted(labels, key=lambda pair: -len(pair[0])):
        if label in plain:
            places[key] = min(plain.index(label), places.get(key, len(plain)))
            plain = plain.replace(label, " " * len(label))
    return [references[key] for key in sorted(places, key=lambda key: places[key])], plain


def _plain(text: str) -> str:
    """A text in one line, in which names are joined by commas alone."""
    return re.sub(r",? and ", ", ", " ".join(text.split()))


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
