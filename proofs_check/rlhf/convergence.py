r"""Theorem 1 of Par-S2ZPO: T rounds, with every constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proofs_check.rlhf.drift import OneRound
from proofs_check.rlhf.landscape import (
    FINITE,
    ROUNDS,
    SYMMETRIC,
    Landscape,
    all_signs,
    enough,
)
from proofs_check.rlhf.walk import Lattice, grouped
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Ties, comparison_of


@dataclass(frozen=True)
class Walk:
    r"""T rounds with a constant step: ``norms (T,)`` of the gradient in blocks, ``aligned (T,)``:
    :math:`\langle\nabla V, g_t\rangle`, and ``values (T+1,)`` are exact expectations."""

    round: OneRound
    rounds: int
    norms: Measured
    aligned: Measured
    values: Measured

    def bound(self, curvature: float = 1.0) -> Measured:
        """The right side, the second term ``curvature`` times."""
        at, alpha = self.round.at, self.round.alpha
        growth = (self.values[-1] - self.values[0]) * 4 / (alpha * self.rounds)
        return growth + at.L * (2 * curvature * alpha * at.d) + self.round.bracket() * 32


class TheoremOne(Theorem):
    r"""Par-S2ZPO reaches a stationary point: the bound on T rounds with every constant (Theorem 1).

    **Setting.** Par-S2ZPO with K agents; V is L-smooth in the d logits; the panel is symmetric;
    :math:`\theta_R` is one of :math:`\theta_1, \ldots, \theta_T`, drawn with probability proportional to
    :math:`\alpha_t`.

    **Statement.**

    .. math:: E\|\nabla V(\theta_R)\|_{PK} \le \frac{4 E[V(\theta_{T+1}) - V(\theta_1)]}{\sum_t \alpha_t}
              + 2 L d \frac{\sum_t \alpha_t^2}{\sum_t \alpha_t}
              + 32 \big( \mu L d + \tfrac{K}{\mu} \varepsilon^\star_D
              + \tfrac{K}{\mu} \varsigma_P^{-1}(\sqrt{4/N}) \big) .

    Checked from the uniform policy with constant steps: the law of :math:`\theta_t` is then one on a lattice
    and is computed without draws, over all directions and votes. :math:`\varepsilon^\star_D` as in
    ``rlhf.vote-error``, over all pairs that can be compared.

    **Proof.** The drift of ``rlhf.drift``, summed over the rounds and divided by
    :math:`\frac14 \sum_t \alpha_t`.

    **Source.** Wang, Zhang, Ying (2026), theorem 1.
    """

    id = "rlhf.theorem-1"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026, theorem 1"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=2", agents=2),
        Case("episodic-bandit:A=2", rounds=600, alpha=2.0**-5, questions=10**14, mu=2.0**-11),
        Case("episodic-bandit:A=2", agents=2, rounds=200, link="logistic", scale=0.5, people=3),
        Case("episodic-bandit:A=2", rounds=100, questions=16, mu=0.25),
        Case("episodic-bandit:A=2", rounds=100, questions=16, link="logistic", scale=0.5),
        Case("episodic-bandit:A=2", rounds=100, questions=1, link="logistic", scale=0.5, mu=0.25),
        Case("episodic-bandit:A=3", rounds=12, alpha=0.25),
        Case("episodic-chain:H=1", agents=2, rounds=20, alpha=0.25),
    )
    certified = (
        Case("episodic-bandit:A=2", rounds=6, alpha=0.25),
        Case("episodic-bandit:A=2", rounds=4, agents=2),
    )
    small = None  # all policies that a run can reach are followed: for fixed small instances

    @hypothesis(ROUNDS)
    def positive(self, problem: EpisodicMDP, rounds: int, alpha: float, mu: float) -> bool:
        return rounds >= 1 and alpha > 0 and mu > 0

    @hypothesis(SYMMETRIC)
    def symmetric(self, problem: EpisodicMDP, link: str, people: int, ties: Ties) -> bool:
        return comparison_of(problem, link, None, people, ties, 1, 1).panel.symmetric

    @hypothesis(FINITE)
    def finite(
        self, problem: EpisodicMDP, link: str, scale: float | None, people: int, ties: Ties, questions: int
    ) -> bool:
        return enough(problem, comparison_of(problem, link, scale, people, ties, 1, 1).panel, questions)

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int = 1,
        rounds: int = 400,
        alpha: float = 2.0**-4,
        mu: float = 2.0**-9,
        link: str = "linear",
        scale: float | None = None,
        people: int = 1,
        ties: Ties = "fair",
        batch: int = 1,
        questions: int = 10**12,
    ) -> Walk:
        comparison = comparison_of(problem, link, scale, people, ties, batch, questions)
        shape = (problem.H, problem.S, problem.A)
        updates = all_signs(int(np.prod(shape))).reshape(-1, *shape)
        shifts, _ = grouped(updates, Measured(np.zeros((1, len(updates)))))
        lattice = Lattice.reached(shifts, rounds)
        theta = Measured(lattice.points.astype(np.float64)) * alpha
        one = OneRound(Landscape(problem, comparison, theta, agents, mu), alpha)
        laws = list(lattice.laws(grouped(updates, one.chances)[1], rounds))
        norms, aligned = (stack([(law * f).sum() for law in laws[:-1]]) for f in (one.at.norm, one.aligned))
        values = stack([(law * one.at.value).sum() for law in laws])
        return Walk(one, rounds, norms, aligned, values)

    @upper(
        r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_{PK} \le \frac{4 E[V(\theta_{T+1}) - V(\theta_1)]}{\alpha T}"
        r" + 2 L d \alpha + 32(\mu L d + \frac{K}{\mu}(\varepsilon + \varsigma_P^{-1}(\sqrt{4/N})))"
    )
    def stationary(self, x: Walk) -> tuple[Measured, Measured, Measured]:
        return x.norms.mean(), x.bound(), x.round.at.largest_norm

    @chain("stationary")
    def proof(self, x: Walk) -> Iterator[tuple[str, Measured]]:
        one, alpha = x.round, x.round.alpha
        growth = (x.values[-1] - x.values[0]) / (alpha * x.rounds)
        yield "the mean norm", x.norms.mean()
        yield "Lemmas 2 and 3 in every round", (x.aligned.mean() + one.bracket() * 8) * 4
        half = one.at.L * (alpha * one.at.d / 2)
        yield "smoothness, summed over the rounds", (growth + half + one.bracket() * 8) * 4

    @control(
        "sixteen answers make the bound vacuous: it exceeds the largest norm there is",
        Case("episodic-bandit:A=2", rounds=50, questions=16),
    )
    def sixteen_answers(self, x: Walk) -> tuple[Measured, Measured]:
        return x.bound(), x.round.at.largest_norm

    @control(
        "with the first and the last term alone: large steps go back and forth",
        Case("episodic-bandit:A=2", rounds=60, alpha=8.0, questions=10**18, mu=2.0**-14),
    )
    def without_curvature(self, x: Walk) -> tuple[Measured, Measured]:
        return x.norms.mean(), x.bound(0.0)
