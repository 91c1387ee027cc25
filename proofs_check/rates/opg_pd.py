r"""OPG-PD: the last iterate converges linearly, as seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.claims import Case, StudyData, Theorem, conjecture, control, hypothesis, study
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate, policy_values
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy, probabilities, projected, uniform
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import Solution


@dataclass(frozen=True)
class Windows:
    r"""A run and the largest distance :math:`|V_r - V_r^\star| + \sum_{j\ \mathrm{active}} |V_{c_j} - d_j|`
    in each quarter of its rounds, ``(4,)``."""

    run: Run
    distances: Measured


def distances(solution: Solution, cmdp: CMDP, value: Measured, costs: Measured) -> Measured:
    r""":math:`\delta_t`, ``(T,)``, from values ``(T,)`` and costs ``(T, m)``."""
    active = list(solution.active)
    away = (value - solution.value).abs()
    if active:
        away = away + (costs[:, active] - cmdp.d[active]).abs().sum(-1)
    return away


def of_run(result: Run) -> Measured:
    r""":math:`\delta_t` of a run, ``(T,)``"""
    assert result.solution is not None
    return distances(result.solution, result.problem.cmdp, result.value, result.costs)


def quarters(away: Measured) -> Measured:
    """The largest distance in each quarter of the rounds, ``(4,)``."""
    return Measured.stack([away[q].max() for q in np.array_split(np.arange(len(away)), 4)])


class OPGPD(Theorem):
    r"""The last iterate of optimistic policy gradient primal-dual converges linearly.

    **Problem.** A CMDP whose saddle point has a unique visitation.

    **Algorithm.** ``opg-pd``: projected steps in policy and multipliers, each taken twice with the same
    gradient, once from the memory and once beyond it.

    **Statement** (*conjecture* here). The published bound is :math:`C\rho^T` with constants that depend on
    the problem and are not given in closed form, so that no instance can contradict it. What is checked,
    *ours*, is what it implies once T is large: the largest distance to the optimum in the last quarter of
    the rounds is at most half of that in the second quarter. The instances and steps were chosen so that the
    rate shows; the published steps are far smaller.

    **Source.** Ding, Wei, Zhang, Ribeiro (2023), quoted from memory.
    """

    id = "rates.opg-pd"
    mark = "recalled"
    source = "Ding, Wei, Zhang, Ribeiro 2023; theory notes, rates"
    suite = (
        Case("textbook:two-arm", eta=0.1),
        Case("textbook:three-state", eta=0.1, rounds=4000),
        Case("textbook:machine-repair", eta=0.1, rounds=4000),
        Case("random-mdp:seed=3,gamma=0.5", eta=0.5, rounds=4000),
        Case("random-mdp:seed=1,nS=1,nA=5,ncost=2,gamma=0", eta=0.3, rounds=4000),
    )

    small = None  # on a problem drawn at random no number of rounds is known to be large

    def setup(self, problem: FederatedCMDP, rounds: int = 2000, eta: float = 0.1) -> Windows:
        result = run("opg-pd", problem, rounds, eta=eta)
        return Windows(result, quarters(of_run(result)))

    @hypothesis("at least four rounds")
    def long_enough(self, problem: FederatedCMDP, rounds: int) -> bool:
        return rounds >= 4

    @conjecture(r"\max_{3T/4 \le t < T} \delta_t \le \tfrac12 \max_{T/4 \le t < T/2} \delta_t")
    def halves(self, x: Windows) -> tuple[Measured, Measured]:
        return x.distances[3], x.distances[1] * 0.5

    @study("linear_rate")
    def curve(self) -> StudyData:
        """Distance of the last policy's values to the optimum, the largest in each fiftieth of the rounds:
        OPG-PD, of whose linear rate (*recalled*) the constants are not known, so that no bound is drawn,
        beside NPG-PD with constant steps of the same size, which has no such rate."""
        curves, pieces = [], 50
        for source, rounds in (("textbook:two-arm", 1000), ("textbook:three-state", 3000)):
            panel, problem = Panel(source, r"largest $\delta_t$ (units of value)"), load(source)
            ends = np.arange(1, pieces + 1) * (rounds // pieces)
            optimistic = run("opg-pd", problem, rounds, eta=0.1)
            cap = optimistic.parameters["dual_cap"]
            plain = run("npg-pd", problem, rounds, eta=0.1, eta_dual=0.1, dual_cap=cap)
            for name, result in (("opg-pd", optimistic), ("npg-pd", plain)):
                largest = of_run(result).reshape(pieces, -1).max(axis=1)
                curves.append(Curve(panel, name, ends, largest))
        return linear_study("OPG-PD, eta = 0.1", self.mark, "rounds t", curves)

    @control(
        "without optimism: the same projected steps, taken once, circle round the saddle point",
        Case("textbook:two-arm", eta=0.1),
    )
    def without_optimism(self, x: Windows) -> tuple[Measured, Measured]:
        largest = quarters(circling(x.run))
        return largest[3], largest[1] * 0.5


def circling(result: Run) -> Measured:
    r""":math:`\delta_t` of plain projected steps, as long and as many as those of the run, ``(T,)``."""
    assert result.solution is not None
    cmdp, eta, cap = result.problem.cmdp, result.parameters["eta"], result.parameters["dual_cap"]
    log_pi, lam, visited = uniform(cmdp.S, cmdp.A), np.zeros(cmdp.m), []
    for _ in range(result.rounds):
        visited.append(log_pi)
        f = cmdp.r - (lam[:, None, None] * cmdp.c).sum(axis=0)
        V, Q = policy_values(cmdp, log_pi, np.concatenate([f[None], cmdp.c]))
        log_pi = log_policy(projected(probabilities(log_pi) + eta * Q[0]), cmdp.S, cmdp.A)
        lam = np.clip(lam + eta * (V[1:] @ cmdp.rho - cmdp.d), 0.0, cap)
    values = evaluate(cmdp, np.stack(visited)).at_rho
    return distances(result.solution, cmdp, values[:, 0], values[:, 1:])
