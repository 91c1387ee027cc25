"""The overview: what was verified, theorem by theorem, from ``results.json`` alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.docstring import docstring_html
from tabular_fedrl.report.markup import Html, grid, join, paragraph, tag, text
from tabular_fedrl.report.page import frame, theorem_page
from tabular_fedrl.report.searches import looseness_html
from tabular_fedrl.report.sections import mark_html, ratios_html, verdict_class
from tabular_fedrl.report.words import (
    KINDS,
    MARKS,
    Row,
    counted,
    failures,
    headline,
    largest_ratio,
    number,
    rows_of,
)

MEASURED = (
    "Measured means: policies are iterated in float64; every value, visitation and optimum that enters "
    "a side of a claim is evaluated with a rigorous bound on its error, and a verdict that the bounds "
    "do not settle is called undecided. The claims are thereby decided for the policies as they stand "
    "in memory: the rounding of the trajectory itself, that is, how far these policies are from those "
    "of exact arithmetic, is not enclosed."
)

CERTIFIED = (
    "Certified means: the problem is one of exact rational numbers, the same algorithm and the same page "
    "compute in exact rationals and in balls (midpoints with radii that contain all rounding), optima are "
    "proved in rational arithmetic, and the precision is raised until every comparison is decided. That is "
    "a proof for the instance named, resting on the page, on this package and on the library of ball "
    "arithmetic; it is not a proof of the theorem. Identities, and inequalities that are attained, are "
    "certified within their stated tolerance."
)


def overview(data: Data) -> str:
    """The page ``index.html``."""
    body = join(
        [
            tag("h1", text("Verification report")),
            paragraph(headline(data), "headline"),
            _failures(data),
            _facts(data),
            tag("h2", text("Theorems"), id="theorems"),
            *_folders(data),
            _legend(data),
            ratios_html(data),
            looseness_html(data),
            tag("h2", text("What measured and certified mean"), id="measured"),
            paragraph(MEASURED),
            paragraph(CERTIFIED),
        ]
    )
    return frame(data, "Verification report", body)


def _failures(data: Data) -> Html:
    lines = list(failures(data))
    return tag("ul", join(tag("li", text(line), class_="bad") for line in lines)) if lines else Html("")


def _facts(data: Data) -> Html:
    counts = data["counts"]
    order = ("holds", "fails", "undecided", "not applicable")
    statuses = "; ".join(counted(counts[status], status) for status in order if status in counts)
    return paragraph(
        f"Verdicts on claims, links of proofs and tightness: {statuses or 'none'}. "
        f"{data['seconds']:.1f} seconds of wall time.",
        "soft",
    )


def _folders(data: Data) -> Iterator[Html]:
    """A table for each folder of theorems, after what its docstring says of them together."""
    folders: dict[str, list[str]] = {}
    for name, theorem in data["theorems"].items():
        folders.setdefault(theorem["group"], []).append(name)
    for folder, names in folders.items():
        if folder:
            yield tag("h3", text(folder.rpartition(".")[2].replace("_", "-")), class_="group")
        if words := data["groups"].get(folder, ""):
            yield Html(docstring_html(words))
        yield _table(data, names)


def _table(data: Data, names: Sequence[str]) -> Html:
    head = ["theorem", "mark", "claims", "verdicts", "level", "largest lhs/rhs", "instances", "time"]
    rows = []
    for name in names:
        theorem = data["theorems"][name]
        own = rows_of(data, name)
        worst = largest_ratio([row for row in own if row["role"] == "claim"])
        levels = sorted({v["level"] for v in data["verdicts"] if v["theorem"] == name})
        link = Html(tag("a", text(name), href=theorem_page(name)) + tag("div", text(theorem["title"])))
        rows.append(
            [
                link,
                mark_html(theorem["mark"]),
                text(sum(row["role"] == "claim" for row in own)),
                _verdicts(own),
                text(", ".join(levels)),
                text(number(worst["ratio"] if worst else None)),
                text(len(theorem["instances"])),
                text(f"{theorem['seconds']:.1f} s"),
            ]
        )
    return grid(head, rows, ["", "", "number", "", "", "number", "number", "number"])


def _verdicts(rows: list[Row]) -> Html:
    counts: dict[str, int] = {}
    controls = [row for row in rows if row["role"] == "control"]
    for row in rows:
        if row["role"] != "control":
            for status, n in row["counts"].items():
                counts[status] = counts.get(status, 0) + n
    parts = [
        tag("span", text(counted(n, status)), class_=verdict_class([status])) for status, n in counts.items()
    ]
    if controls:
        good = sum(row["expected"] for row in controls)
        words = f"{good} of {len(controls)} controls fail, as they must"
        parts.append(tag("span", text(words), class_="good" if good == len(controls) else "bad"))
    return join(parts, "<br>")


def _legend(data: Data) -> Html:
    marks = {theorem["mark"] for theorem in data["theorems"].values()}
    kinds = {row["kind"] for row in data["summary"]}
    used = [(m, MARKS[m]) for m in MARKS if m in marks] + [(k, KINDS[k]) for k in KINDS if k in kinds]
    entries = join(Html(tag("dt", text(name)) + tag("dd", text(words))) for name, words in used)
    return Html(tag("h3", text("Marks of provenance and kinds of claims")) + tag("dl", entries))
