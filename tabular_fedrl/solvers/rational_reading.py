r"""What a proved basis says about the CMDP: value, occupancy, multipliers, potentials, policy.

With the multipliers :math:`\lambda` of a proved basis the optimum of the Lagrangian's MDP,
:math:`\max_\pi V_{r-\lambda\cdot c}`, is the basis' own price of the flow if every state has a basic action:
then the prices V satisfy Bellman's equation. A degenerate basis may have none in a state that is never
visited; its prices are then only upper bounds, and the MDP is solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq, fmpz

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.solvers.rational_basis import Vertex, prove, vertex
from tabular_fedrl.solvers.rational_pivots import complete, repair
from tabular_fedrl.solvers.rational_program import Program, Rationals, occupancy_program


@dataclass(frozen=True)
class RationalOptimum:
    r"""The exact optimum.

    ``value``: :math:`V_r^*(\rho)`; ``occupancy (S, A)``: an optimal policy's, normalised (sums to 1);
    ``policy (S, A)``: that policy; where it never goes, an action that is greedy for the Lagrangian; ``costs
    (m,)``: its :math:`V_{c_j}(\rho)`; ``multipliers (m,)``: :math:`\lambda^* \ge 0`; ``potentials (S,)``:
    :math:`\max_\pi V_{r - \lambda^* \cdot c}(s)`, with which
    :math:`V_r^*(\rho) = \sum_s \rho(s) V(s) + \lambda^* \cdot d`; ``basis``: the S + m basic variables, in
    increasing order: ``s*A + a`` for a pair, ``S*A + j`` for the slack of constraint j.
    """

    value: fmpq
    occupancy: Rationals
    policy: Rationals
    costs: Rationals
    multipliers: Rationals
    potentials: Rationals
    basis: tuple[int, ...]


@dataclass(frozen=True)
class RationalSlack:
    r"""The exact Slater slack :math:`\max_\pi \min_j\, d_j - V_{c_j}(\rho)`, negative if no policy meets all
    constraints.

    ``policy (S, A)`` attains it; ``costs (m,)`` are its :math:`V_{c_j}(\rho)`; ``multipliers (m,)``:
    :math:`\mu \ge 0`, of sum 1, with :math:`\min_\pi V_{\mu\cdot c}(\rho) = \mu\cdot d - \xi`; ``basis`` as
    in :class:`RationalOptimum`, and ``S*A + m`` for the slack itself.
    """

    value: fmpq
    policy: Rationals
    costs: Rationals
    multipliers: Rationals
    basis: tuple[int, ...]


def read_optimum(program: Program, found: Vertex, problem: tuple[Any, ...]) -> RationalOptimum:
    """The answer of a proved basis; ``problem``: P, r, c, d, rho, gamma."""
    P, r, c, d, _, gamma = problem
    y, free = _variables(program, found)
    potentials, policy = _lagrangian(program, found, P, r, c, gamma)
    return RationalOptimum(
        value=_objective(program, found),
        occupancy=y * (1 - fmpq(gamma)),
        policy=policy,
        costs=_rationals(list(d)) - free,
        multipliers=_prices(program, found)[1],
        potentials=potentials,
        basis=found.basis,
    )


def read_slack(program: Program, found: Vertex, problem: tuple[Any, ...]) -> RationalSlack:
    """The answer of a proved basis; ``problem``: P, c, d, rho, gamma."""
    P, c, d, _, gamma = problem
    value = _objective(program, found)
    _, free = _variables(program, found)
    return RationalSlack(
        value=value,
        policy=_lagrangian(program, found, P, nothing(P), c, gamma)[1],
        costs=_rationals(list(d)) - value - free,
        multipliers=_prices(program, found)[1],
        basis=found.basis,
    )


def settled(program: Program, found: Vertex, P: Rationals, r: Rationals, c: Rationals, gamma: fmpq) -> Vertex:
    """An optimal basis with an action in every state, if exchanging actions that are never taken gives one:
    its prices are the Lagrangian's values, and whoever proves it later solves no MDP."""
    S, A = program.S, program.A
    if (_basic_actions(program, found) >= 0).all():
        return found
    _, actions = _best_actions(program, found, P, r, c, gamma)
    used = [i for i, x in zip(found.basis, found.primal) if x != 0 or i >= S * A]
    try:
        return prove(program, complete(program, [*used, *_pairs(actions, A)]))
    except SolverFailure:
        return found


def nothing(P: Rationals) -> Rationals:
    """No reward ``(S, A)``."""
    return np.full(P.shape[:2], fmpq(0), dtype=object)


def _rationals(entries: Any) -> Rationals:
    """A one-dimensional object array."""
    out = np.empty(len(entries), dtype=object)
    out[:] = entries
    return out


def _objective(program: Program, found: Vertex) -> fmpq:
    """The optimum, or the Slater slack: the right-hand side at the prices."""
    total = sum((b * w for b, w in zip(program.right.entries(), found.dual)), fmpz(0))
    value = fmpq(total, found.dual_unit * program.right_unit * program.gain_unit)
    return value if program.shift is None else value - program.shift


def _variables(program: Program, found: Vertex) -> tuple[Rationals, Rationals]:
    """Expected visits y ``(S, A)`` and the thresholds' slacks z ``(m,)``."""
    S, A, m = program.S, program.A, program.m
    out = _rationals([fmpq(0)] * (S * A + m + 1))
    unit = found.primal_unit * program.right_unit
    for i, x in zip(found.basis, found.primal):
        out[i] = fmpq(x, unit) * program.units[i]
    return out[: S * A].reshape(S, A), out[S * A : S * A + m]


def _prices(program: Program, found: Vertex) -> tuple[Rationals, Rationals]:
    """Prices of the flow ``(S,)`` and of the costs (multipliers) ``(m,)``."""
    unit = found.dual_unit * program.gain_unit
    out = _rationals([fmpq(w * u, unit) for w, u in zip(found.dual, program.row_units)])
    return out[: program.S], out[program.S :]


def _lagrangian(
    program: Program, found: Vertex, P: Rationals, r: Rationals, c: Rationals, gamma: fmpq
) -> tuple[Rationals, Rationals]:
    r""":math:`\max_\pi V_{r-\lambda\cdot c}(s)` ``(S,)``, and the policy ``(S, A)`` of the basis, with a best
    action for this MDP in states that it never visits."""
    S, A = program.S, program.A
    values, actions = _best_actions(program, found, P, r, c, gamma)
    y, _ = _variables(program, found)
    policy = np.full((S, A), fmpq(0), dtype=object)
    for s in range(S):
        used = [a for a in range(A) if y[s, a] != 0]
        mass = sum((y[s, a] for a in used), fmpq(0))
        for a in used or [actions[s]]:
            policy[s, a] = y[s, a] / mass if len(used) > 1 else fmpq(1)
    return values, policy


def _basic_actions(program: Program, found: Vertex) -> np.ndarray:
    """The first basic action of each state ``(S,)``, -1 where there is none."""
    actions = np.full(program.S, -1)
    for i in reversed(found.basis):
        if i < program.S * program.A:
            actions[i // program.A] = i % program.A
    return actions


def _pairs(actions: np.ndarray, A: int) -> tuple[int, ...]:
    return tuple((np.arange(actions.size) * A + actions).tolist())


def _best_actions(
    program: Program, found: Vertex, P: Rationals, r: Rationals, c: Rationals, gamma: fmpq
) -> tuple[Rationals, np.ndarray]:
    """Values ``(S,)`` of the Lagrangian's MDP and a best action in each state."""
    values, multipliers = _prices(program, found)
    actions = _basic_actions(program, found)
    if (actions >= 0).all():
        return values, actions
    return _solve_mdp(P, r, c, gamma, multipliers, _filled(program, found, actions))


def _filled(program: Program, found: Vertex, actions: np.ndarray) -> np.ndarray:
    """The basic actions, and those of least reduced cost in states without one."""
    S, A = program.S, program.A
    regret = _rationals([x / program.units[i] for i, x in enumerate(found.reduced[: S * A])])
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
    program = occupancy_program(P, reward, *none, _rationals([fmpq(1, S)] * S), gamma)
    found = repair(program, vertex(program, _pairs(actions, A)))
    return _prices(program, found)[0] / scale, np.array(found.basis) % A
