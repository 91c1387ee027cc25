r"""What a proved basis says about the CMDP: value, occupancy, multipliers, potentials, policy.

With the multipliers :math:`\lambda` of a proved basis the optimum of the Lagrangian's MDP,
:math:`\max_\pi V_{r-\lambda\cdot c}`, is the basis' own price of the flow if every state has a basic action:
then the prices V satisfy Bellman's equation. A degenerate basis may have none in a state that is never
visited; its prices are then only upper bounds, and the MDP is solved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import fmpq, fmpz

from tabular_fedrl.solvers.rational_program import Program, Rationals, occupancy_program
from tabular_fedrl.solvers.rational_simplex import Vertex, repair


def rationals(entries: Any) -> Rationals:
    """A one-dimensional object array."""
    out = np.empty(len(entries), dtype=object)
    out[:] = entries
    return out


def objective(program: Program, found: Vertex) -> fmpq:
    """The optimum, or the Slater slack: the right-hand side at the prices."""
    total = sum((b * w for b, w in zip(program.right.entries(), found.dual)), fmpz(0))
    value = fmpq(total, found.dual_unit * program.right_unit * program.gain_unit)
    return value if program.shift is None else value - program.shift


def variables(program: Program, found: Vertex) -> tuple[Rationals, Rationals]:
    """Expected visits y ``(S, A)`` and the thresholds' slacks z ``(m,)``."""
    S, A, m = program.S, program.A, program.m
    out = rationals([fmpq(0)] * (S * A + m + 1))
    unit = found.primal_unit * program.right_unit
    for i, x in zip(found.basis, found.primal):
        out[i] = fmpq(x, unit) * program.units[i]
    return out[: S * A].reshape(S, A), out[S * A : S * A + m]


def prices(program: Program, found: Vertex) -> tuple[Rationals, Rationals]:
    """Prices of the flow ``(S,)`` and of the costs (multipliers) ``(m,)``."""
    unit = found.dual_unit * program.gain_unit
    out = rationals([fmpq(w * u, unit) for w, u in zip(found.dual, program.row_units)])
    return out[: program.S], out[program.S :]


def lagrangian(
    program: Program, found: Vertex, P: Rationals, r: Rationals, c: Rationals, gamma: fmpq
) -> tuple[Rationals, Rationals]:
    r""":math:`\max_\pi V_{r-\lambda\cdot c}(s)` ``(S,)``, and the policy ``(S, A)`` of the basis, with a best
    action for this MDP in states that it never visits."""
    S, A = program.S, program.A
    values, multipliers = prices(program, found)
    y, _ = variables(program, found)
    actions = np.full(S, -1)
    for i in reversed([i for i in found.basis if i < S * A]):
        actions[i // A] = i % A
    if (actions < 0).any():
        values, actions = _solve_mdp(P, r, c, gamma, multipliers, _filled(program, found, actions))
    policy = np.full((S, A), fmpq(0), dtype=object)
    for s in range(S):
        used = [a for a in range(A) if y[s, a] != 0]
        mass = sum((y[s, a] for a in used), fmpq(0))
        for a in used or [actions[s]]:
            policy[s, a] = y[s, a] / mass if len(used) > 1 else fmpq(1)
    return values, policy


def _filled(program: Program, found: Vertex, actions: np.ndarray) -> np.ndarray:
    """The basic actions, and those of least reduced cost in states without one."""
    S, A = program.S, program.A
    regret = rationals([x / program.units[i] for i, x in enumerate(found.reduced[: S * A])])
    best = [min(range(A), key=row.__getitem__) for row in regret.reshape(S, A).tolist()]
    return np.where(actions < 0, best, actions)


def _solve_mdp(
    P: Rationals, r: Rationals, c: Rationals, gamma: fmpq, multipliers: Rationals, actions: np.ndarray
) -> tuple[Rationals, np.ndarray]:
    """Values and actions of the Lagrangian's MDP, by pivots from these actions.

    All states are started in, so that every basis has an action in each.
    """
    S, A = r.shape
    scale = fmpz(1)
    for x in multipliers:
        scale = scale.lcm(x.q)
    # Whole multiples of r and c: the multipliers' long denominators would enter every column.
    reward = scale * r
    for x, cost in zip(multipliers, c):
        reward = reward - (scale * x) * cost
    none = np.empty((0, S, A), dtype=object), np.empty(0, dtype=object)
    program = occupancy_program(P, reward, *none, rationals([fmpq(1, S)] * S), gamma)
    found = repair(program, tuple((np.arange(S) * A + actions).tolist()))
    return prices(program, found)[0] / scale, np.array(found.basis) % A
