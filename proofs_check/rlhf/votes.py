r"""Votes are computed, not drawn: binomial tails against sums by hand and against simulated people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from typing import Any

import numpy as np

from proofs_check.rlhf.landscape import points, policies
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Case, Kind, Theorem, confidence, control, hypothesis, identity, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Comparison, Ties, comparison_of, majority
from tabular_fedrl.preferences.sampled import sampled_answers

SURE = 0.9999
"""The probability with which the simulated frequencies enclose their chances, all pairs together."""
MOST_TERMS = 200


@dataclass(frozen=True)
class Decisions:
    """Pairs of policies ``first, second (n, H, S, A)`` that are compared."""

    mdp: EpisodicMDP
    comparison: Comparison
    first: Any
    second: Any

    @cached_property
    def answer(self) -> Any:
        """The deviation m of one answer, ``(n,)``"""
        return self.comparison.answer(self.mdp, self.first, self.second)

    @property
    def vote(self) -> Any:
        """The deviation of the decision, ``(n,)``"""
        return majority(self.answer, self.comparison.questions, self.comparison.ties)

    def summed(self, ties: Ties) -> Any:
        """The same term by term: the chances of k of N answers for the first policy."""
        N = self.comparison.questions
        yes, no = [self.answer * 0.0 + 1.0], [self.answer * 0.0 + 1.0]
        for _ in range(N):
            yes.append(yes[-1] * (self.answer + 0.5))
            no.append(no[-1] * (0.5 - self.answer))
        weights = {"yes": 1.0, "fair": 0.5, "no": 0.0}
        counted = [(k, 1.0 if 2 * k > N else weights[ties]) for k in range(N + 1) if 2 * k >= N]
        return stack([yes[k] * no[N - k] * float(comb(N, k)) * w for k, w in counted]).sum(0) - 0.5


class Votes(Theorem):
    r"""What a majority of N answers decides is known exactly, without a draw.

    **Setting.** A panel is asked N times about D episodes of each of two policies; one answer favours the
    first with probability 1/2 + m; the majority decides, ties by a coin.

    **Statement.** The decision is for the first policy with probability :math:`1/2 + M_N(m)`,

    .. math:: M_{2k+1}(m) &= (2k+1) \binom{2k}{k} 4^{-k} \int_0^m (1 - 4u^2)^k\,du \\
              &= \sum_{j > k} \binom{2k+1}{j} \big(\tfrac12 + m\big)^j \big(\tfrac12 - m\big)^{2k+1-j}
              - \tfrac12 , \qquad M_{2k} = M_{2k-1} ,

    and is wrong with probability :math:`1/2 - M_N(|m|) \le e^{-2 N m^2}`. Checked for the m of random pairs
    of policies: the integral, whose powers are taken through logarithms for any N, against the sum for
    moderate N.

    **Proof.** The derivative of the sum in m is :math:`(2k+1) \binom{2k}{k} (\frac14 - m^2)^k`, the other
    terms cancel; both sides are 0 at m = 0. Hoeffding's inequality.

    **Source.** Elementary; Hoeffding (1963).
    """

    id = "rlhf.votes"
    mark = "ours"
    source = "theory notes, federated RLHF, section 5"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=3", questions=1),
        Case("episodic-bandit:A=2", questions=64, people=9),
        Case("episodic-chain:H=3", questions=101, batch=2, link="clipped", scale=0.5, spread=0.5),
        Case("episodic-garnet:S=3,A=2,H=3", questions=200, people=4, batch=3),
        Case("episodic-tree:H=2", questions=6, people=3, link="linear"),
        Case("episodic-garnet:S=3,A=2,H=3", questions=10**4, spread=0.25),
    )
    certified = (
        Case("episodic-bandit:A=2", questions=15, count=2),
        Case("episodic-chain:H=2", questions=6, people=3, link="linear", count=2),
    )
    small = {"count": 2}

    @hypothesis(f"at most {MOST_TERMS} answers to sum over", only=["integral"])
    def moderate(self, problem: EpisodicMDP, questions: int) -> bool:
        return questions <= MOST_TERMS

    def setup(
        self,
        problem: EpisodicMDP,
        link: str = "logistic",
        scale: float | None = None,
        people: int = 1,
        batch: int = 1,
        questions: int = 25,
        count: int = 3,
        spread: float = 2.0,
        seed: int = 0,
    ) -> Decisions:
        comparison = comparison_of(problem, link, scale, people, "fair", batch, questions)
        pi = policies(points(problem, 2 * count, spread, seed))
        return Decisions(problem, comparison, pi[:count], pi[count:])

    @identity(
        r"M_N(m) = \sum_{2j \ge N} \binom Nj (\frac12+m)^j(\frac12-m)^{N-j} - \frac12 \text{, ties half}"
    )
    def integral(self, x: Decisions) -> tuple[Measured, Measured]:
        return x.vote, x.summed("fair")

    @upper(r"\frac12 - M_N(|m|) \le e^{-2Nm^2}")
    def errs_rarely(self, x: Decisions) -> tuple[Measured, Measured, float]:
        wrong = -majority(x.answer.abs(), x.comparison.questions) + 0.5
        return wrong, (x.answer * x.answer * (-2.0 * x.comparison.questions)).exp(), 0.5

    @control(
        "ties that count as no are not ties by a coin",
        Case("episodic-garnet:S=3,A=2,H=3", questions=6),
        kind=Kind.IDENTITY,
    )
    def ties(self, x: Decisions) -> tuple[Measured, Measured]:
        return x.vote, x.summed("no")

    @control(
        "the exponent cannot be twice as large",
        Case("episodic-tree:H=2", questions=51, link="linear"),
    )
    def twice(self, x: Decisions) -> tuple[Measured, Measured]:
        wrong = -majority(x.answer.abs(), x.comparison.questions) + 0.5
        return wrong, (x.answer * x.answer * (-4.0 * x.comparison.questions)).exp()


@dataclass(frozen=True)
class Simulated:
    """Decisions, and their deviations ``seen (n,)`` among simulated ones."""

    decisions: Decisions
    seen: Measured


class SimulatedVotes(Theorem):
    r"""Simulated people decide as often as it is computed.

    **Statement.** The probability of a decision, from the law of the return by dynamic programming, its
    D-fold convolution, the link, and the tails for P people and N answers (``rlhf.votes``), lies in the
    confidence interval of ``trials`` decisions in which every episode, every person and every answer is
    drawn: exact intervals of Clopper and Pearson (1934), for all pairs of policies together with probability
    0.9999.

    **Proof.** Trials are independent draws of the decision itself, so that each interval covers its
    probability with its confidence; what they may miss adds up over the pairs.

    A statement about draws, with a confidence: not certified.

    **Source.** Theory notes, federated RLHF, section 5.
    """

    id = "rlhf.simulated-votes"
    mark = "ours"
    source = "theory notes, federated RLHF, section 5"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=3", questions=1, people=9, link="linear"),
        Case("episodic-chain:H=3", questions=3, people=4, batch=2),
        Case("episodic-tree:H=2", questions=9, people=3, link="linear"),
        Case("episodic-garnet:S=3,A=2,H=3", questions=5, link="clipped", scale=0.5, batch=5),
        Case("episodic-tree:H=3", questions=1, people=2, link="weibull"),
    )
    small = None  # thousands of decisions: for fixed instances

    @hypothesis("an odd number of answers")
    def odd(self, problem: EpisodicMDP, questions: int) -> bool:
        return questions % 2 == 1

    def setup(
        self,
        problem: EpisodicMDP,
        link: str = "logistic",
        scale: float | None = None,
        people: int = 1,
        batch: int = 1,
        questions: int = 1,
        trials: int = 4000,
        seed: int = 0,
    ) -> Simulated:
        x = Votes().setup(problem, link, scale, people, batch, questions, seed=seed)
        rng, yes = np.random.default_rng(seed), []
        everything = replace(x.comparison, questions=questions * trials)
        for first, second in zip(x.first.value, x.second.value):
            answers = sampled_answers(everything, problem, first, second, rng).reshape(trials, questions)
            yes.append(int((2 * answers.sum(axis=1) > questions).sum()))
        return Simulated(x, confidence.binomial(yes, trials, SURE) - 0.5)

    @identity(
        r"M_N(E\,\varsigma_P(\bar r_1 - \bar r_2)) = \text{the deviation that is seen}",
        tolerance=0.05,
        confidence=SURE,
    )
    def computed(self, x: Simulated) -> tuple[Measured, Measured]:
        return x.decisions.vote, x.seen

    @control(
        "nine people are told from one",
        Case("episodic-bandit:A=3", questions=1, people=9, link="linear"),
        kind=Kind.IDENTITY,
        tolerance=0.05,
    )
    def one_person(self, x: Simulated) -> tuple[Measured, Measured]:
        return _instead(x, people=1), x.seen

    @control(
        "and nine answers from three",
        Case("episodic-tree:H=2", questions=9, people=3, link="linear"),
        kind=Kind.IDENTITY,
        tolerance=0.05,
    )
    def three_answers(self, x: Simulated) -> tuple[Measured, Measured]:
        return _instead(x, questions=3), x.seen


def _instead(x: Simulated, people: int | None = None, questions: int | None = None) -> Measured:
    """The deviations computed for another number of people or of answers."""
    asked = x.decisions.comparison
    panel = replace(asked.panel, people=people or asked.panel.people)
    other = replace(asked, panel=panel, questions=questions or asked.questions)
    return Measured.of(replace(x.decisions, comparison=other).vote)
