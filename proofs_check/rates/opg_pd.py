r"""OPG-PD: the last iterate converges linearly, as seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.claims import Case, StudyData, Theorem, conjecture, control, study
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Windows:
    r"""A run and the largest distance :math:`|V_r - V_r^\star| + \sum_{j\ \mathrm{active}} |V_{c_j} - d_j|`
    in each quarter of its rounds, ``(4,)``."""

    run: Run
    distances: Measured


def distances(result: Run) -> Measured:
    r""":math:`\delta_t`, ``(T,)``"""
    assert result.solution is not None
    active = list(result.solution.active)
    away = (result.value - result.solution.value).abs()
    if active:
        away = away + (result.costs[:, active] - result.problem.cmdp.d[active]).abs().sum(-1)
    return away


def windows(result: Run) -> Windows:
    """The largest distances of a run."""
    away = distances(result)
    quarters = np.array_split(np.arange(result.rounds), 4)
    return Windows(result, Measured.stack([away[q].max() for q in quarters]))


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
        return windows(run("opg-pd", problem, rounds, eta=eta))

    @conjecture(r"\max_{t > 3T/4} \delta_t \le \tfrac12 \max_{T/4 < t \le T/2} \delta_t")
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
                largest = distances(result).reshape(pieces, -1).max(axis=1)
                curves.append(Curve(panel, name, ends, largest))
        return linear_study("OPG-PD, eta = 0.1", self.mark, "rounds t", curves)

    @control(
        "without optimism: NPG-PD with constant steps circles round the saddle point",
        Case("textbook:two-arm", eta=0.1),
    )
    def without_optimism(self, x: Windows) -> tuple[Measured, Measured]:
        cap = float(np.max(x.run.parameters["dual_cap"]))
        circling = run("npg-pd", x.run.problem, 2000, eta=0.1, eta_dual=0.1, dual_cap=cap)
        distances = windows(circling).distances
        return distances[3], distances[1] * 0.5
