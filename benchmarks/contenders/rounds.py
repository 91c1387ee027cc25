"""Rounds of FedNPG on a small problem: the NumPy algorithm, the compiled loop, and many problems at once.

Steps are given as numbers, so that no solver runs inside the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contenders import Method
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.loops import Batch, Iterated, fednpg
from tabular_fedrl.runner import Run, run

ROUNDS = 300
STEPS = {"eta": 0.05, "eta_dual": 0.02, "dual_cap": 10.0}
BATCH_SIZE = 1000


def _run(backend: str) -> Method:
    def solve(given: tuple[FederatedCMDP, dict[str, int]]) -> Run:
        problem, settings = given
        return run("fednpg", problem, backend=backend, compare=False, **STEPS, **settings)

    return Method(_fresh, solve, _averages)


def _fresh(
    problem: FederatedCMDP, rounds: int = ROUNDS, local_steps: int = 1, every: int = 1
) -> tuple[FederatedCMDP, dict[str, int]]:
    return problem, {"rounds": rounds, "local_steps": local_steps, "every": every}


def _averages(done: Run) -> dict[str, Any]:
    return {"value": done.value.value.mean(), "costs": done.costs.value.mean(axis=0)}


def _many(problem: FederatedCMDP, rounds: int = ROUNDS, local_steps: int = 1) -> tuple[Batch, int, int]:
    """``problem`` first; the others have rewards moved a little, so that no two are alike."""
    one = Batch.of([problem])
    shift = np.random.default_rng(0).uniform(0.0, 0.1, size=(BATCH_SIZE, problem.cmdp.S, problem.cmdp.A))
    shift[0] = 0.0
    same = {
        name: np.repeat(getattr(one, name), BATCH_SIZE, axis=0) for name in ("P", "c", "d", "rho", "gamma")
    }
    return Batch(r=one.r + shift, mask=one.mask, **same), rounds, local_steps


def _iterate(given: tuple[Batch, int, int]) -> Iterated:
    return fednpg(*given, **STEPS)


SPECIFICATION = _run("numpy")
COMPILED = _run("numba")
BATCH = Method(
    _many, _iterate, lambda done: {"value": done.value[0], "costs": done.costs[0]}, units=BATCH_SIZE
)
