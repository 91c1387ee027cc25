"""``tabular-fedrl list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from tabular_fedrl.cli.output import Answer

FILES = "A path to a .npz or .drn file is an instance too."


def listing(kinds: Sequence[str]) -> Answer:
    """``kinds``: any of ``theorems``, ``algorithms``, ``instances``."""
    makers = {"theorems": _theorems, "algorithms": _algorithms, "instances": _instances}
    data: dict[str, Any] = {"status": "ok"}
    view: list[RenderableType] = []
    for kind in kinds:
        data[kind] = makers[kind]()
        view += [_table(kind, data[kind])]
    if "instances" in kinds:
        view.append(FILES)
    names = [entry.get("id") or entry["name"] for kind in kinds for entry in data[kind]]
    return Answer(data, view, brief=names)


def _theorems() -> list[dict[str, Any]]:
    from tabular_fedrl.claims import theorems

    return [
        {"id": t.id, "mark": str(t.mark), "title": t.title(), "source": t.source, "cases": len(list(t.suite))}
        for t in theorems().values()
    ]


def _algorithms() -> list[dict[str, Any]]:
    from tabular_fedrl.algorithms import ALGORITHMS
    from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
    from tabular_fedrl.runner.evolution import FED_SE, PARAMETERS, SUMMARY

    algorithms: list[Any] = [*ALGORITHMS.values(), *PREFERENCE_ALGORITHMS.values()]
    found = [{"name": a.name, "title": a.summary, "parameters": dict(a.parameters)} for a in algorithms]
    return [*found, {"name": FED_SE, "title": SUMMARY, "parameters": PARAMETERS}]


def _instances() -> list[dict[str, Any]]:
    from tabular_fedrl.instances import GYM, SUITES, TEXTBOOK, episodic_families, families

    found = [
        {"name": f.name, "kind": "family", "title": f.summary, "parameters": dict(f.parameters)}
        for f in (*families.values(), *episodic_families.values(), *SUITES.values())
    ]
    found += [
        {"name": f"textbook:{name}", "kind": "textbook", "title": example.summary, "parameters": {}}
        for name, example in TEXTBOOK.items()
    ]
    found += [
        {"name": f"gym:{name}", "kind": "gym", "title": title, "parameters": {}}
        for name, title in GYM.items()
    ]
    return found


def _table(kind: str, entries: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(kind, style="bold", overflow="fold")
    if kind == "theorems":
        table.add_column("mark", style="cyan")
    table.add_column("")
    for entry in entries:
        title = entry["title"].rstrip(".")
        if parameters := entry.get("parameters"):
            shown = ", ".join(k if v is None else f"{k}={v}" for k, v in parameters.items())
            title = f"{title} [{shown}]"
        mark = (entry["mark"],) if kind == "theorems" else ()
        table.add_row(entry.get("id") or entry["name"], *mark, title.replace("[", r"\["))
    return table
