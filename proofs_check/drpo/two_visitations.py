r"""CE5: the sampling terms of two policies do not collapse into twice that of the better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.drpo.counts_cost import chi_squared
from proofs_check.drpo.laws import Law
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import average, visitation
from tabular_fedrl.measured import Measured


def ways(K: int, gamma: float) -> CMDP:
    """From the first state action 0 leads to one absorbing state, action 1 to one of K others, evenly."""
    P = np.zeros((K + 2, 2, K + 2))
    P[0, 0, 1] = 1.0
    P[0, 1, 2:] = 1.0 / K
    P[1:, :, 1:] = np.eye(K + 1)[:, None]
    r = np.zeros((K + 2, 2))
    r[1] = 1.0
    return CMDP(P, r, [], [], np.eye(K + 2)[0], gamma)


@dataclass(frozen=True)
class Terms:
    r"""For the behaviour b, even in the first state, and the policy that takes action 0 there: :math:`E_{d}
    \sqrt{|A|(1+D)/n(s)}` with counts n(s) in units of those of the first state."""

    problem: CMDP
    mine: Measured
    behaviour: Measured

    @property
    def K(self) -> Measured:
        return Measured(float(self.problem.S - 2))


class TwoVisitations(Theorem):
    r"""The behaviour's sampling term may be the larger one: a step in the proofs of CQL's guarantees.

    **Setting.** States :math:`s_0, x_0, x_1, \dots, x_K`, the x absorbing. In :math:`s_0` action 0 leads to
    :math:`x_0`, action 1 to :math:`x_1, \dots, x_K` evenly. b is even everywhere, :math:`\pi^\star` takes
    action 0 in :math:`s_0` and is b elsewhere. D is :math:`\chi^2(\cdot\|b)`: 1 in :math:`s_0` for
    :math:`\pi^\star`, 0 else. Every episode of b leaves one record of each state it visits: with m episodes
    :math:`n(s_0) = m`, :math:`n(x_0) = m/2`, :math:`n(x_j) = m/(2K)`.

    **Statement** (*identity*).

    .. math:: E_{d^b}\sqrt{\tfrac{|A|}{n(s)}} - E_{d^\star}\sqrt{\tfrac{|A|(1+D)}{n(s)}} =
              \sqrt{\tfrac{|A|}{m}}\,\Big[\gamma\tfrac{\sqrt2}2(\sqrt K - 1) - (1-\gamma)(\sqrt2-1)\Big] ,

    positive for :math:`\gamma = 0.9, K = 4` (0.595), and unbounded in K. With counts in proportion to the
    discounted visitation, :math:`n = m\,d^b/(1-\gamma)`, the bracket is
    :math:`\sqrt{1-\gamma}\,[\sqrt{\gamma/2}(\sqrt K - 1) - \sqrt{1-\gamma}(\sqrt2 - 1)]`. So the two terms in
    Theorems D and G must both be kept: :math:`E_{d^\star}[\cdot] + E_{d^b}[\cdot] \le 2E_{d^\star}[\cdot]` is
    false.

    **Proof.** :math:`d^\star(x_0) = \gamma`, :math:`d^b(x_0) = \gamma/2`, :math:`d^b(x_j) = \gamma/(2K)`,
    both :math:`1-\gamma` in :math:`s_0`. In units of :math:`\sqrt{|A|/m}` the first term is :math:`(1-\gamma)
    + \frac\gamma2\sqrt2 + \frac\gamma2\sqrt{2K}`, the second :math:`(1-\gamma)\sqrt2 + \gamma\sqrt2`.

    **Source.** Theory notes, DRPO, CE5.
    """

    id = "drpo.two-visitations"
    mark = "ours"
    source = "theory notes, DRPO, CE5"
    suite = tuple(Case(ways(K, gamma)) for K, gamma in ((4, 0.9), (1, 0.9), (2, 0.5), (9, 0.99), (50, 0.3)))
    certified = (Case(ways(4, 0.9)), Case(ways(3, 0.5)))
    small = None

    @hypothesis("enough ways: the bracket is positive", only=["larger"])
    def many(self, problem: FederatedCMDP) -> bool:
        return bool((_bracket(problem.cmdp) - 1e-9).lower > 0)

    def setup(self, problem: FederatedCMDP) -> dict[str, Terms]:
        """Both ways to count, by name."""
        cmdp = problem.cmdp
        K = cmdp.S - 2
        even = np.full((cmdp.S, 2), 0.5)
        first = even.copy()
        first[0] = 1.0, 0.0
        with np.errstate(divide="ignore"):
            b, best = array(np.log(even)), array(np.log(first))
        d = visitation(cmdp, b)
        visits = Measured(np.array([1.0, 0.5, *[0.5] * K]))
        share = Measured(np.array([1.0, 1.0, *[float(K)] * K]))
        counts = {"episodes": visits / share, "discounted": d / (Measured(1.0) - cmdp.gamma)}
        excess = chi_squared(Law.of(best), Law.of(b)) + 1.0

        def terms(n: Measured) -> Terms:
            mine = average(visitation(cmdp, best), (excess * 2.0 / n).sqrt())
            return Terms(cmdp, mine, average(d, (Measured(2.0) / n).sqrt()))

        return {name: terms(n) for name, n in counts.items()}

    @identity(r"E_{d^b}\sqrt{|A|/n} - E_{d^\star}\sqrt{|A|(1+D)/n} = \sqrt{|A|/m}\,"
              r"[\gamma\tfrac{\sqrt2}2(\sqrt K - 1) - (1-\gamma)(\sqrt2-1)]")  # fmt: skip
    def difference(self, x: dict[str, Terms]) -> tuple[Measured, Measured]:
        t = x["episodes"]
        return t.behaviour - t.mine, Measured(2.0).sqrt() * _bracket(t.problem)

    @identity(r"\text{the same with } n = m\,d^b/(1-\gamma)")
    def discounted(self, x: dict[str, Terms]) -> tuple[Measured, Measured]:
        t = x["discounted"]
        gamma, rest = Measured(t.problem.gamma), Measured(1.0) - t.problem.gamma
        bracket = (gamma * 0.5).sqrt() * (t.K.sqrt() - 1.0) - rest.sqrt() * (Measured(2.0).sqrt() - 1.0)
        return t.behaviour - t.mine, Measured(2.0).sqrt() * rest.sqrt() * bracket

    @upper(r"E_{d^\star}\sqrt{|A|(1+D)/n} \le E_{d^b}\sqrt{|A|/n}")
    def larger(self, x: dict[str, Terms]) -> tuple[Measured, Measured]:
        return x["episodes"].mine, x["episodes"].behaviour

    @control("collapsing both sampling terms into twice that of the better policy", Case(ways(4, 0.9)))
    def collapsed(self, x: dict[str, Terms]) -> tuple[Measured, Measured]:
        pairs = list(x.values())
        both = Measured.stack([t.mine + t.behaviour for t in pairs])
        return both, Measured.stack([t.mine * 2.0 for t in pairs])

    @control("one way alone is not enough: the better policy's term is the larger one", Case(ways(1, 0.9)))
    def one_way(self, x: dict[str, Terms]) -> tuple[Measured, Measured]:
        return x["episodes"].mine, x["episodes"].behaviour


def _bracket(cmdp: CMDP) -> Any:
    gamma, K, root = Measured(cmdp.gamma), Measured(float(cmdp.S - 2)), Measured(2.0).sqrt()
    return gamma * root * 0.5 * (K.sqrt() - 1.0) - (Measured(1.0) - gamma) * (root - 1.0)
