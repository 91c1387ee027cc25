"""Results on disk: one JSON file, and the same as Markdown tables; each appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import InvalidProblem

FORMAT = 1

RESULTS = Path(__file__).parent / "results"
"""Where the measured files lie."""

FIGURE = "growth.svg"
"""Beside the results in full: how cost grows (:mod:`figures.growth`)."""

TITLES = {
    "optimum": "Unconstrained optimum",
    "evaluation": "Policy evaluation",
    "constrained": "Constrained optimum",
    "rounds": "Rounds, one small problem",
    "batch": "Rounds, many small problems",
    "verification": "Verification",
}


def read(path: Path) -> dict[str, Any]:
    """The file's content; an empty one where there is no file.

    Raises
    ------
    InvalidProblem: the file is not what :func:`write` wrote.
    """
    if not path.exists():
        return {"format": FORMAT, "rows": [], "series": []}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content["format"] == FORMAT and isinstance(content["rows"] + content["series"], list)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InvalidProblem(f"{path} is not a results file of this version: move it away and measure again")
    return content


def merged(content: dict[str, Any], kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    """``content`` with ``entry`` in place of the one of the same name under ``rows`` or ``series``."""
    names = [old["row"] for old in content[kind]]
    entries = list(content[kind])
    if entry["row"] in names:
        entries[names.index(entry["row"])] = entry
    else:
        entries.append(entry)
    return {**content, kind: entries}


def write(path: Path, content: dict[str, Any], figure: str | None = None) -> None:
    """Write ``path`` (JSON) and its neighbour with the ending ``.md``, which shows the ``figure`` of growing
    costs that lies beside it, if there is one."""
    write_both(path, content, markdown(content, figure))


def write_both(path: Path, content: dict[str, Any], tables: str) -> None:
    """Write ``path`` (JSON) and the same as ``tables`` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, text in (
        (path, json.dumps(content, indent=1, allow_nan=False) + "\n"),
        (path.with_suffix(".md"), tables),
    ):
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")


def markdown(content: dict[str, Any], figure: str | None = None) -> str:
    """The tables: ratios, never bare times; and the ``figure``, a file beside them."""
    commits = {entry.get("commit") for entry in content["rows"] + content["series"]}
    parts = ["# Speed against peers", "", *_machine(content.get("machine")), *_commits(commits)]
    several = len(commits) > 1
    for job, title in TITLES.items():
        rows = [row for row in content["rows"] if row["job"] == job]
        if rows:
            parts += ["", f"## {title}", "", *_table(rows, several)]
    if content["series"]:
        parts += ["", "## How cost grows", ""]
        if figure is not None:
            parts += [f"![Measured costs and fitted powers]({figure})", ""]
        parts += _exponents(content["series"], several)
    return "\n".join(parts) + "\n"


def _commits(commits: set[str | None]) -> list[str]:
    """What the head says about the commits that rows were measured at (None: not known)."""
    if len(commits) > 1:
        return ["", "The rows are of several commits: a row's note names its own, where it is known."]
    return [f"\nCommit {commit}." for commit in commits if commit]


def _machine(facts: dict[str, Any] | None) -> list[str]:
    if not facts:
        return []
    return [
        *described(facts),
        "",
        "Ratio: how many times as long as ours (a row's first), median (quartiles) over calls that took",
        "turns; above 1 we are ahead. Error: of the worst answer, in units of value, by an independent",
        "check; `!`: above the row's tolerance.",
    ]


def described(facts: dict[str, Any]) -> list[str]:
    """The kind of machine and the versions."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    return [
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Python {facts['python']}.",
        f"{versions}.",
    ]


def _table(rows: Iterable[dict[str, Any]], several: bool) -> list[str]:
    """``several``: the results are of several commits."""
    lines = ["| problem | method | ratio to ours | error | note |", "|---|---|---|---|---|"]
    for row in rows:
        problem = f"`{row['problem']}`"
        for place, method in enumerate(row["methods"]):
            compared = _ratio(method) if place else "1"
            commit = row.get("commit") if several and not place else None
            cells = (problem, method["label"], compared, _error(method), _note(method, commit))
            lines.append("| " + " | ".join(cells) + " |")
            problem = ""
    return lines


def _ratio(method: dict[str, Any]) -> str:
    if method["ratio"]:
        x = method["ratio"]
        quartiles = f" ({x['low']:.3g} to {x['high']:.3g})" if x["rounds"] > 1 else " (one call)"
        return f"{x['median']:.3g}{quartiles}"
    if method["at_least"] is not None:
        return f"over {method['at_least']:.3g}"
    return "–"


def _error(method: dict[str, Any]) -> str:
    if method["error"] is None:
        return "–"
    return f"{method['error']:.1e}" + (" !" if method["accurate"] is False else "")


def _note(method: dict[str, Any], commit: str | None) -> str:
    notes = [method["failure"]] if method["failure"] else []
    if method.get("gap") is not None:
        notes.append(f"by {method['solver']}, proved gap {method['gap']:.1e}")
    if "claims" in method and method["seconds"]:
        middle = sorted(method["seconds"])[len(method["seconds"]) // 2]
        notes.append(f"{method['claims'] / middle:.3g} claims and links a second")
    if commit:
        notes.append(f"at {commit}")
    return "; ".join(notes)


def _exponents(series: Iterable[dict[str, Any]], several: bool) -> list[str]:
    lines = ["| in | what | problem | sizes | exponent (95 %) |", "|---|---|---|---|---|"]
    for one in series:
        fit = one["exponent"]
        text = f"{fit['value']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})" if fit else "–"
        sizes = f"{one['values'][0]} to {one['values'][-1]}" if one["values"] else "none"
        notes = [text, *one["failures"]]
        if several and one.get("commit"):
            notes.append(f"at {one['commit']}")
        cells = (one["parameter"], one["title"], f"`{one['problem']}`", sizes, "; ".join(notes))
        lines.append("| " + " | ".join(cells) + " |")
    return lines
