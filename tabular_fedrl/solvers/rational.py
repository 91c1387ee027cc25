r"""The exact optimum of a CMDP with rational data, and its exact Slater slack.

HiGHS proposes a basis of the occupancy program in floats; the basis is proved primal and dual feasible, hence
optimal, in integer arithmetic, or exact pivots lead from it to one that is. What comes back is exact. Whoever
holds a basis proves it again with :func:`prove_optimum` and :func:`prove_slack`, which accept no other.

Arrays are NumPy object arrays of ``flint.fmpq``: P ``(S, A, S)``, r ``(S, A)``, c ``(m, S, A)``, d ``(m,)``,
rho ``(S,)``, and gamma one ``fmpq``; the rows of P and rho sum to 1 exactly. Values are unnormalised.
Source: Altman (1999), chapter 3; Dhiflaoui et al. (2003) for proving a float basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP, exact
from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.solvers.rational_basis import Vertex, prove, vertex
from tabular_fedrl.solvers.rational_pivots import Infeasible, complete, repair
from tabular_fedrl.solvers.rational_program import Program, Rationals, occupancy_program, shown
from tabular_fedrl.solvers.rational_proposal import propose
from tabular_fedrl.solvers.rational_reading import (
    RationalOptimum,
    RationalSlack,
    nothing,
    read_optimum,
    read_slack,
    settled,
)


@dataclass(frozen=True)
class RationalFarkas:
    r"""Proof that no policy meets all constraints: :math:`\mu \ge 0` of sum 1 with
    :math:`\min_\pi V_{\mu\cdot c}(\rho) > \mu\cdot d`.

    ``multipliers (m,)``: :math:`\mu`; ``lowest``: the minimum; ``budget``: :math:`\mu\cdot d`; ``margin``:
    their difference, minus the Slater slack; ``basis``: the basis of the slack program that proves all this.
    """

    multipliers: Rationals
    lowest: fmpq
    budget: fmpq
    margin: fmpq
    basis: tuple[int, ...]

    def check(self, cmdp: CMDP) -> bool:
        """Do the basis and every number prove this problem, its floats read exactly, infeasible?"""
        data: Any = exact(cmdp).cmdp
        P, c, d, rho = (x.items for x in (data.P, data.c, data.d, data.rho))
        gamma = data.gamma.items[()]
        try:
            fresh = _farkas(prove_slack(P, c, d, rho, gamma, self.basis), d)
        except SolverFailure:
            return False
        same = [fresh.lowest, fresh.budget, fresh.margin] == [self.lowest, self.budget, self.margin]
        return same and list(fresh.multipliers) == list(self.multipliers) and self.margin > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, to the nearest float; the basis gives them back exactly."""
        return {
            "multipliers": [float(x) for x in self.multipliers],
            "lowest": float(self.lowest),
            "budget": float(self.budget),
            "margin": float(self.margin),
            "basis": list(self.basis),
        }


def optimum(
    P: Rationals,
    r: Rationals,
    c: Rationals,
    d: Rationals,
    rho: Rationals,
    gamma: fmpq,
    basis: Sequence[int] | None = None,
) -> RationalOptimum:
    """The exact optimum (m = 0 allowed), from a basis proposed by HiGHS or from the given one.

    Raises
    ------
    InfeasibleCMDP: no policy meets all constraints; the certificate is a :class:`RationalFarkas`.
    InvalidProblem: a row of P or rho that is no distribution.
    """
    program = occupancy_program(P, r, c, d, rho, gamma)
    try:
        found = _solved(program, propose(P, r, c, d, rho, gamma) if basis is None else basis)
    except Infeasible:
        raise _infeasible(slack(P, c, d, rho, gamma), d) from None
    found = settled(program, found, P, r, c, gamma)
    return read_optimum(program, found, (P, r, c, d, rho, gamma))


def prove_optimum(
    P: Rationals,
    r: Rationals,
    c: Rationals,
    d: Rationals,
    rho: Rationals,
    gamma: fmpq,
    basis: Sequence[int],
) -> RationalOptimum:
    """The exact optimum by this basis and no other.

    Raises
    ------
    SolverFailure: the basis is none, not feasible or not optimal; the message names the variable.
    InvalidProblem: a row of P or rho that is no distribution.
    """
    program = occupancy_program(P, r, c, d, rho, gamma)
    return read_optimum(program, prove(program, basis), (P, r, c, d, rho, gamma))


def slack(
    P: Rationals,
    c: Rationals,
    d: Rationals,
    rho: Rationals,
    gamma: fmpq,
    basis: Sequence[int] | None = None,
) -> RationalSlack:
    """The exact Slater slack (m > 0), from a basis proposed by HiGHS or from the given one.

    Raises
    ------
    InvalidProblem: a row of P or rho that is no distribution.
    """
    program = occupancy_program(P, None, c, d, rho, gamma)
    found = _solved(program, propose(P, None, c, d, rho, gamma) if basis is None else basis)
    found = settled(program, found, P, nothing(P), c, gamma)
    return read_slack(program, found, (P, c, d, rho, gamma))


def prove_slack(
    P: Rationals, c: Rationals, d: Rationals, rho: Rationals, gamma: fmpq, basis: Sequence[int]
) -> RationalSlack:
    """The exact Slater slack by this basis and no other. Errors as in :func:`prove_optimum`."""
    program = occupancy_program(P, None, c, d, rho, gamma)
    return read_slack(program, prove(program, basis), (P, c, d, rho, gamma))


def value_range(P: Rationals, f: Rationals, rho: Rationals, gamma: fmpq) -> tuple[fmpq, fmpq]:
    r""":math:`\min_\pi V_f^\pi(\rho)` and :math:`\max_\pi V_f^\pi(\rho)` for a signal f ``(S, A)``."""
    none = np.empty((0, *f.shape), dtype=object), np.empty(0, dtype=object)
    return -optimum(P, -f, *none, rho, gamma).value, optimum(P, f, *none, rho, gamma).value


def _solved(program: Program, candidates: Sequence[int]) -> Vertex:
    """The basis made of the candidates, repaired where it is not optimal."""
    return repair(program, vertex(program, complete(program, candidates)))


def _farkas(proved: RationalSlack, d: Rationals) -> RationalFarkas:
    budget = sum((x * y for x, y in zip(proved.multipliers, d)), fmpq(0))
    return RationalFarkas(proved.multipliers, budget - proved.value, budget, -proved.value, proved.basis)


def _infeasible(proved: RationalSlack, d: Rationals) -> InfeasibleCMDP:
    proof = _farkas(proved, d)
    least, allowed = shown(proof.lowest), shown(proof.budget)
    allowed = f"{shown(proof.margin)} less" if allowed == least else allowed
    return InfeasibleCMDP(
        f"no policy meets all constraints: weighted by {[round(float(x), 4) for x in proof.multipliers]} the "
        f"costs are at least {least}, the thresholds allow {allowed}",
        proof,
    )
