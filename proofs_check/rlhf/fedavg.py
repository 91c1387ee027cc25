r"""The plain federated average of one-bit votes has a guarantee as good as that of separate blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

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
from proofs_check.rlhf.walk import Lattice, averaged
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Ties, comparison_of

MOST_TERMS = 10**7
"""Updates of all agents, from all policies, that are enumerated one by one."""


@dataclass(frozen=True)
class Average:
    """T rounds of the average of K agents with a constant step; ``round``: one agent's, from every policy
    that can be reached; ``laws (T+1, M)``: of the policy before each round and at the end."""

    round: OneRound
    K: int
    laws: Measured

    @property
    def at(self) -> Landscape:
        return self.round.at

    @cached_property
    def vector(self) -> Measured:
        r""":math:`E\,O v`, ``(M, d)``"""
        v = self.at.parts.reshape(-1, self.at.d)
        return (self.at.vote * v).mean(1)

    @cached_property
    def squared(self) -> Measured:
        r""":math:`\|E\,O v\|_2^2`, ``(M,)``"""
        return (self.vector * self.vector).sum(-1)

    @cached_property
    def aligned(self) -> Measured:
        r""":math:`E\langle\nabla V, g\rangle`, ``(M,)``"""
        return self.round.aligned

    @cached_property
    def norm(self) -> Measured:
        r""":math:`\|\nabla V\|_2`, ``(M,)``"""
        return self.at.block_norms[:, 0]

    def second_moment(self) -> Measured:
        r""":math:`E\|g\|_2^2` by enumerating the updates of all agents, ``(M,)``

        Raises
        ------
        InvalidProblem: more than :data:`MOST_TERMS`.
        """
        if len(self.at.theta) * 2 ** (self.at.d * self.K) > MOST_TERMS:
            raise InvalidProblem(
                f"{self.K} agents with {self.at.d} coordinates, from {len(self.at.theta)} policies, have too "
                "many updates to enumerate"
            )
        w = all_signs(self.at.d)
        sums, law = w, self.round.chances
        for _ in range(self.K - 1):
            sums = (sums[:, None] + w).reshape(-1, self.at.d)
            law = (law[:, :, None] * self.round.chances[:, None, :]).reshape(len(law), -1)
        return (law * (sums**2).sum(-1)).sum(-1) / float(self.K**2)

    @property
    def variance(self) -> float:
        """The bound d/K + 1 on it."""
        return self.at.d / self.K + 1

    def mean(self, x: Measured) -> Measured:
        """Expectations ``(T+1,)`` of a function ``(M,)`` of the policy."""
        return (self.laws * x).sum(-1)

    def errors(self) -> Measured:
        r""":math:`\mu L d + (\varepsilon + \varsigma_P^{-1}(\sqrt{4/N}))/\mu`"""
        return self.round.bracket()

    def bound(self) -> Measured:
        values, alpha = self.mean(self.at.value), self.round.alpha
        growth = (values[-1] - values[0]) * 4 / (alpha * (len(values) - 1))
        return growth + self.at.L * (2 * alpha * self.variance) + self.errors() * 32


class FedAvg(Theorem):
    r"""Averaging whole directions keeps the guarantee of Par-S2ZPO, without blocks.

    **Setting.** FedAvg-S2ZPO: agent k draws its own :math:`v^k \in \{-1,+1\}^d` and obtains the vote
    :math:`O^k` on :math:`\theta_t + \mu v^k`; :math:`g_t = \frac1K \sum_k O^k v^k`. The rest as in
    ``rlhf.theorem-1``.

    **Statement.** For every number K of agents

    .. math:: E\langle\nabla V, g_t\rangle &\ge \tfrac14 \|\nabla V\|_2
              - 8 \big( \mu L d + \tfrac1\mu (\varepsilon^\star_D + \varsigma_P^{-1}(\sqrt{4/N})) \big), \\
              E\|g_t\|_2^2 &= \tfrac{d}{K} + \big(1 - \tfrac1K\big) \|E\,O v\|_2^2 \le \tfrac{d}{K} + 1, \\
              \frac1T \sum_t E\|\nabla V(\theta_t)\|_2 &\le
              \frac{4 E[V(\theta_{T+1}) - V(\theta_1)]}{\alpha T}
              + 2 L \alpha \big( \tfrac{d}{K} + 1 \big)
              + 32 \big( \mu L d + \tfrac1\mu (\varepsilon^\star_D + \varsigma_P^{-1}(\sqrt{4/N})) \big) .

    With :math:`\alpha \sim \sqrt{K/(dT)}` the first two terms fall like :math:`\sqrt{d/(KT)}` for
    :math:`K \le d`: at a fixed budget of KT votes no worse for more agents, with no assumption on blocks.

    **Proof.** Every agent's direction is aligned as one block of all coordinates is (Lemmas 2 and 3); the
    average has the same mean. For a unit vector u, :math:`\langle E\,O v, u\rangle \le E|\langle v,
    u\rangle| \le 1`, so :math:`\|E\,O v\|_2 \le 1`; the votes are independent. Then as in theorem 1.

    **Source.** Theory notes, federated RLHF, section 6.
    """

    id = "rlhf.fedavg"
    mark = "ours"
    source = "theory notes, federated RLHF, section 6"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=2", agents=2, rounds=300, alpha=2.0**-5, questions=10**14, mu=2.0**-11),
        Case("episodic-bandit:A=2", agents=4, rounds=100),
        Case("episodic-bandit:A=2", agents=3, rounds=60, link="logistic", scale=0.5, people=3),
        Case("episodic-bandit:A=2", agents=2, rounds=60, questions=16, mu=0.25),
        Case("episodic-bandit:A=2", agents=2, rounds=60, questions=1, link="logistic", scale=0.5),
        Case("episodic-bandit:A=3", agents=2, rounds=6, alpha=0.25),
        Case("episodic-chain:H=1", agents=2, rounds=8, alpha=0.25),
    )
    certified = (Case("episodic-bandit:A=2", agents=2, rounds=4, alpha=0.25),)
    small = None  # all policies that a run can reach are followed: for fixed small instances

    @hypothesis(ROUNDS)
    def positive(self, problem: EpisodicMDP, rounds: int, alpha: float, mu: float) -> bool:
        return rounds >= 1 and alpha > 0 and mu > 0

    @hypothesis(SYMMETRIC)
    def symmetric(self, problem: EpisodicMDP, link: str, people: int, ties: Ties) -> bool:
        return comparison_of(problem, link, None, people, ties, 1, 1).panel.symmetric

    @hypothesis(FINITE, only=["one_round", "stationary"])
    def finite(
        self, problem: EpisodicMDP, link: str, scale: float | None, people: int, ties: Ties, questions: int
    ) -> bool:
        return enough(problem, comparison_of(problem, link, scale, people, ties, 1, 1).panel, questions)

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int = 1,
        rounds: int = 200,
        alpha: float = 2.0**-4,
        mu: float = 2.0**-9,
        link: str = "linear",
        scale: float | None = None,
        people: int = 1,
        ties: Ties = "fair",
        batch: int = 1,
        questions: int = 10**12,
    ) -> Average:
        comparison = comparison_of(problem, link, scale, people, ties, batch, questions)
        shape = (problem.H, problem.S, problem.A)
        updates = all_signs(int(np.prod(shape))).reshape(-1, *shape).astype(np.int64)
        none = Measured(np.zeros((1, len(updates))))
        lattice = Lattice.reached(averaged(updates, none, agents)[0], rounds)
        theta = Measured(lattice.points.astype(np.float64)) * alpha / float(agents)
        one = OneRound(Landscape(problem, comparison, theta, 1, mu), alpha)
        laws = lattice.laws(averaged(updates, one.chances, agents)[1], rounds)
        return Average(one, agents, stack(list(laws)))

    @upper(
        r"\frac14\|\nabla V\|_2 - 8(\mu L d + \frac1\mu(\varepsilon + \varsigma_P^{-1}(\sqrt{4/N})))"
        r" \le E\langle\nabla V, g\rangle \text{ at every policy that is reached}"
    )
    def one_round(self, x: Average) -> tuple[Measured, Measured]:
        return x.norm / 4 - x.errors() * 8, x.aligned

    @identity(r"E\|g\|_2^2 = \frac{d}{K} + (1 - \frac1K)\|E\,Ov\|_2^2", tolerance=1e-6)
    def second_moment(self, x: Average) -> tuple[Measured, Measured]:
        return x.second_moment(), x.squared * (1 - 1 / x.K) + x.at.d / x.K

    @upper(r"E\|g\|_2^2 \le \frac{d}{K} + 1")
    def variance(self, x: Average) -> tuple[Measured, Measured]:
        return x.second_moment(), Measured(np.full(len(x.norm), x.variance))

    @upper(
        r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_2 \le \frac{4 E[V(\theta_{T+1}) - V(\theta_1)]}{\alpha T}"
        r" + 2 L\alpha(\frac{d}{K}+1) + 32(\mu L d + \frac1\mu(\varepsilon + \varsigma_P^{-1}(\sqrt{4/N})))"
    )
    def stationary(self, x: Average) -> tuple[Measured, Measured, Measured]:
        return x.mean(x.norm)[:-1].mean(), x.bound(), x.at.largest_norm

    @chain("stationary")
    def proof(self, x: Average) -> Iterator[tuple[str, Measured]]:
        values, alpha, T = x.mean(x.at.value), x.round.alpha, len(x.laws) - 1
        growth = (values[-1] - values[0]) / (alpha * T)
        average = x.mean(x.norm)[:-1].mean()
        yield "the mean norm", average
        yield "alignment", (x.mean(x.aligned)[:-1].mean() + x.errors() * 8) * 4
        moments = x.mean(x.second_moment())[:-1].mean()
        yield (
            "smoothness, summed over the rounds",
            (growth + x.at.L * moments * (alpha / 2) + x.errors() * 8) * 4,
        )
        yield "the second moment", x.bound()

    @control("the mean of the votes does not average out", Case("episodic-bandit:A=2", agents=8, rounds=1))
    def no_floor(self, x: Average) -> tuple[Measured, Measured]:
        return x.second_moment(), Measured(np.full(len(x.norm), x.at.d / x.K))

    @control(
        "as if all agents drew one direction: their second moment would be d",
        Case("episodic-bandit:A=2", agents=4, rounds=2),
        kind=Kind.IDENTITY,
    )
    def one_direction(self, x: Average) -> tuple[Measured, Measured]:
        return x.second_moment(), Measured(np.full(len(x.norm), float(x.at.d)))
