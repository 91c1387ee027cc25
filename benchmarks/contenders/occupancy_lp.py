r"""The occupancy program of a CMDP, written down whole and handed to cvxpy.

.. math:: \max_x \langle r, x\rangle/S, \quad \sum_a x(s,a) - \gamma \sum_{s',a'} P(s|s',a') x(s',a') =
          S \rho(s), \quad \langle c_j, x\rangle/S \le d_j, \quad x \ge 0 .

The factor S keeps the right-hand sides near 1 however many states there are; without it first-order solvers
stop at once. What is timed is ``Problem.solve`` with the sparse arrays ready.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from benchmarks.contenders import Method
from tabular_fedrl.cmdp import FederatedCMDP


def _fresh(problem: FederatedCMDP) -> tuple[Any, Any, int]:
    cmdp = problem.cmdp
    leaving = sp.kron(sp.eye_array(cmdp.S), np.ones((1, cmdp.A)))
    x = cp.Variable(cmdp.S * cmdp.A, nonneg=True)
    flow = sp.csr_array(leaving - cmdp.gamma * cmdp.rows.T)
    limits = [flow @ x == cmdp.S * cmdp.rho, cmdp.c.reshape(cmdp.m, -1) @ x / cmdp.S <= cmdp.d]
    return cp.Problem(cp.Maximize(cmdp.r.ravel() @ x / cmdp.S), limits), x, cmdp.A


def _by(solver: str, **settings: Any) -> Method:
    def solve(given: tuple[Any, Any, int]) -> tuple[Any, int, str]:
        program, x, A = given
        program.solve(solver=solver, **settings)
        return x.value, A, program.status

    return Method(_fresh, solve, _policy)


def _policy(solved: tuple[Any, int, str]) -> dict[str, Any]:
    occupancy, A, status = solved
    if occupancy is None:
        raise RuntimeError(f"no answer: {status}")
    table = np.maximum(occupancy, 0.0).reshape(-1, A)
    mass = table.sum(axis=1, keepdims=True)
    # A state that the occupancy does not reach is left by any action.
    return {"policy": np.where(mass > 0, table / np.where(mass > 0, mass, 1.0), 1.0 / A)}


HIGHS = _by("HIGHS")
CLARABEL = _by("CLARABEL")
SCS = _by("SCS", eps_abs=1e-7, eps_rel=1e-7, max_iters=10_000_000)
