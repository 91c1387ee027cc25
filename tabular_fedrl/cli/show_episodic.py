"""``tabular-fedrl show`` of a finite-horizon problem."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tabular_fedrl.cli.output import Answer
from tabular_fedrl.episodic import (
    EpisodicMDP,
    FederatedEpisodicMDP,
    extreme_returns,
    return_grid,
    start_value,
)
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import notes
from tabular_fedrl.report.words import plural

SHOWN = 12
"""Environments of which there is a line."""


def show_episodic(source: str, problem: FederatedEpisodicMDP) -> Answer:
    """Sizes, and of every environment its start, its returns and the value of the uniform policy."""
    data = {
        "status": "ok",
        "source": source,
        "states": problem.S,
        "actions": problem.A,
        "steps": problem.H,
        "environments": [_environment(mdp) for mdp in problem.mdps],
        "notes": notes(source),
    }
    return Answer(data, _view(data), brief=[repr(problem)])


def _environment(mdp: EpisodicMDP) -> dict[str, Any]:
    uniform = np.full((mdp.H, mdp.S, mdp.A), 1.0 / mdp.A)
    low, high = extreme_returns(mdp)
    try:
        grid = return_grid(mdp)
        points: dict[str, Any] = {"unit": str(grid.unit), "count": grid.n}
    except InvalidProblem as error:
        points = {"unit": None, "count": None, "why": str(error)}
    return {
        "time_dependent": not mdp.is_stationary,
        "start_states": int(np.count_nonzero(mdp.rho)),
        "successors": float(np.count_nonzero(mdp.P, axis=-1).mean()),
        "least_return": float(low),
        "largest_return": float(high),
        "returns": points,
        "uniform_value": float(start_value(mdp, uniform)),
    }


def _view(data: dict[str, Any]) -> list[RenderableType]:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("problem", Text(data["source"], style="bold"))
    found = data["environments"]
    sizes = {"state": data["states"], "action": data["actions"], "step": data["steps"]}
    sizes["environment"] = len(found)
    facts.add_row("sizes", ", ".join(plural(n, what) for what, n in sizes.items()))
    for note in data["notes"]:
        facts.add_row("note", Text(note))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("environment")
    for head in ("start states", "successors", "returns", "in steps of", "uniform policy"):
        table.add_column(head, justify="right")
    for i, one in enumerate(found[:SHOWN]):
        table.add_row(
            str(i) + (" (time-dependent)" if one["time_dependent"] else ""),
            str(one["start_states"]),
            f"{one['successors']:.3g}",
            f"{one['least_return']:.6g} to {one['largest_return']:.6g}",
            one["returns"]["unit"] or "no grid",
            f"{one['uniform_value']:.6g}",
        )
    rest = [f"and {len(found) - SHOWN} more environments"] if len(found) > SHOWN else []
    return [facts, table, *rest]
