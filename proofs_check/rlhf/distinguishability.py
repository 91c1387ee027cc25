r"""How different two policies must be before people tell them apart on average."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.rlhf.landscape import lottery
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, identity, study, upper
from tabular_fedrl.claims.curves import Curve, profile_study
from tabular_fedrl.claims.curves import Panel as Axes
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns, start_value
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Comparison, Linear, Logistic, Panel, comparison_of

LOTTERY = lottery(7 / 16)
"""Better than the sure return on average, worse more often than not."""


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

    Checked on all pairs of ``count`` policies, half of them deterministic. What the search among them finds
    is a lower bound on :math:`\varepsilon^\star_D`, not its value.

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
        Case(LOTTERY, link="logistic", scale=0.05, batch=200),
        Case(LOTTERY, link="logistic", scale=0.25, batch=25),
        Case("episodic-tree:H=3", link="logistic", scale=0.5, batch=4),
        Case("episodic-garnet:S=3,A=2,H=3", link="logistic", scale=1.0, batch=8),
    )
    certified = (
        Case("episodic-chain:H=2", count=4, batch=2),
        Case(LOTTERY, link="logistic", scale=0.25, batch=20, count=3),
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

    @study("profile")
    def found(self) -> StudyData:
        """What the search finds on the lottery, for batches of several sizes, beside the bound."""
        sizes, curves = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32]), []
        for scale in (0.05, 0.1, 0.2):
            tried = [self.setup(LOTTERY, "logistic", scale, batch=D, count=40) for D in sizes.tolist()]
            weakness = [_weakness(LOTTERY, x.comparison.panel, x.comparison.batch) for x in tried]
            panel = Axes(f"logistic link, s = {scale:g}", r"$\varepsilon^\star_D$")
            found = Measured.stack([x.epsilon for x in tried])
            curves.append(Curve(panel, "found, from below", sizes, found))
            finite = [i for i, y in enumerate(weakness) if y.upper < 0.5]
            if finite:
                bound = [tried[i].comparison.panel.inverse(weakness[i]) for i in finite]
                curves.append(Curve(panel, "bound", sizes[finite], None, Measured.stack(bound)))
        return profile_study(
            "a lottery against a sure return", str(self.mark), "episodes in a batch, D", curves
        )

    @control(
        "a steep link and single episodes: a better policy loses more often than not",
        Case(LOTTERY, link="logistic", scale=0.05),
    )
    def steep(self, x: Pairs) -> tuple[Measured, Measured]:
        return x.wanted[x.ordered], x.answer[x.ordered]


def _weakness(mdp: EpisodicMDP, panel: Panel, D: int) -> Measured:
    link = panel.link
    assert isinstance(link, Logistic)
    low, high = extreme_returns(mdp)
    R = Measured.of(high - low)
    return R * R / (Measured(3.0).sqrt() * 12 * link.scale**2 * float(D))
