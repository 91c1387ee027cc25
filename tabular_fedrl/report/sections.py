"""Sections of the HTML page: claims with their proofs and controls, ratios, figures and slopes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.docstring import formula_html, inline_html
from tabular_fedrl.report.markup import Html, grid, join, paragraph, tag, text, void
from tabular_fedrl.report.words import MARKS, Row, counts_in_words, links_in_words, links_of, number

SIDES = ["", "", "number", "where"]


def verdict_class(statuses: Collection[str]) -> str:
    """The style of a set of statuses: the worst one counts."""
    if "fails" in statuses:
        return "bad"
    if "undecided" in statuses:
        return "open"
    return "good" if "holds" in statuses else "soft"


def claims_html(data: Data, rows: list[Row]) -> Html:
    """The claims of a theorem, the links of their proofs, where equality is attained, the controls."""
    claims = [row for row in rows if row["role"] == "claim"]
    parts = [tag("h2", text("Claims"))]
    head = ["claim", "verdicts", "largest lhs/rhs", "on"]
    parts.append(grid(head, [_claim(row) for row in claims], SIDES))
    parts += [note for row in claims for note in _notes(data, row)]
    for row in claims:
        if links := links_of(data, row):
            inner = grid(
                ["link", "verdicts", "largest lhs/rhs", "on"], [_link(link) for link in links], SIDES
            )
            title = tag("summary", text(f"Proof of {row['claim']}: {links_in_words(links)}"))
            broken = any({"fails", "undecided"} & set(link["counts"]) for link in links)
            parts.append(Html(f"<details{' open' * broken}>{title}{inner}</details>"))
    if attained := [row for row in rows if row["role"] == "attained"]:
        parts.append(tag("h2", text("Attained with equality")))
        parts.append(grid(head, [_claim(row) for row in attained], SIDES))
    if controls := [row for row in rows if row["role"] == "control"]:
        parts.append(tag("h2", text("Controls: statements that must fail")))
        parts.append(grid(["control", "verdict", "lhs/rhs", "on"], [_claim(row) for row in controls], SIDES))
    return join(parts)


def _claim(row: Row) -> list[Html]:
    statement = row["statement"]
    # What a control shows is a sentence; what a claim states is LaTeX.
    what = Html(inline_html(statement)) if row["role"] == "control" else formula_html(statement)
    kind = "" if row["role"] == "control" else tag("span", text(f" ({row['kind']})"), class_="soft")
    name = Html(tag("strong", text(row["claim"])) + kind + tag("div", what))
    return [name, _verdict(row), text(number(row["ratio"])), _where(row)]


def _link(row: Row) -> list[Html]:
    number_of_link = row["claim"].rpartition("/")[2]
    reason = Html(f"{text(number_of_link)}. {inline_html(row['statement'])}")
    return [reason, _verdict(row), text(number(row["ratio"])), _where(row)]


def _verdict(row: Row) -> Html:
    good = "good" if row["expected"] else "bad"
    class_ = good if row["role"] == "control" else verdict_class(row["counts"])
    return tag("span", text(counts_in_words(row)), class_=class_)


def _where(row: Row) -> Html:
    """Where the ratio is largest; for what has no ratio, where it goes wrong."""
    tells = row["ratio"] is not None or not row["expected"]
    return text(row["worst"] if tells and set(row["counts"]) != {"not applicable"} else "")


def _notes(data: Data, row: Row) -> list[Html]:
    """Vacuous bounds, hypotheses that are not met, statements that hold with a confidence only."""
    verdicts = [
        v
        for v in data["verdicts"]
        if (v["theorem"], v["claim"], v["role"]) == (row["theorem"], row["claim"], "claim")
    ]
    notes = []
    stated = [v for v in verdicts if v["vacuous"] is not None]
    if vacuous := sum(v["vacuous"] for v in stated):
        words = f"{row['claim']}: the bound exceeds the trivial range on {vacuous} of {len(stated)} instances"
        if vacuous == len(stated):
            words += "; no non-vacuous instance was found"
        notes.append(paragraph(words + ".", "note"))
    absent = [v for v in verdicts if v["status"] == "not applicable"]
    if absent:
        reasons = sorted({v["reason"] for v in absent if v["reason"]})
        words = f"{row['claim']}: not applicable on {len(absent)} of {len(verdicts)} instances"
        notes.append(paragraph(": ".join([words, "; ".join(reasons)]) + ".", "soft"))
    levels = sorted({v["confidence"] for v in verdicts if v["confidence"] is not None})
    if levels:
        shown = ", ".join(f"{100 * level:g} %" for level in levels)
        notes.append(
            paragraph(
                f"{row['claim']}: a statement on expectations, decided with confidence {shown}.", "soft"
            )
        )
    return notes


def ratios_html(data: Data) -> Html:
    """The largest ratio of every claim and of every link, largest first."""
    rated = [row for row in data["summary"] if row["ratio"] is not None and row["role"] in ("claim", "link")]
    if not rated:
        return Html("")
    rated.sort(key=lambda row: -row["ratio"])
    claims, links = (_ratios([row for row in rated if row["role"] == role]) for role in ("claim", "link"))
    lead = paragraph(
        "A ratio of 1 is equality. A claim whose ratio stays far below 1 is loose on these instances. "
        "Identities have no ratio."
    )
    folded = tag("details", Html(tag("summary", text("Links of the proofs")) + links))
    return join([tag("h2", text("Largest ratios"), id="ratios"), lead, claims, folded])


def _ratios(rows: list[Row]) -> Html:
    cells = [
        [text(f"{row['theorem']}::{row['claim']}"), text(number(row["ratio"])), text(row["worst"])]
        for row in rows
    ]
    return grid(["claim", "largest lhs/rhs", "on"], cells, ["", "number", "where"])


def studies_html(data: Data, theorem: str, absent: Mapping[str, str]) -> Html:
    """Figures of a theorem with captions, slopes and the other numbers of its studies."""
    parts: list[Html] = []
    for name, study in data["studies"].items():
        if not name.startswith(theorem + ".") or name.removeprefix(theorem + ".").count("."):
            continue
        if not parts:
            parts.append(tag("h2", text("Figures and rates")))
        caption = Html(inline_html(study["caption"] or name))
        if name not in absent:
            image = void("img", src=f"../{figure_path(study)}", alt=f"Plot of {name}")
            parts.append(tag("figure", Html(image + tag("figcaption", caption))))
        else:
            note = f" (no figure: {absent[name]}; the data are in {study['data']})"
            parts.append(tag("p", Html(caption + text(note)), class_="soft"))
        summary = dict(study["summary"])
        if slopes := summary.pop("slopes", None):
            parts.append(_slopes(slopes))
        tables = summary.pop("tables", [])
        if summary:
            entries = (Html(tag("dt", text(k)) + tag("dd", text(_shown(v)))) for k, v in summary.items())
            parts.append(tag("dl", join(entries)))
        parts += [_table(table) for table in tables]
    return join(parts)


def figure_path(study: Mapping[str, Any]) -> str:
    """Where the figure of a study lies, beside the page."""
    stem = study["data"].removeprefix("data/").removesuffix(".npz")
    return f"figures/{stem}.svg"


def _table(table: Mapping[str, Any]) -> Html:
    """A study's table: ``title``, ``head``, and ``rows`` of what stands below it."""
    rows = [[text(_shown(x)) for x in row] for row in table["rows"]]
    return tag("details", Html(tag("summary", text(table["title"])) + grid(table["head"], rows)), open="")


def _slopes(slopes: Sequence[Mapping[str, Any]]) -> Html:
    rows = []
    for entry in slopes:
        if entry.get("slope") is None:
            value, interval = entry.get("reason") or "n/a: zero or negative", ""
        else:
            value = f"{entry['slope']:.3f}"
            low, high = entry.get("low"), entry.get("high")
            interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        rows.append(
            [text(entry.get("curve", "")), text(entry.get("instance", "")), text(value), text(interval)]
        )
    return grid(["curve", "instance", "slope against T", "confidence interval"], rows, ["", "where", "", ""])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_shown(x) for x in value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_shown(x)}" for k, x in value.items())
    return str(value)


def mark_html(mark: str) -> Html:
    """A provenance mark, which says what it means when pointed at."""
    return tag("span", text(mark), class_="mark", title=MARKS.get(mark, ""))
