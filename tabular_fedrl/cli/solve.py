"""``tabular-fedrl solve``."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers import Solution, solve

SMALL = 4000
"""State-action pairs up to which the policy is part of the answer."""
SHOWN_STATES, SHOWN_ACTIONS = 40, 8
"""Sizes up to which the policy is shown on a terminal."""


def solve_source(output: Output, source: str, solver: str) -> Answer:
    """The optimum of the problem that ``source`` names."""
    with output.waiting(f"solving {source}"):
        problem = load(source)
        solution = solve(problem.cmdp, solver)
    policy = np.exp(solution.log_policy)
    data = solution_data(source, solution)
    data["policy"] = policy if policy.size <= SMALL else None
    view = [_summary(data), *_constraints(problem.cmdp, solution), *_policy(problem.cmdp, policy)]
    return Answer(data, view, brief=[f"{data['value']:.12g}"])


def solution_data(source: str, solution: Solution) -> dict[str, Any]:
    """The JSON object of a solution."""
    cmdp = solution.cmdp
    return {
        "status": "optimal",
        "source": source,
        "states": cmdp.S,
        "actions": cmdp.A,
        "constraints": cmdp.m,
        "gamma": cmdp.gamma,
        "value": float(solution.value.value),
        "value_error": float(solution.value.error),
        "multipliers": solution.multipliers,
        "costs": solution.costs.value,
        "costs_error": solution.costs.error,
        "thresholds": cmdp.d,
        "slater_slack": solution.slater_slack,
        "active": solution.active,
        "duality_gap": solution.duality_gap,
        "solver": solution.solver,
    }


def _summary(data: dict[str, Any]) -> str:
    slack = data["slater_slack"]
    text = f"V* = {data['value']:.12g} ± {data['value_error']:.1e}"
    if slack is not None:
        text += f"   Slater slack {slack:.6g}"
    if slack == 0 and data["solver"] == "rational":
        text += " (feasible, strictly by next to nothing if at all)"
    elif slack == 0:
        text += " (feasibility not proved)"
    return text + f"   duality gap {data['duality_gap']:.1e}   {data['solver']}"


def _constraints(cmdp: CMDP, solution: Solution) -> list[RenderableType]:
    if not cmdp.m:
        return []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for head in ("constraint", "cost", "threshold", "multiplier"):
        table.add_column(head, justify="left" if head == "constraint" else "right")
    table.add_column("")
    for j in range(cmdp.m):
        table.add_row(
            str(j),
            f"{solution.costs.value[j]:.9g}",
            f"{cmdp.d[j]:.9g}",
            f"{solution.multipliers[j]:.9g}",
            "active" if j in solution.active else "",
        )
    return [table]


def _policy(cmdp: CMDP, policy: Array) -> list[RenderableType]:
    if cmdp.S > SHOWN_STATES or cmdp.A > SHOWN_ACTIONS:
        return []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("optimal policy")
    for a in range(cmdp.A):
        table.add_column(cmdp.action_names[a] if cmdp.action_names else f"action {a}", justify="right")
    for s in range(cmdp.S):
        name = f"{s} {cmdp.state_names[s]}" if cmdp.state_names else f"state {s}"
        table.add_row(name, *(f"{p:.6g}" if p > 0 else "·" for p in policy[s]))
    return [table]
