"""Cells side by side in compiled loops (:func:`tabular_fedrl.runner.run_batch`): many times the speed of one
run after another on small problems, and no bound on the averages' errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops import Iterated
from tabular_fedrl.runner import run_batch
from tabular_fedrl.runner.settings import resolve, resolved_parameters
from tabular_fedrl.solvers import Solution, solve
from tabular_fedrl.sweeps.columns import Outcome, described, steps_used
from tabular_fedrl.sweeps.plan import Cell

CELLS = 256
"""Cells run together: enough to fill the lanes of two threads."""


@dataclass(frozen=True)
class Lane:
    """A cell with all that its run needs; ``settings``: resolved, the theory's steps filled in."""

    cell: Cell
    problem: FederatedCMDP
    acting: FederatedCMDP
    settings: Mapping[str, Any]
    used: Mapping[str, Any]
    solution: Solution

    @property
    def shape(self) -> Any:
        """What lanes must have in common."""
        common = [repr(self.settings.get(name)) for name in ("local_steps", "aggregation", "weights")]
        return self.acting.cmdp.c.shape, self.acting.visible, *common


def lockstep(cells: Sequence[Cell]) -> Iterator[list[Outcome]]:
    """The outcomes of the cells, in their order, :data:`CELLS` at a time."""
    for first in range(0, len(cells), CELLS):
        yield _together(cells[first : first + CELLS])


def _together(cells: Sequence[Cell]) -> list[Outcome]:
    problems: dict[int, FederatedCMDP] = {}
    known: list[dict[str, Any]] = []
    results: dict[int, dict[str, Any] | Exception] = {}
    groups: dict[Any, dict[int, Lane]] = {}
    for i, cell in enumerate(cells):
        known.append({})
        try:
            if id(cell.instance) not in problems:
                problems[id(cell.instance)] = cell.instance.load()
            problem = problems[id(cell.instance)]
            known[i] = described(problem)
            lane = _lane(cell, problem)
        except Exception as error:
            results[i] = error
        else:
            groups.setdefault((cell.algorithm, cell.rounds, lane.shape), {})[i] = lane
    for (algorithm, rounds, _), lanes in groups.items():
        results |= _run(algorithm, rounds, lanes)
    return [(known[i], results[i]) for i in range(len(cells))]


def _run(algorithm: str, rounds: int, lanes: Mapping[int, Lane]) -> dict[int, dict[str, Any] | Exception]:
    """The results of lanes of one shape, by cell."""
    problems, settings, seeds = zip(*((x.problem, x.settings, x.cell.seed) for x in lanes.values()))
    try:
        result = run_batch(algorithm, problems, rounds, settings, seeds=seeds)
    except Exception as error:
        if len(lanes) == 1:
            return dict.fromkeys(lanes, error)
        # Only those that cannot be run are to fail: they are in one half, or in both.
        several = list(lanes.items())
        halves = several[: len(lanes) // 2], several[len(lanes) // 2 :]
        return {i: row for half in halves for i, row in _run(algorithm, rounds, dict(half)).items()}
    return {i: _row(lane, result, b) for b, (i, lane) in enumerate(lanes.items())}


def _lane(cell: Cell, problem: FederatedCMDP) -> Lane:
    algorithm = ALGORITHMS[cell.algorithm]
    given = resolve(algorithm, cell.settings)
    acting = algorithm.acts_on(problem, given)
    steps = algorithm.steps(acting, cell.rounds, given)
    used = resolved_parameters(given, steps)
    settings = given | {name: used[name] for name in ("eta", "eta_dual", "dual_cap") if name in given}
    return Lane(cell, problem, acting, settings, used, solve(acting.cmdp))


def _row(lane: Lane, result: Iterated, b: int) -> dict[str, Any] | Exception:
    policy = result.log_policy[b]
    # The logarithm of an intended 0 is no sign of anything.
    zeros = ALGORITHMS[lane.cell.algorithm].zeros
    if not np.isfinite(np.exp(policy) if zeros else policy).all():
        return InvalidProblem(f"a policy is not finite; the steps are too large (eta = {lane.used['eta']:g})")
    violations = np.maximum(result.costs[b] - lane.acting.cmdp.d, 0.0)
    best = lane.solution.value
    return {
        "status": "ok",
        "local_steps": lane.settings.get("local_steps", 1),
        **steps_used(lane.used),
        "optimum": float(best.value),
        "optimum_error": float(best.error),
        "average_value": result.value[b],
        "gap": float(best.value) - result.value[b],
        "violation": violations.max(initial=0.0),
        "local_average_value": result.local_value[b],
        "average_costs": result.costs[b],
        "violations": violations,
        "local_average_costs": result.local_costs[b],
        "drift": result.drift[b],
    }
