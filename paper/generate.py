"""All generated LaTeX of the paper."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path

from paper.citations import BIBLIOGRAPHY
from paper.docstring import paragraphs
from paper.facts import facts_tex, overview, searches, slopes, study_tables
from paper.statements import statement
from tabular_fedrl.claims.discovery import theorems
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.data import Data

_STATEMENT = re.compile(r"\\theorem\{([^}]*)\}")


def generate(data: Data, directory: Path, text: Path) -> None:
    """Write into ``directory``: facts, tables, the bibliography, a file per theorem, study and group.

    ``text``: the folder of the hand-written ``*.tex``, in which every theorem must have its place.

    Raises
    ------
    InvalidProblem: a report of other pages, a page that cannot be set, a theorem without a place or with two.
    """
    current(data)
    placed(data, text)
    files = {
        "facts": facts_tex(data),
        "overview": overview(data),
        "searches": searches(data),
        "slopes": slopes(data),
        **{f"theorem-{name}": statement(data, name) for name in data["theorems"]},
        **{f"study-{name}": study_tables(data, name) for name in data["studies"]},
        **{
            f"group-{name.rpartition('.')[2]}": paragraphs(page, f"the docstring of {name}")
            for name, page in data["groups"].items()
        },
    }
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(BIBLIOGRAPHY, directory)
    for name, content in files.items():
        (directory / f"{name}.tex").write_text(content, encoding="utf-8")


def current(data: Data) -> None:
    """The report's pages are those of the package."""
    known = {name: inspect.getdoc(theorem) or "" for name, theorem in theorems().items()}
    reported = {name: theorem["page"] for name, theorem in data["theorems"].items()}
    if other := sorted(
        name for name in known.keys() | reported.keys() if known.get(name) != reported.get(name)
    ):
        raise InvalidProblem(
            f"the report was made from other pages than these: run `make verify` again ({', '.join(other)})"
        )


def placed(data: Data, text: Path) -> None:
    r"""Every theorem stands once in the text, as ``\theorem{ID}``."""
    found = [
        name
        for path in sorted(text.glob("*.tex"))
        for name in _STATEMENT.findall(path.read_text(encoding="utf-8"))
    ]
    wrong = sorted(
        name
        for name in {*found, *data["theorems"]} - {"#1"}
        if found.count(name) != 1 or name not in data["theorems"]
    )
    if wrong:
        raise InvalidProblem(
            f"these must stand in the paper's text exactly once, and be theorems: {', '.join(wrong)}"
        )
