"""A theorem as LaTeX: its statement, proof and source from the page, its verdicts from the report."""

from __future__ import annotations

from paper.citations import cited
from paper.docstring import Part, formula, paragraphs, parts
from paper.latex import code, escape
from tabular_fedrl.report.data import Data
from tabular_fedrl.report.words import Row, counts_in_words, links_of, number, rows_of

SOURCE, PROOF = "Source.", "Proof"


def statement(data: Data, name: str) -> str:
    """The whole entry of one theorem.

    Raises
    ------
    InvalidProblem: a page that cannot be set, and where.
    """
    theorem = data["theorems"][name]
    place = f"the page of {name}"
    found = parts(theorem["page"], place)
    proved = next((i for i, part in enumerate(found) if part.head.startswith(PROOF)), len(found))
    boxed = [part for part in found[:proved] if part.head != SOURCE]
    rest = [part for part in found[proved:] if part.head != SOURCE]
    title = paragraphs(theorem["title"], place)
    lines = [
        rf"\begin{{statement}}{{{title}}}{{{theorem['mark']}}}{{{name}}}",
        *map(_run_in, boxed),
        r"\end{statement}",
        *map(_proof_or_more, rest),
    ]
    if proved == len(found):
        lines.append(_no_proof(theorem["mark"]))
    citations = cited(theorem["page"])
    lines += [rf"\textbf{{Source.}} {part.body} {citations}" for part in found if part.head == SOURCE]
    if theorem["hypotheses"]:
        lines.append(
            rf"\textbf{{Hypotheses checked.}} {'; '.join(escape(h) for h in theorem['hypotheses'])}."
        )
    return "\n\n".join([*lines, verdicts(data, name)]) + "\n"


def verdicts(data: Data, name: str) -> str:
    """A table: per claim its kind, verdicts, certified instances, largest ratio and where; controls last."""
    rows = rows_of(data, name)
    lines = [r"\begin{verdicts}"]
    for row in rows:
        if row["role"] == "link":
            continue
        lines.append(_row(row))
        shown = (
            formula(row["statement"], f"claim {row['claim']} of {name}")
            if row["role"] in ("claim", "attained")
            else escape(row["statement"])
        )
        lines.append(rf"\verdictstatement{{{shown}}}")
        if row["role"] == "claim" and (links := links_of(data, row)):
            lines.append(rf"\verdictstatement{{{_links(links)}}}")
    return "\n".join([*lines, r"\end{verdicts}"])


def _row(row: Row) -> str:
    label = code(row["claim"])
    if row["role"] == "control":
        label = f"control {label}"
    elif row["role"] == "attained":
        label += " is tight"
    tells = row["ratio"] is not None or not row["expected"]
    certified = str(row["certified"]) if row["certified"] else "--"
    cells = [label, row["kind"], escape(counts_in_words(row)), certified]
    cells += [escape(number(row["ratio"])), code(row["worst"]) if tells else ""]
    # The starred end of a row keeps it on one page with the statement below it.
    return " & ".join(cells) + r" \\*"


def _links(links: list[Row]) -> str:
    """The links of a proof: what each rests on, and the largest ratio of its sides."""
    steps = [
        f"({i}) {escape(link['statement'])} [{escape(number(link['ratio']))}"
        f"{'' if link['expected'] else ', ' + escape(counts_in_words(link))}]"
        for i, link in enumerate(links, 1)
    ]
    return "links of the proof, largest ratio in brackets: " + "; ".join(steps)


def _run_in(part: Part) -> str:
    return rf"\textbf{{{escape(part.head)}}} {part.body}" if part.head else part.body


def _proof_or_more(part: Part) -> str:
    if part.head.startswith(PROOF):
        return rf"\begin{{proof}}[{escape(part.head.rstrip('.'))}]" + f"\n{part.body}\n" + r"\end{proof}"
    return _run_in(part)


def _no_proof(mark: str) -> str:
    if mark in ("recalled", "paper"):
        return r"\emph{Quoted, not proved here.}"
    return r"\emph{No proof beyond evaluating both sides on the problems below.}"
