r"""Performance difference lemma."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.claims import Case, Kind, Theorem, control, identity
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.measured import Array, Measured, dot
from tabular_fedrl.policies import enclosed, random_log_policy


@dataclass(frozen=True)
class Pairs:
    """Pairs of policies ``(p', p)`` as log-policies, for one problem."""

    problem: FederatedCMDP
    first: list[Array]
    second: list[Array]


class PerformanceDifference(Theorem):
    r"""The value of one policy is the expected advantage of another.

    **Statement.** For every signal f and all policies :math:`p', p`,

    .. math:: V_f^{p'}(\rho) - V_f^{p}(\rho) = \frac{1}{1-\gamma}\, E_{s \sim d_\rho^{p'}} \langle
              p'(\cdot|s), A_f^p(s, \cdot)\rangle .

    Checked for the reward and every cost, on ``pairs`` random pairs of policies.

    **Proof.** With the resolvent :math:`(I - \gamma P_{p'})^{-1}` of :math:`p'`,

    .. math:: V_f^{p'} - V_f^p = (I - \gamma P_{p'})^{-1} (f_{p'} + \gamma P_{p'} V_f^p - V_f^p) ,

    where the bracket is :math:`\langle p'(\cdot|s), A_f^p(s, \cdot)\rangle` in state s. Multiply by
    :math:`\rho^\top`; :math:`d_\rho^{p'} = (1-\gamma) (I - \gamma P_{p'}^\top)^{-1} \rho`.

    **Source.** Kakade and Langford (2002), lemma 6.1; recalled, proved here.
    """

    id = "lemmas.performance-difference"
    mark = "recalled"
    source = "Kakade, Langford 2002"
    suite = (
        Case("random-mdp:seed=1"),
        Case("garnet:S=30,A=4,b=4,m=2,seed=2"),
        Case("windy-cliff:ncost=2"),
        Case("gym:FrozenLake-v1"),
        Case("textbook:three-state"),
        Case("textbook:two-arm"),
    )
    certified = (Case("textbook:three-state"), Case("random-mdp:seed=1", pairs=2))

    def setup(self, problem: FederatedCMDP, pairs: int = 4, seed: int = 0) -> Pairs:
        rng = np.random.default_rng(seed)
        S, A = problem.cmdp.S, problem.cmdp.A
        draw = [[random_log_policy(rng, S, A, sharpness) for _ in range(pairs)] for sharpness in (1.0, 2.0)]
        return Pairs(problem, *draw)

    @identity(r"V_f^{p'}(\rho) - V_f^p(\rho) = \frac{1}{1-\gamma} E_{d_\rho^{p'}} \langle p', A_f^p \rangle")
    def difference(self, x: Pairs) -> tuple[Measured, Measured]:
        return _sides(x, at_first=True)

    @control(
        "the visitation is that of p' and cannot be exchanged for that of p",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def visitation_of_the_other(self, x: Pairs) -> tuple[Measured, Measured]:
        return _sides(x, at_first=False)


def _sides(x: Pairs, at_first: bool) -> tuple[Measured, Measured]:
    cmdp = x.problem.cmdp
    gains, expected = [], []
    for q, p in zip(x.first, x.second, strict=True):
        old = evaluate(cmdp, p)
        gains.append(evaluate(cmdp, q).at_rho - old.at_rho)
        d = visitation(cmdp, q if at_first else p)
        expected.append(average(d, dot(old.advantage, enclosed(q)[1])) / (Measured(1.0) - cmdp.gamma))
    return Measured.stack(gains), Measured.stack(expected)
