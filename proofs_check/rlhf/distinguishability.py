r"""How different two policies must be before people tell them apart on average."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.rlhf.landscape import lottery
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, identity, study, upper
from tabular_fedrl.claims.curves import Curve, power_study
from tabular_fedrl.claims.curves import Panel as Axes
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns, start_value
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Comparison, Linear, Logistic, Panel, comparison_of

LOTTERY = lottery(7 / 16)
"""Better than the sure return on average, worse more often than not."""
BARELY = lottery(9 / 32)
"""Better by 1/32."""
WHEEL = EpisodicMDP(np.ones((1, 3, 1)), [[0.25, 1.0, 0.0]], [1.0], 1)
"""A sure return, a win and a loss as actions: a policy is any lottery over the three."""
GAINS = 2.0 ** (-np.arange(8, 65) / 4)
"""By how much lotteries on it are better than the sure return."""


@dataclass(frozen=True)
class Pairs:
    """Policies ``pi (n, H, S, A)``, every one compared with every other."""

    mdp: EpisodicMDP
    comparison: Comparison
    pi: Any

    @cached_property
    def difference(self) -> Measured:
        """V(first) - V(second), ``(n, n)``"""
        V = start_value(self.mdp, self.pi)
        return V[:, None] - V

    @cached_property
    def answer(self) -> Measured:
        r""":math:`E\,\varsigma_P(\bar r_1 - \bar r_2)`, ``(n, n)``"""
        return self.comparison.answer(self.mdp, self.pi[:, None], self.pi[None])

    @cached_property
    def wanted(self) -> Measured:
        """What the definition asks of the answer."""
        return self.comparison.panel.deviation(self.difference / 2) / 2

    @property
    def ordered(self) -> Any:
        """Where the first policy is better, for certain."""
        return self.difference.lower > 0

    @cached_property
    def epsilon(self) -> Measured:
        r"""The largest difference that is answered too weakly, for certain: a lower bound on
        :math:`\varepsilon^\star_D`."""
        weak = self.ordered & ((self.answer - self.wanted).upper < 0)
        return self.difference.where(~weak, 0.0).max()


class Distinguishability(Theorem):
    r"""People with a linear link tell any two policies apart; others do for large batches.

    **Setting.** :math:`\varepsilon^\star_D` is the least :math:`\varepsilon` such that
    :math:`V(\pi_1) - V(\pi_2) > \varepsilon` implies :math:`E\,\varsigma_P(\bar r_1 - \bar r_2) \ge
    \frac12\varsigma_P(\frac12(V(\pi_1) - V(\pi_2)))` (the paper prints the largest such number), for means
    of D returns in an interval of length R.

    **Statement.** For one person with the linear link ax (:math:`a \le 1/(2R)`),
    :math:`E\,\varsigma(\bar r_1 - \bar r_2) = a (V(\pi_1) - V(\pi_2))`, so :math:`\varepsilon^\star_D = 0`
    for every D. For one person with the logistic link of scale s,

    .. math:: \varepsilon^\star_D \le \varsigma^{-1}\Big(\frac{R^2}{12 \sqrt 3\, s^2 D}\Big) .

    Checked on all pairs of ``count`` policies, half of them deterministic. For links that are not linear and
    for panels :math:`\varepsilon^\star_D` is known from below only: the figure shows the largest difference
    that a search finds answered too weakly, among rare wins against a sure return and against each other. It
    falls faster than the bound, like :math:`D^{-2}` in the end: the second derivative of a symmetric link is
    0 at 0, which the bound does not use.

    **Proof.** :math:`|\varsigma''| \le M = 1/(6\sqrt 3 s^2)` and the difference of the means has a variance
    of at most :math:`R^2/(2D)`, so :math:`E\,\varsigma \ge \varsigma(\Delta) - M R^2/(4D)`; and
    :math:`\varsigma(\Delta) - \frac12\varsigma(\Delta/2) \ge \frac12\varsigma(\Delta)`.

    **Source.** Definition: Wang, Zhang, Ying (2026). The linear case: theory notes, federated RLHF, section
    5. The logistic bound: ours.
    """

    id = "rlhf.distinguishability"
    mark = "ours"
    source = "theory notes, federated RLHF, section 5"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=3"),
        Case("episodic-chain:H=3", batch=3),
        Case("episodic-garnet:S=3,A=2,H=3", batch=2),
        Case(LOTTERY),
        Case(BARELY, link="logistic", scale=0.5),
        Case(LOTTERY, link="logistic", scale=0.25, batch=25),
        Case("episodic-tree:H=3", link="logistic", scale=0.5, batch=4),
        Case("episodic-garnet:S=3,A=2,H=3", link="logistic", scale=1.0, batch=8),
    )
    certified = (
        Case("episodic-chain:H=2", count=4, batch=2),
        Case(BARELY, link="logistic", scale=0.5, count=6),
    )
    small = {"count": 4}

    @hypothesis("one person with the linear link", only=["linear_answers", "linear"])
    def is_linear(self, problem: EpisodicMDP, link: str, people: int) -> bool:
        return link == "linear" and people == 1

    @hypothesis("one person with the logistic link and batches large enough for a bound", only=["logistic"])
    def is_logistic(
        self, problem: EpisodicMDP, link: str, scale: float | None, people: int, batch: int
    ) -> bool:
        if link != "logistic" or people != 1:
            return False
        panel = comparison_of(problem, link, scale, 1, "fair", batch, 1).panel
        return bool((_weakness(problem, panel, batch)).upper < 0.5)

    def setup(
        self,
        problem: EpisodicMDP,
        link: str = "linear",
        scale: float | None = None,
        people: int = 1,
        batch: int = 1,
        count: int = 24,
        seed: int = 0,
    ) -> Pairs:
        comparison = comparison_of(problem, link, scale, people, "fair", batch, 1)
        rng = np.random.default_rng(seed)
        shape = (count, problem.H, problem.S)
        weights = rng.multinomial(16, np.full(problem.A, 1 / problem.A), shape) / 16
        sure = np.eye(problem.A)[rng.integers(0, problem.A, shape)]
        pi = np.where(np.arange(count)[:, None, None, None] % 2 == 0, sure, weights)
        return Pairs(problem, comparison, Measured(pi))

    @identity(r"E\,\varsigma(\bar r_1 - \bar r_2) = a (V(\pi_1) - V(\pi_2))")
    def linear_answers(self, x: Pairs) -> tuple[Measured, Measured]:
        link = x.comparison.panel.link
        assert isinstance(link, Linear)
        return x.answer, x.difference * link.slope

    @upper(r"\frac12\varsigma(\frac12(V(\pi_1) - V(\pi_2))) \le E\,\varsigma(\bar r_1 - \bar r_2)")
    def linear(self, x: Pairs) -> tuple[Measured, Measured]:
        return x.wanted[x.ordered], x.answer[x.ordered]

    @upper(r"\varepsilon_D \text{ as found} \le \varsigma^{-1}(R^2/(12\sqrt3 s^2 D))")
    def logistic(self, x: Pairs) -> tuple[Measured, Measured, Measured]:
        panel = x.comparison.panel
        low, high = extreme_returns(x.mdp)
        return x.epsilon, panel.inverse(_weakness(x.mdp, panel, x.comparison.batch)), Measured.of(high - low)

    @study("power_rate")
    def found(self) -> StudyData:
        """What the search finds, for batches of several sizes, beside the bound where there is one."""
        sizes, curves = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32]), []
        people: tuple[tuple[str, str, str, float | None, int], ...] = (
            ("one person, logistic link", "s = 0.1", "logistic", 0.1, 1),
            ("one person, logistic link", "s = 0.25", "logistic", 0.25, 1),
            ("one person, logistic link", "s = 0.5", "logistic", 0.5, 1),
            ("other people", "one, linear link clipped at 1/8", "clipped", 0.25, 1),
            ("other people", "9 people, linear link", "linear", None, 9),
            ("other people", "101 people, linear link", "linear", None, 101),
        )
        for title, label, link, scale, P in people:
            tried = [_rare_wins(comparison_of(WHEEL, link, scale, P, batch=D)) for D in sizes.tolist()]
            bound = None
            if link == "logistic":
                weakness = [_weakness(WHEEL, x.comparison.panel, x.comparison.batch) for x in tried]
                panel = tried[0].comparison.panel
                none = Measured(np.inf)
                bound = Measured.stack([panel.inverse(y) if y.upper < 0.5 else none for y in weakness])
            axes = Axes(title, r"$\varepsilon^\star_D$ (units of reward)")
            curves.append(Curve(axes, label, sizes, Measured.stack([x.epsilon for x in tried]), bound))
        return power_study(
            "Found from below: returns 0, 1/4 and 1", str(self.mark), "episodes in a batch, D", curves
        )

    @control(
        "a steep link and single episodes: a better policy loses more often than not",
        Case(LOTTERY, link="logistic", scale=0.05),
    )
    def steep(self, x: Pairs) -> tuple[Measured, Measured]:
        return x.wanted[x.ordered], x.answer[x.ordered]


def _rare_wins(comparison: Comparison) -> Pairs:
    """A sure return, and lotteries that win 1 or nothing, better by each of the ``GAINS``."""
    won = 0.25 + GAINS
    laws = np.stack([0 * won, won, 1 - won], axis=-1)
    pi = np.concatenate([[[1.0, 0.0, 0.0]], laws])
    return Pairs(WHEEL, comparison, Measured(pi[:, None, None]))


def _weakness(mdp: EpisodicMDP, panel: Panel, D: int) -> Measured:
    link = panel.link
    assert isinstance(link, Logistic)
    low, high = extreme_returns(mdp)
    R = Measured.of(high - low)
    return R * R / (Measured(3.0).sqrt() * 12 * link.scale**2 * float(D))
