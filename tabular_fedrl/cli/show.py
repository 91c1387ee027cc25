"""``tabular-fedrl show``: a problem, or the page of a theorem."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tabular_fedrl.claims import Theorem, theorems
from tabular_fedrl.claims.discovery import select
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.show_episodic import show_episodic
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load_any, notes
from tabular_fedrl.measured import Array
from tabular_fedrl.report.words import plural
from tabular_fedrl.solvers import optimise

SHOWN_AGENTS = 12


def show_source(output: Output, source: str) -> Answer:
    """The problem that ``source`` names, or the theorem with this id, or the theorems of a Python file."""
    if source.endswith(".py"):
        return _pages(select(source))
    if ":" not in source and not os.path.exists(source):
        if source in theorems():
            return _pages(select(source))
        if any(name.startswith(f"{source}.") for name in theorems()):
            below = ", ".join(theorem.id for theorem in select(source))
            raise InvalidProblem(f"{source} names several theorems; show one: {below}")
    with output.waiting(f"reading {source}"):
        problem = load_any(source)
        if isinstance(problem, FederatedEpisodicMDP):
            return show_episodic(source, problem)
        data = problem_data(source, problem)
    return Answer(data, _view(data, problem), brief=[repr(problem.cmdp)])


def problem_data(source: str, problem: FederatedCMDP) -> dict[str, Any]:
    """Sizes, thresholds, agents, ranges, least costs."""
    cmdp = problem.cmdp
    names = ["r", *(f"c[{j}]" for j in range(cmdp.m))]
    stored = cmdp.P.nnz if cmdp.is_sparse else int(np.count_nonzero(cmdp.P))
    return {
        "status": "ok",
        "source": source,
        "states": cmdp.S,
        "actions": cmdp.A,
        "constraints": cmdp.m,
        "gamma": cmdp.gamma,
        "start": np.flatnonzero(cmdp.rho)[:20],
        "start_states": int(np.count_nonzero(cmdp.rho)),
        "storage": "sparse" if cmdp.is_sparse else "dense",
        "nonzeros": stored,
        "successors": stored / (cmdp.S * cmdp.A),
        "agents": problem.N,
        "visible": problem.visible,
        "signals": {n: {"min": x.min(), "max": x.max()} for n, x in zip(names, cmdp.signals, strict=True)},
        "thresholds": cmdp.d,
        "least_costs": [_least(cmdp, c) for c in cmdp.c],
        "notes": notes(source),
    }


def _least(cmdp: CMDP, c: Array) -> float:
    """The least value of a cost; 0 where it cannot be told from 0."""
    largest = optimise(cmdp, -c).value
    return 0.0 if abs(float(largest)) <= float(largest.error) else -float(largest)


def _view(data: dict[str, Any], problem: FederatedCMDP) -> list[RenderableType]:
    cmdp = problem.cmdp
    start = [f"{s} ({cmdp.state_names[s]})" if cmdp.state_names else str(s) for s in data["start"]]
    starts = start[0] if len(start) == 1 else f"{data['start_states']} states"
    facts = Table.grid(padding=(0, 2))
    facts.add_row("problem", Text(data["source"], style="bold"))
    sizes = {"state": cmdp.S, "action": cmdp.A, "constraint": cmdp.m, "agent": problem.N}
    facts.add_row("sizes", ", ".join(plural(n, what) for what, n in sizes.items()))
    facts.add_row("gamma", f"{cmdp.gamma:.12g}")
    facts.add_row("start", Text(starts))
    facts.add_row(
        "kernel",
        f"{data['storage']}, {data['nonzeros']} non-zeros, {data['successors']:.3g} successors on average",
    )
    r = data["signals"]["r"]
    facts.add_row("reward", f"{r['min']:g} to {r['max']:g}")
    for i, seen in enumerate(problem.visible[:SHOWN_AGENTS]):
        facts.add_row(f"agent {i}", "sees " + (", ".join(f"c[{j}]" for j in seen) or "no constraint"))
    if problem.N > SHOWN_AGENTS:
        facts.add_row("", f"and {problem.N - SHOWN_AGENTS} more agents")
    for note in data["notes"]:
        facts.add_row("note", Text(note))
    return [facts, *_costs(data)]


def _costs(data: dict[str, Any]) -> list[RenderableType]:
    if not data["constraints"]:
        return []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("cost")
    for head in ("smallest", "largest", "least value", "threshold"):
        table.add_column(head, justify="right")
    for j, (least, d) in enumerate(zip(data["least_costs"], data["thresholds"], strict=True)):
        span = data["signals"][f"c[{j}]"]
        row = (span["min"], span["max"], least, d)
        table.add_row(Text(f"c[{j}]"), *(f"{x:.6g}" for x in row))
    return [table]


def theorem_data(theorem: type[Theorem]) -> dict[str, Any]:
    """A theorem's page as data."""
    return {
        "id": theorem.id,
        "mark": theorem.mark,
        "title": theorem.title(),
        "source": theorem.source,
        "page": (theorem.__doc__ or "").strip(),
        "parameters": theorem.parameters(),
        "hypotheses": [{"name": h.name, "text": h.text, "only": h.only} for h in theorem.hypotheses()],
        "claims": [{"name": c.name, "kind": c.kind, "statement": c.statement} for c in theorem.claims()],
        "controls": [{"name": c.name, "shows": c.shows, "case": c.case.label} for c in theorem.controls()],
        "suite": [case.label for case in theorem.suite],
    }


def _pages(found: list[type[Theorem]]) -> Answer:
    pages = [theorem_data(theorem) for theorem in found]
    data = {"status": "ok", **pages[0]} if len(pages) == 1 else {"status": "ok", "theorems": pages}
    view: list[RenderableType] = []
    for theorem, page in zip(found, pages, strict=True):
        view += [*([""] if view else []), *_page(theorem, page)]
    return Answer(data, view, brief=[f"{p['id']}: {p['title']}" for p in pages])


def _page(theorem: type[Theorem], page: dict[str, Any]) -> list[RenderableType]:
    import inspect

    lines = [Text(f"{page['id']}  ({page['mark']})", style="bold"), Text(inspect.getdoc(theorem) or "")]
    lines.append(Text("\nHypotheses:" if page["hypotheses"] else "", style="bold"))
    lines += [Text(f"  {h['text']}") for h in page["hypotheses"]]
    lines.append(Text("\nClaims:", style="bold"))
    lines += [Text(f"  {c['name']} ({c['kind']}): {c['statement']}") for c in page["claims"]]
    if page["controls"]:
        lines.append(Text("\nControls, which must fail:", style="bold"))
        lines += [Text(f"  {c['name']} on {c['case']}: {c['shows']}") for c in page["controls"]]
    shown = ", ".join(k if v is None else f"{k}={v}" for k, v in page["parameters"].items())
    lines.append(Text(f"\nParameters: {shown or 'none'}; suite of {len(page['suite'])} cases."))
    return list(lines)
