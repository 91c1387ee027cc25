"""Rounds of one algorithm on a small problem: the NumPy specification, the compiled loop, and many problems
at once.

Steps are given as numbers, so that no solver runs inside the time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.contenders import Method
from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.loops import Iterated
from tabular_fedrl.loops.drpo import Improved
from tabular_fedrl.loops.variants import SINGLE
from tabular_fedrl.runner import Run, improve_batch, run, run_batch

ROUNDS = 300
GIVEN = {"eta": 0.05, "eta_dual": 0.02, "dual_cap": 10.0, "tolerance": 0.1, "theta": 500.0}
"""What theory would have to solve for, of whichever algorithm has such a parameter."""

BATCH_SIZE = 1000


class Work(NamedTuple):
    """A call of :func:`run` for one problem, of :func:`run_batch` or :func:`improve_batch` for many."""

    problems: list[FederatedCMDP]
    algorithm: str
    rounds: int
    every: int
    parameters: dict[str, Any]


def _fresh(
    problem: FederatedCMDP, algorithm: str = "fednpg", rounds: int = ROUNDS, every: int = 1, **further: Any
) -> Work:
    known = ALGORITHMS[algorithm].parameters
    given = {name: x for name, x in GIVEN.items() if name in known}
    return Work([problem], algorithm, rounds, every, given | further)


def _many(problem: FederatedCMDP, **settings: Any) -> Work:
    """``problem`` first; the others have rewards moved a little, so that no two are alike."""
    cmdp = problem.cmdp
    shifts = np.random.default_rng(0).uniform(0.0, 0.1, size=(BATCH_SIZE - 1, cmdp.S, cmdp.A))
    others = [FederatedCMDP(cmdp.replace(r=cmdp.r + shift), problem.visible) for shift in shifts]
    return _fresh(problem, **settings)._replace(problems=[problem, *others])


def _run(backend: str) -> Method:
    def solve(x: Work) -> Run:
        return run(
            x.algorithm, x.problems[0], x.rounds,
            backend=backend, every=x.every, compare=False, **x.parameters,
        )  # fmt: skip

    return Method(_fresh, solve, _measured)


def _measured(done: Run) -> dict[str, Any]:
    """Means over the rounds; of an offline algorithm, whose batches have none, the last recorded round."""
    value, costs = done.value.value, done.costs.value
    if done.algorithm not in SINGLE:
        return {"value": value[-1], "costs": costs[-1]}
    return {"value": value.mean(), "costs": costs.mean(axis=0)}


def _iterate(x: Work) -> Iterated | Improved:
    if x.algorithm in SINGLE:
        return run_batch(x.algorithm, x.problems, x.rounds, x.parameters)
    return improve_batch(x.algorithm, x.problems, x.rounds, x.parameters, recorded=[x.rounds - 1])


def _first(done: Iterated | Improved) -> dict[str, Any]:
    """The same of a batch's first problem."""
    last = (0, -1) if isinstance(done, Improved) else (0,)
    return {"value": done.value[last], "costs": done.costs[last]}


SPECIFICATION = _run("numpy")
COMPILED = _run("numba")
BATCH = Method(_many, _iterate, _first, units=BATCH_SIZE)
