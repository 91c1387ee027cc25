r"""Every number that the text mentions, as ``\fact{KEY}``, and the tables over all statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paper.docstring import paragraphs
from paper.latex import code, escape, quoted, table
from tabular_fedrl.report.data import Data
from tabular_fedrl.report.words import Row, headline, largest_ratio, number, rows_of


def facts(data: Data) -> dict[str, str]:
    """By key: ``claims``, ``theorems``, ...; ``ratio/THEOREM/CLAIM``; ``found/THEOREM/CLAIM``."""
    rows = data["summary"]
    claims = [row for row in rows if row["role"] == "claim"]
    verdicts = [v for v in data["verdicts"] if v["role"] != "control"]
    marks = [theorem["mark"] for theorem in data["theorems"].values()]
    found = {
        "version": data["version"],
        "headline": headline(data),
        "theorems": len(data["theorems"]),
        "claims": len(claims),
        "links": sum(row["role"] == "link" for row in rows),
        "verdicts": len(verdicts),
        "certified-claims": sum(row["certified"] > 0 for row in claims),
        "certified-verdicts": sum(v["level"] == "certified" for v in verdicts),
        "controls": sum(row["role"] == "control" for row in rows),
        "controls-that-fail": sum(row["role"] == "control" and row["expected"] for row in rows),
        "not-applicable": sum(v["status"] == "not applicable" for v in verdicts),
        "undecided": sum(v["status"] == "undecided" for v in verdicts),
        "instances": len({v["instance"] for v in data["verdicts"]}),
        "searched-claims": len(data["searches"]),
        "searched": sum(row["searched"] for row in _first_of_each(data["searches"], "theorem")),
        "exceeded": sum(row["status"] == "fails" for row in data["searches"]),
        **{f"mark/{mark}": marks.count(mark) for mark in ("paper", "code", "ours", "recalled")},
        **{f"ratio/{r['theorem']}/{r['claim']}": r["ratio"] for r in rows if r["role"] != "link"},
        **{f"found/{r['theorem']}/{r['claim']}": r["ratio"] for r in data["searches"]},
    }
    return {key: escape(_shown(value)) for key, value in found.items()}


def facts_tex(data: Data) -> str:
    r"""Definitions that ``\fact`` looks up."""
    return "".join(
        rf"\expandafter\def\csname fact:{key}\endcsname{{{value}}}" + "\n"
        for key, value in facts(data).items()
    )


def overview(data: Data) -> str:
    """A row per theorem: mark, claims, certified, controls, the largest ratio of a claim and of a search."""
    head = ["statement", "mark", "claims", "cert.", "controls", r"lhs/rhs", "searched", "title"]
    return table(
        r"@{}>{\raggedright\arraybackslash}p{.2\linewidth}lrrrrr>{\raggedright\arraybackslash}p{.26\linewidth}@{}",
        head,
        (_overview_row(data, name) for name in data["theorems"]),
    )


def _overview_row(data: Data, name: str) -> list[str]:
    rows = rows_of(data, name)
    claims = [row for row in rows if row["role"] == "claim"]
    worst = largest_ratio(claims)
    found = [row["ratio"] for row in data["searches"] if row["theorem"] == name and row["ratio"] is not None]
    return [
        rf"\hyperref[{name}]{{{code(name)}}}",
        data["theorems"][name]["mark"],
        str(len(claims)),
        str(sum(row["certified"] > 0 for row in claims)),
        str(sum(row["role"] == "control" for row in rows)),
        escape(number(worst["ratio"])) if worst else "--",
        escape(number(max(found))) if found else "--",
        paragraphs(data["theorems"][name]["title"], f"the title of {name}"),
    ]


def searches(data: Data) -> str:
    """A row per claim that was searched: the worst ratio, the link that loses most there, the instance."""
    head = ["claim", "worst", "instance", "parameters", "the link that loses most"]
    return table(
        r"@{}>{\raggedright\arraybackslash}p{.21\linewidth}r"
        r">{\raggedright\arraybackslash}p{.16\linewidth}>{\raggedright\arraybackslash}p{.23\linewidth}"
        r">{\raggedright\arraybackslash}p{.19\linewidth}@{}",
        head,
        (_search_row(row) for row in data["searches"]),
    )


def _search_row(row: Row) -> list[str]:
    shares = [share for share in row["shares"] or [] if share[1] is not None]
    loses = max(shares, key=lambda share: share[1], default=None)
    # Tables that were searched entry by entry stand in the instance's file.
    scalars = {k: v for k, v in (row["parameters"] or {}).items() if not isinstance(v, list)}
    return [
        code(f"{row['theorem']}/{row['claim']}"),
        escape(number(row["ratio"])),
        _pairs(row["sizes"] or {}),
        _pairs(scalars),
        f"{quoted(loses[0])} ({escape(number(loses[1]))})" if loses else "",
    ]


def slopes(data: Data) -> str:
    """A row per curve of the convergence studies: slope in T with its interval, or why there is none."""
    rows = [
        [
            code(name),
            escape(entry.get("curve", "")),
            code(entry.get("instance", "")),
            *_slope(entry),
        ]
        for name, study in data["studies"].items()
        for entry in study["summary"].get("slopes", ())
    ]
    head = ["study", "curve", "instance", "slope", "confidence interval"]
    column = r">{\raggedright\arraybackslash}p"
    return table(
        rf"@{{}}{column}{{.19\linewidth}}{column}{{.17\linewidth}}{column}{{.27\linewidth}}"
        rf"{column}{{.13\linewidth}}{column}{{.16\linewidth}}@{{}}",
        head,
        rows,
    )


def _slope(entry: Mapping[str, Any]) -> list[str]:
    if entry.get("slope") is None:
        return [escape(entry.get("reason") or "n/a"), ""]
    low, high = entry.get("low"), entry.get("high")
    interval = f"$[{low:.3f}, {high:.3f}]$" if low is not None and high is not None else ""
    return [f"${entry['slope']:.3f}$", interval]


def study_tables(data: Data, name: str) -> str:
    """The tables that a study carries."""
    return "\n".join(_study_table(one) for one in data["studies"][name]["summary"].get("tables", ()))


def _study_table(one: Mapping[str, Any]) -> str:
    others = len(one["head"]) - 1
    column = rf">{{\raggedleft\arraybackslash}}p{{{0.6 / others:.3f}\linewidth}}"
    columns = rf"@{{}}>{{\raggedright\arraybackslash}}p{{.22\linewidth}}*{{{others}}}{{{column}}}@{{}}"
    rows = [[code(str(row[0])), *(escape(_shown(x)) for x in row[1:])] for row in one["rows"]]
    head = [escape(h) for h in one["head"]]
    return rf"\noindent\textbf{{{escape(one['title'])}}}" + "\n" + table(columns, head, rows)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(code(f"{key}={_shown(value)}") for key, value in values.items())


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) or value is None else str(value)


def _first_of_each(rows: list[Row], key: str) -> Iterator[Row]:
    """One row for each value of ``key``: a theorem's claims are searched together."""
    yield from {row[key]: row for row in rows}.values()
