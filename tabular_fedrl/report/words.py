"""Verdicts in words, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tabular_fedrl.report.data import Data

MARKS = {
    "paper": "the statement was read in the paper itself; the constants are the paper's",
    "code": "the algorithm was read in the authors' public code; the statement about it is ours",
    "ours": "proved here, with explicit constants; it has the shape of the source's announced result",
    "recalled": "a published statement quoted from memory; its constants are not certain",
}
"""What the provenance marks mean."""

KINDS = {
    "identity": "both sides are equal",
    "tight": "lhs <= rhs, and an instance attains equality",
    "upper": "lhs <= rhs",
    "conjecture": "lhs <= rhs, not proved",
}
"""What the kinds of claims mean."""

Row = Mapping[str, Any]
"""An entry of ``summary``."""


def counts_in_words(row: Row) -> str:
    """``"12 hold, 1 not applicable"``; for a control ``"fails, as it must"``."""
    counts: Mapping[str, int] = row["counts"]
    if row["role"] == "control":
        return _control_in_words(counts)
    if row["role"] == "attained" and set(counts) == {"holds"}:
        return "equality attained"
    parts = [counted(n, status) for status, n in counts.items()]
    return ", ".join(parts)


def vacuous(row: Row) -> int:
    """On how many instances a claim's bound is no less than all that its left side can be; 0 where the claim
    names no such limit."""
    if row["role"] != "claim" or row["informative"] is None:
        return 0
    return sum(n for status, n in row["counts"].items() if status != "not applicable") - row["informative"]


def _control_in_words(counts: Mapping[str, int]) -> str:
    wrong = {status: n for status, n in counts.items() if status != "fails"}
    if not wrong:
        n = counts["fails"]
        return "fails, as it must" if n == 1 else f"{n} fail, as they must"
    return "must fail, but: " + ", ".join(counted(n, status) for status, n in wrong.items())


def counted(n: int, status: str) -> str:
    """``"1 holds"``, ``"2 hold"``, ``"3 undecided"``."""
    verb = status[:-1] if n != 1 and status in ("holds", "fails") else status
    return f"{n} {verb}"


def links_of(data: Data, claim: Row) -> list[Row]:
    """The links of the proof of a claim."""
    return [
        row
        for row in data["summary"]
        if row["role"] == "link"
        and row["theorem"] == claim["theorem"]
        and row["claim"].rpartition("/")[0] == claim["claim"]
    ]


def links_in_words(links: list[Row]) -> str:
    """``"6/6 links hold"``."""
    good = sum(not {"fails", "undecided"} & set(link["counts"]) for link in links)
    return f"{good}/{len(links)} link{'s' * (len(links) != 1)} hold{'s' * (len(links) == 1)}"


def rows_of(data: Data, theorem: str) -> list[Row]:
    """The rows of one theorem."""
    return [row for row in data["summary"] if row["theorem"] == theorem]


def largest_ratio(rows: list[Row]) -> Row | None:
    """The row with the largest ratio."""
    rated = [row for row in rows if row["ratio"] is not None]
    return max(rated, key=lambda row: row["ratio"], default=None)


def number(x: Any) -> str:
    """A number for a table; a dash for none."""
    if x is None:
        return "–"
    if isinstance(x, float):
        return f"{x:.0f}" if 1000 <= abs(x) < 1e7 else f"{x:.3g}"
    return str(x)


def headline(data: Data) -> str:
    """One plain sentence or two on the whole verification."""
    rows = data["summary"]
    claims = [row for row in rows if row["role"] == "claim"]
    theorems = len({row["theorem"] for row in claims})
    failing = _names(rows, "fails")
    undecided = _names(rows, "undecided")
    tried = [row for row in claims if set(row["counts"]) != {"not applicable"}]
    of = f"{plural(len(claims), 'claim')} of {plural(theorems, 'theorem')}"
    if not claims:
        text = "Nothing was verified."
    elif failing:
        verb = "fails" if len(failing) == 1 else "fail"
        text = f"{plural(len(failing), 'claim')} of {len(claims)} {verb}: {', '.join(failing)}."
    elif not tried:
        text = f"None of the {of} applies: no hypothesis is met, so nothing was verified."
    elif undecided:
        text = f"Nothing fails, but {plural(len(undecided), 'claim')} of {len(claims)} "
        text += f"{'is' if len(undecided) == 1 else 'are'} undecided: {', '.join(undecided)}."
    elif len(tried) < len(claims):
        text = f"{len(tried)} of the {of} hold on every instance they apply to; the others apply to none."
    elif len(claims) == 1:
        text = f"The claim of {claims[0]['theorem']} holds on every instance it applies to."
    else:
        text = f"All {of} hold on every instance they apply to."
    beyond = [f"{row['theorem']}::{row['claim']}" for row in exceeded(data)]
    if beyond:
        text += f" The worst-case search goes beyond {', '.join(beyond)}."
    return " ".join([text, *_certified(claims), *_controls(data["counts"]["controls"])])


def failures(data: Data) -> Iterator[str]:
    """A line for each verdict that is not as expected, and for each undecided one."""
    for v in data["verdicts"]:
        if v["as_expected"] and v["status"] != "undecided":
            continue
        sides = ""
        if v["lhs"] is not None and v["rhs"] is not None:
            sign = "=" if v["kind"] == "identity" or v["role"] == "attained" else "<="
            sides = f": {v['lhs']:.6g} {sign} {v['rhs']:.6g}" + (
                f" (error {v['error']:.1e})" if v["error"] is not None else " (error unbounded)"
            )
        status = "does not fail" if v["role"] == "control" else v["status"]
        yield f"{v['theorem']}::{v['claim']} on {v['case']}: {status}{sides}"
    for row in exceeded(data):
        yield f"{row['theorem']}::{row['claim']} on {row['data']}: {row['words']}"


def _certified(claims: list[Row]) -> list[str]:
    proved = sum(row["certified"] > 0 for row in claims)
    if not proved:
        return []
    subject = "All" if proved == len(claims) > 1 else str(proved)
    return [f"{subject} {'is' if proved == 1 else 'are'} certified on at least one instance."]


def exceeded(data: Data) -> list[Row]:
    """Claims whose left side the worst-case search raised above the right one."""
    return [row for row in data.get("searches", []) if row["status"] not in ("holds", "not applicable")]


def _controls(counts: Mapping[str, int]) -> list[str]:
    fail, wrong = counts["fail"], counts["do not fail"]
    if wrong:
        verb = "does" if wrong == 1 else "do"
        return [f"{plural(wrong, 'control')} of {fail + wrong} should fail and {verb} not."]
    if fail:
        return [
            f"{plural(fail, 'control')} fail{'s' * (fail == 1)}, as {'it' if fail == 1 else 'they'} must."
        ]
    return []


def _names(rows: list[Row], status: str) -> list[str]:
    """Claims (a link counts for its claim) with a verdict of this status, controls apart."""
    names: dict[str, None] = {}
    for row in rows:
        if row["role"] != "control" and status in row["counts"]:
            claim = row["claim"].rpartition("/")[0] if row["role"] == "link" else row["claim"]
            names[f"{row['theorem']}::{claim}"] = None
    return list(names)


def plural(n: int, noun: str) -> str:
    """``"1 claim"``, ``"2 claims"``."""
    return f"{n} {noun}{'s' * (n != 1)}"
