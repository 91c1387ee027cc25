r"""One round of Par-S2ZPO: how much the value grows on average."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from proofs_check.rlhf.landscape import (
    FINITE,
    STEPS,
    SYMMETRIC,
    Landscape,
    all_signs,
    enough,
    points,
    policies,
)
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, upper
from tabular_fedrl.episodic import EpisodicMDP, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Ties, comparison_of

MOST_UPDATES = 2**12


@dataclass(frozen=True)
class OneRound:
    """A round from every point of a landscape, with step ``alpha``."""

    at: Landscape
    alpha: float

    @cached_property
    def chances(self) -> Measured:
        r"""The law of the update: it is a sign vector whose blocks :math:`O_k v_k` are independent,
        :math:`P(O_k v_k = w) = 2^{-b} (1 + (E[O_k|w] - E[O_k|{-w}])/2)`; ``(n, 2**d)``."""
        x = self.at
        law = ((x.vote - x.vote[:, ::-1]) / 2 + 1.0) / float(2**x.b)
        out = law[:, :, 0]
        for k in range(1, x.K):
            out = (out[:, :, None] * law[:, None, :, k]).reshape(len(out), -1)
        return out

    @property
    def promised(self) -> Measured:
        r""":math:`\frac\alpha4 \|\nabla V\|_{PK}`, ``(n,)``"""
        return self.at.norm * (self.alpha / 4)

    def growth(self, sign: float = 1.0) -> Measured:
        r""":math:`E\,V(\theta_{t+1}) - V(\theta_t)`, ``(n,)``; with ``sign`` -1 of the update reversed."""
        x = self.at
        if 2**x.d > MOST_UPDATES:
            raise InvalidProblem(f"{x.d} coordinates have too many updates to enumerate")
        g = all_signs(x.d).reshape(-1, *x.own.shape[1:]) * sign
        ahead = [start_value(x.mdp, policies(theta + Measured(g) * self.alpha)) for theta in _each(x.theta)]
        return (stack(ahead) * self.chances).sum(-1) - self.at.value

    @cached_property
    def aligned(self) -> Measured:
        r""":math:`E\langle\nabla V, g_t\rangle`, ``(n,)``"""
        return (self.at.inner * self.at.vote).mean(1).sum(-1)

    @cached_property
    def curvature(self) -> Measured:
        r""":math:`\alpha^2 L d/2`: every update has length :math:`\sqrt d`."""
        return self.at.L * (self.alpha**2 * self.at.d / 2)

    @property
    def largest_drop(self) -> Measured:
        r""":math:`\alpha \sqrt d` times the largest Euclidean norm of a gradient, or R"""
        slope = Measured(2.0 * self.at.mdp.H * self.at.d).sqrt() * (self.alpha / 4)
        return self.at.spread * slope.minimum(1.0)

    def bracket(self) -> Measured:
        r""":math:`\mu L d + \varepsilon K/\mu + (K/\mu) \varsigma_P^{-1}(\sqrt{4/N})`"""
        x = self.at
        return x.L * (x.mu * x.d) + (x.epsilon + x.threshold) * float(x.K) / x.mu

    def bound(self, growth: Measured) -> Measured:
        r"""On :math:`\frac\alpha4 \|\nabla V\|_{PK}`, from the mean ``growth`` of the value."""
        return growth + self.curvature + self.bracket() * (8 * self.alpha)


def _each(theta: Measured) -> list[Measured]:
    return [theta[i : i + 1] for i in range(len(theta))]


class Drift(Theorem):
    r"""A round of Par-S2ZPO raises the value in proportion to the gradient, up to small errors.

    **Setting.** Par-S2ZPO with K agents from any logits :math:`\theta_t`; V is L-smooth; the panel is
    symmetric; :math:`\|v\|_{PK} = \sum_k \|v \circ e_{I_k}\|_2`.

    **Statement.**

    .. math:: E[V(\theta_t) - V(\theta_{t+1}) | \theta_t] \le -\tfrac{\alpha}{4} \|\nabla V\|_{PK}
              + \tfrac{\alpha^2 L d}{2} + 8 \alpha \big( \mu L d + \tfrac{K}{\mu} \varepsilon^\star_D
              + \tfrac{K}{\mu} \varsigma_P^{-1}(\sqrt{4/N}) \big) .

    Checked with the norm on the left and the growth of the value on the right, so that the ratio tells what
    is lost. The expectation over directions and votes is exact: the update is a sign vector with independent
    blocks, and all :math:`2^d` are enumerated. :math:`\varepsilon^\star_D` as in ``rlhf.vote-error``.

    **Proof.** Smoothness with :math:`\|g_t\|_2^2 = d`; Lemmas 2 and 3, block by block;
    :math:`1/\sqrt 3 - 2/e^2 > 1/4`.

    **Source.** Wang, Zhang, Ying (2026), proof of theorem 1.
    """

    id = "rlhf.drift"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026, proof of theorem 1"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=2", agents=2, questions=10**14, mu=2.0**-10),
        Case("episodic-bandit:A=4", agents=2, link="logistic", scale=0.5, people=3),
        Case("episodic-bandit:A=2", questions=16),
        Case("episodic-bandit:A=2", questions=16, link="logistic", scale=1.0),
        Case("episodic-bandit:A=2", questions=17, link="logistic", scale=1.0),
        Case("episodic-chain:H=2", agents=2),
        Case("episodic-chain:H=2", agents=8, questions=10**14, alpha=0.5),
        Case("episodic-garnet:S=2,A=2,H=2", agents=4, link="clipped", batch=3),
    )
    certified = (Case("episodic-bandit:A=2", count=1), Case("episodic-bandit:A=2", count=1, agents=2))
    small = None  # enumerating all updates is for fixed small instances

    @hypothesis(STEPS)
    def positive(self, problem: EpisodicMDP, alpha: float, mu: float) -> bool:
        return alpha > 0 and mu > 0

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
        alpha: float = 2.0**-6,
        mu: float = 2.0**-9,
        link: str = "linear",
        scale: float | None = None,
        people: int = 1,
        ties: Ties = "fair",
        batch: int = 1,
        questions: int = 10**12,
        count: int = 4,
        spread: float = 0.5,
        seed: int = 0,
    ) -> OneRound:
        comparison = comparison_of(problem, link, scale, people, ties, batch, questions)
        at = Landscape(problem, comparison, points(problem, count, spread, seed), agents, mu)
        return OneRound(at, alpha)

    @upper(
        r"\frac{\alpha}{4}\|\nabla V\|_{PK} \le E[V(\theta_{t+1}) - V(\theta_t)] + \frac{\alpha^2 L d}{2}"
        r" + 8\alpha(\mu L d + \frac{K}{\mu}\varepsilon + \frac{K}{\mu}\varsigma_P^{-1}(\sqrt{4/N}))"
    )
    def drift(self, x: OneRound) -> tuple[Measured, Measured, Measured]:
        """Trivially the value drops by at most the largest norm times the length of a step."""
        return x.promised, x.bound(x.growth()), x.growth() + x.promised + x.largest_drop

    @chain("drift")
    def proof(self, x: OneRound) -> Iterator[tuple[str, Measured]]:
        at, allowed = x.at, x.bracket() * 8
        yield "the left side", x.promised
        lemmas = at.norm * (Measured(3.0).sqrt().reciprocal() - Measured(-2.0).exp() * 2)
        errors = at.L * (3 * at.mu * at.d) + (at.epsilon * 2 + at.threshold * 8) * float(at.K) / at.mu
        yield "less round constants", (lemmas - errors + allowed) * x.alpha
        yield "Lemmas 2 and 3 for every block", (x.aligned + allowed) * x.alpha
        yield "smoothness; every update has length sqrt d", x.bound(x.growth())

    @control("with the printed minus sign in the vote the value falls", Case("episodic-bandit:A=2", agents=2))
    def printed_minus(self, x: OneRound) -> tuple[Measured, Measured]:
        return x.promised, x.bound(x.growth(-1.0))

    @control("with the printed minus sign no round climbs", Case("episodic-chain:H=2", agents=2))
    def minus_climbs(self, x: OneRound) -> tuple[Measured, Measured]:
        return x.growth() * 0.0, x.growth(-1.0)

    @control(
        "sixteen answers make the bound useless: it allows more than the largest drop there is",
        Case("episodic-bandit:A=2", questions=16),
    )
    def sixteen_answers(self, x: OneRound) -> tuple[Measured, Measured]:
        return x.bound(x.growth()), x.growth() + x.promised + x.largest_drop
