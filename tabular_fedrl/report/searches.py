"""How loose the theorems are: what the worst-case searches of a verification found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.docstring import inline_html
from tabular_fedrl.report.markup import Html, grid, join, paragraph, tag, text
from tabular_fedrl.report.words import number

CLASSES = {"holds": "good", "not applicable": "soft", "undecided": "open"}


def looseness_html(data: Data) -> Html:
    """The worst instance found for every claim that was searched, the tightest claim first."""
    rows = sorted(data.get("searches", []), key=lambda row: -(row["ratio"] or 0.0))
    if not rows:
        return Html("")
    lead = paragraph(
        "For each claim the instance on which a search over small problems (kernels, signals, thresholds, "
        "initial distributions, discounts and the theorem's free parameters) brought the left side closest "
        "to the right one. A constant that holds on everything found is a suggestion, not a theorem; a ratio "
        "near 1 says that no smaller one can be proved."
    )
    head = ["claim", "worst lhs/rhs", "constant", "instance", "most of the slack is lost at"]
    cells = [[_claim(r), text(number(r["ratio"])), _words(r), _instance(r), _lost(r)] for r in rows]
    return join(
        [
            tag("h2", text("How loose the theorems are"), id="looseness"),
            lead,
            grid(head, cells, ["", "number", "", "where", ""]),
        ]
    )


def _claim(row: Mapping[str, Any]) -> Html:
    found = f"{row['family']}, {row['searched']} evaluations, seed {row['seed']}"
    name = tag("strong", text(f"{row['theorem']}::{row['claim']}"))
    return Html(name + tag("span", text(f" ({row['kind']})"), class_="soft") + tag("div", text(found)))


def _words(row: Mapping[str, Any]) -> Html:
    return tag("span", text(row["words"]), class_=CLASSES.get(row["status"], "bad"))


def _instance(row: Mapping[str, Any]) -> Html:
    """Sizes and parameters, and where the instance is kept."""
    if not row["data"]:
        return text("")
    sizes = ", ".join(f"{key}={number(value)}" for key, value in row["sizes"].items())
    tables = {k: v for k, v in row["parameters"].items() if isinstance(v, list)}
    chosen = {k: v for k, v in row["parameters"].items() if k not in tables and v is not None}
    words = "; ".join(filter(None, [sizes, ", ".join(f"{k}={number(v)}" for k, v in chosen.items())]))
    file = tag("a", text(row["data"]), href=row["data"])
    return Html(tag("div", text(words)) + file)


def _lost(row: Mapping[str, Any]) -> Html:
    if not row["shares"]:
        return text("")
    reason, share = max(row["shares"], key=lambda each: each[1])
    return Html(f"{inline_html(reason)} ({100 * share:.0f} %)")
