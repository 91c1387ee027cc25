"""The page of one theorem: statement, hypotheses, verdicts, figures, and the command that reproduces them."""

from __future__ import annotations

from collections.abc import Mapping

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.docstring import docstring_html
from tabular_fedrl.report.markup import Html, join, tag, text
from tabular_fedrl.report.page import OVERVIEW, frame, theorem_page
from tabular_fedrl.report.sections import claims_html, mark_html, studies_html
from tabular_fedrl.report.words import rows_of


def theorem_html(data: Data, name: str, absent: Mapping[str, str]) -> str:
    """The page; ``absent``: why a study has no figure, by its name."""
    theorem = data["theorems"][name]
    parts = [
        tag("h1", Html(f"{text(name)} {mark_html(theorem['mark'])}")),
        Html(docstring_html(theorem["page"])),
    ]
    if theorem["references"]:
        parts.append(tag("h2", text("References")))
        parts.append(tag("ul", join(tag("li", text(reference)) for reference in theorem["references"])))
    if theorem["hypotheses"]:
        parts.append(tag("h2", text("Hypotheses")))
        parts.append(tag("ul", join(tag("li", text(h)) for h in theorem["hypotheses"])))
    parts += [claims_html(data, rows_of(data, name)), studies_html(data, name, absent)]
    parts.append(tag("h2", text("Reproduce")))
    parts.append(tag("pre", text(theorem["command"])))
    return frame(data, name, join(parts), _navigation(data, name))


def _navigation(data: Data, name: str) -> Html:
    """Back to the overview, and to the neighbours in its order."""
    names = list(data["theorems"])
    here = names.index(name)
    links = [("all theorems", f"../{OVERVIEW}")]
    links += [(f"before: {x}", f"../{theorem_page(x)}") for x in names[max(here - 1, 0) : here]]
    links += [(f"next: {x}", f"../{theorem_page(x)}") for x in names[here + 1 : here + 2]]
    return tag("nav", join((tag("a", text(words), href=to) for words, to in links)), aria_label="Theorems")
