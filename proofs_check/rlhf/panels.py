r"""What the theorems ask of a panel: symmetry, and many answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from proofs_check.rlhf.landscape import SYMMETRIC
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Logistic, Panel, Ties, comparison_of


@dataclass(frozen=True)
class Answers:
    """A panel, differences of returns ``x`` from 0 to the largest one R, and a number N of answers."""

    panel: Panel
    x: Measured
    questions: int

    @property
    def largest(self) -> Measured:
        r""":math:`\varsigma_P(R)`"""
        return self.panel.deviation(self.x[-1])

    @property
    def asked(self) -> Measured:
        return (Measured(4.0) / float(self.questions)).sqrt()


class Panels(Theorem):
    r"""What the theorems ask of a panel: odd or fair, and asked often enough.

    **Setting.** P people with the symmetric link :math:`1/2 + \varsigma` answer by majority; N answers are
    decided by majority. R is the largest difference of two returns.

    **Statement.** For odd P, or even P with a fair rule for ties, :math:`\varsigma_P(-x) = -\varsigma_P(x)`;
    2k people with the fair rule answer like 2k-1. The bounds of Par-S2ZPO hold
    :math:`\varsigma_P^{-1}(\sqrt{4/N})`. As :math:`\varsigma_P \le 1/2` it is infinite unless N > 16 (N = 16
    for a link that reaches 1/2); and as no difference of values exceeds R it says something only if
    :math:`\sqrt{4/N} \le \varsigma_P(R)`. For the logistic link of scale s it does so if
    :math:`N \ge 16 \coth^2(R/2s)`, for one person only then: N at least 75 where R = s and 28 where R = 2s.

    A hundred people whose ties count as no answer with deviation -0.0398 when both batches are the same.

    **Proof.** Exchange yes and no. Of 2k votes the last one matters only when the others leave a lead of one.
    The logistic :math:`\varsigma(x)` is :math:`\frac12 \tanh(x/2s)`, and a fair majority is no less sure than
    one of its members.

    **Source.** Theory notes, federated RLHF, section 4.
    """

    id = "rlhf.panels"
    mark = "ours"
    source = "theory notes, federated RLHF, section 4"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2", link="logistic", scale=1.0, people=1, questions=75),
        Case("episodic:textbook:two-arm,H=2", link="logistic", scale=1.0, people=1, questions=28),
        Case("episodic-bandit:A=2", link="logistic", scale=0.5, people=100),
        Case("episodic-bandit:A=2", link="linear", people=7),
        Case("episodic-tree:H=3", link="clipped", scale=0.5, people=6),
    )
    certified = (
        Case("episodic-bandit:A=2", link="logistic", scale=1.0, questions=75),
        Case("episodic-bandit:A=2", link="linear", people=6),
    )
    small = {}

    @hypothesis(SYMMETRIC)
    def symmetric(self, problem: EpisodicMDP, link: str, people: int, ties: Ties) -> bool:
        return comparison_of(problem, link, None, people, ties, 1, 1).panel.symmetric

    @hypothesis("returns that differ")
    def returns(self, problem: EpisodicMDP) -> bool:
        low, high = extreme_returns(problem)
        return bool((high - low).lower > 0)

    @hypothesis("the logistic link, and N at least 16 coth^2(R/2s)", only=["enough"])
    def many(
        self, problem: EpisodicMDP, link: str, scale: float | None, people: int, ties: Ties, questions: int
    ) -> bool:
        asked = comparison_of(problem, link, scale, people, ties, 1, 1).panel.link
        low, high = extreme_returns(problem)
        if not isinstance(asked, Logistic):
            return False
        return questions * np.tanh(float((high - low).lower) / (2 * asked.scale)) ** 2 >= 16

    def setup(
        self,
        problem: EpisodicMDP,
        link: str = "logistic",
        scale: float | None = None,
        people: int = 3,
        ties: Ties = "fair",
        questions: int = 10**6,
    ) -> Answers:
        panel = comparison_of(problem, link, scale, people, ties, 1, 1).panel
        low, high = extreme_returns(problem)
        return Answers(panel, Measured(np.arange(9.0) / 8) * (high - low), questions)

    @identity(r"\varsigma_P(-x) = -\varsigma_P(x)")
    def odd(self, x: Answers) -> tuple[Measured, Measured]:
        return x.panel.deviation(-x.x), -x.panel.deviation(x.x)

    @identity(r"\varsigma_{2k}(x) = \varsigma_{2k-1}(x) \text{ with fair ties}")
    def one_less(self, x: Answers) -> tuple[Measured, Measured]:
        """An even number by the sum over outcomes: the strict majority and half of the ties."""
        even = x.panel.people + x.panel.people % 2
        strict, lenient = (replace(x.panel, people=even, ties=rule) for rule in ("no", "yes"))
        fewer = replace(x.panel, people=even - 1)
        return (strict.deviation(x.x) + lenient.deviation(x.x)) / 2, fewer.deviation(x.x)

    @tight(
        r"\varsigma_P(R) \le 1/2, \text{ so that } \sqrt{4/N} \text{ is not reached for } N < 16",
        attained=Case("episodic-bandit:A=2", link="clipped", scale=1.0, people=1),
    )
    def at_most_half(self, x: Answers) -> tuple[Measured, Measured]:
        return x.largest, Measured(0.5)

    @upper(r"\sqrt{4/N} \le \varsigma_P(R) \text{ for the logistic link and } N \ge 16 \coth^2(R/2s)")
    def enough(self, x: Answers) -> tuple[Measured, Measured]:
        return x.asked, x.largest

    @control(
        "74 answers are too few where R = 1",
        Case("episodic-bandit:A=2", link="logistic", scale=1.0, people=1, questions=74),
    )
    def seventy_four(self, x: Answers) -> tuple[Measured, Measured]:
        return x.asked, x.largest

    @control(
        "27 answers are too few where R = 2",
        Case("episodic:textbook:two-arm,H=2", link="logistic", scale=1.0, people=1, questions=27),
    )
    def twenty_seven(self, x: Answers) -> tuple[Measured, Measured]:
        return x.asked, x.largest

    @control(
        "fifteen answers are too few for any panel",
        Case("episodic-bandit:A=2", link="logistic", scale=0.05, people=1001, questions=15),
    )
    def fifteen(self, x: Answers) -> tuple[Measured, Measured]:
        return x.asked, x.largest

    @control(
        "a hundred people whose ties count as no are not symmetric",
        Case("episodic-bandit:A=2", people=100, ties="no"),
        kind=Kind.IDENTITY,
    )
    def even(self, x: Answers) -> tuple[Measured, Measured]:
        return x.panel.deviation(-x.x), -x.panel.deviation(x.x)

    @control(
        "the complementary log-log link is not symmetric",
        Case("episodic-bandit:A=2", link="weibull", people=1),
        kind=Kind.IDENTITY,
    )
    def skew(self, x: Answers) -> tuple[Measured, Measured]:
        return x.panel.deviation(-x.x), -x.panel.deviation(x.x)
