r"""Advantage-weighted regression: one step from the behaviour policy, exactly evaluated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, change, covariance, jeffreys, kl, span
from proofs_check.drpo.step import Round, rounds, stacked
from proofs_check.related.moves import SOURCES, at
from tabular_fedrl.claims import Case, Kind, Rows, Table, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy


def fork() -> CMDP:
    """A fork: one way pays 1/2 at once, the other leads to a state whose actions pay 1 and 0."""
    successors = [[2, 1], [2, 2], [2, 2]]
    return CMDP(
        np.eye(3)[successors], [[0.5, 0.0], [1.0, 0.0], [0.0, 0.0]], [], [], np.array([1.0, 0.0, 0.0]), 0.9
    )


@dataclass(frozen=True)
class Weighted:
    r"""The step as a round of DRPO with :math:`\beta = 0`, whose global policy and only behaviour are b."""

    round: Round

    @property
    def b(self) -> Law:
        return self.round.old

    @property
    def p(self) -> Law:
        r""":math:`\propto b\, e^{Q/\alpha}`, ``(S, A)``"""
        return self.round.clients[0]

    @property
    def improvement(self) -> Measured:
        """``(1 - gamma) (J(p) - J(b))``"""
        return self.round.improvement(self.p) * self.round.discount

    @property
    def slip(self) -> Measured:
        r""":math:`\langle p - b, e\rangle` for the critic's error e: 0, but for the rounding of floats, whose
        critic is the float next to :math:`Q^b` (up to a constant in every state)."""
        return change(self.p, self.b, self.round.errors[0])

    def expected(self, gain: Measured) -> Measured:
        r""":math:`E_{d^p}[\mathrm{gain} - \langle p - b, e\rangle]`"""
        return self.round.expected(self.p, gain - self.slip)

    @property
    def variance(self) -> Measured:
        """``Var_b(Q)``, ``(S,)``"""
        return covariance(self.b, self.round.Q[0], self.round.Q[0])

    @property
    def width(self) -> Measured:
        """Span of Q over the support of b, ``(S,)``"""
        return span(self.round.Q[0], self.b.support)


class AdvantageWeighting(Theorem):
    r"""Weighting the behaviour by exponentiated advantages improves it, by an exactly known amount.

    **Setting.** The R-step of DRPO with :math:`\beta = 0` and the exact critic :math:`Q = Q^b` of the
    behaviour policy b: :math:`p \propto b\, e^{Q^b/\alpha} \propto b\, e^{A^b/\alpha}`, :math:`\alpha > 0`.

    **Statement.**

    .. math:: J(p) - J(b) = \frac{\alpha}{1-\gamma} E_{d^p} \mathrm{Jeff}(p, b) \ge \frac{1}{1-\gamma}
              E_{d^p} \frac{\mathrm{Var}_b(Q^b)}{\alpha + \mathrm{span}_b(Q^b)} ,

    so that p is strictly better than b unless, in every state that p visits, all actions of b are worth the
    same.

    **Proof.** :math:`\langle p, A^b\rangle = \langle p - b, Q^b\rangle = \alpha \langle p - b,
    \log(p/b)\rangle`, then the performance difference lemma. The tilt by :math:`t = 1/\alpha` gains at least
    :math:`\mathrm{Var}_b(Q) (1 - e^{-th})/h` (see ``lemmas.tilt``), and :math:`1 - e^{-x} \ge x/(1+x)`.

    **Source.** Theory notes, DRPO section 5; the step is that of Peng, Kumar, Zhang, Levine (2019) and
    others. The second inequality is added here.
    """

    id = "related.one-step"
    mark = "ours"
    source = "theory notes, DRPO section 5"
    suite = (*(Case(source) for source in SOURCES), Case("textbook:two-arm"))
    certified = (Case("textbook:three-state", draws=8), Case("textbook:two-arm", draws=8))
    small = {"draws": 4}
    space = {"behaviour": Table.POLICY, "alpha": (1e-2, 1e2)}
    family = "cmdp:S=1..3,A=2..3,m=0,gamma=0..0.95"

    @hypothesis("alpha > 0")
    def positive(self, problem: FederatedCMDP, alpha: float | None) -> bool:
        return alpha is None or alpha > 0

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 48,
        seed: int = 0,
        behaviour: Rows | None = None,
        alpha: float | None = None,
    ) -> list[Weighted]:
        if behaviour is not None:
            return [_step(at(problem.cmdp, behaviour), 1.0 if alpha is None else alpha)]
        drawn = rounds(problem, draws, seed, clients=1, alpha=alpha)
        return [_step(x, x.alpha) for x in drawn]

    @identity(r"(1-\gamma) (J(p) - J(b)) = \alpha E_{d^p} \mathrm{Jeff}(p, b)")
    def gain(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.expected(_jeffreys(k))) for k in x)

    @tight(
        r"E_{d^p}[\mathrm{Var}_b(Q^b)/(\alpha + \mathrm{span}_b Q^b)] \le (1-\gamma) (J(p) - J(b))",
        attained=Case("textbook:constant-reward", behaviour=[[0.3, 0.7]]),
    )
    def strict(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        return stacked((k.expected(k.variance / (k.width + k.round.alpha)), k.improvement) for k in x)

    @control(
        "the states are those that p visits, not those of the data",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def of_the_data(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.round.expected(k.b, _jeffreys(k))) for k in x)

    @control(
        "one of the two divergences alone is not the gain",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def one_divergence(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.expected(kl(k.p, k.b) * k.round.alpha)) for k in x)

    @control(
        "the variance over alpha + span/3 is too much",
        Case("textbook:two-arm", behaviour=[[0.5, 0.5]], alpha=0.05),
    )
    def narrower(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        return stacked((k.expected(k.variance / (k.width / 3.0 + k.round.alpha)), k.improvement) for k in x)

    @control(
        "the critic of another policy misleads: of one that errs at the end of the way",
        Case(fork(), behaviour=[[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]]),
    )
    def another_critic(self, x: list[Weighted]) -> tuple[Measured, Measured]:
        erring = log_policy([[0.5, 0.5], [0.0, 1.0], [0.5, 0.5]], 3, 2)
        changes = []
        for k in x:
            critic = evaluate(k.round.cmdp, erring, k.round.cmdp.r[None]).Q
            changes.append(Weighted(replace(k.round, Q=critic)).improvement)
        return Measured(np.zeros(len(x))), Measured.stack(changes)


def _step(start: Round, alpha: Any) -> Weighted:
    # A constant added to Q in a state changes nothing; with this one, exponents are small where p is large.
    critic = Measured((start.q - start.q.max(-1).reshape(-1, 1)).plain).reshape(1, *start.q.shape)
    return Weighted(
        Round(
            start.cmdp,
            Measured.of(alpha),
            Measured(0.0),
            Measured(np.ones(1)),
            start.log_pi,
            start.log_pi[None],
            critic,
        )
    )


def _jeffreys(k: Weighted) -> Measured:
    return jeffreys(k.p, k.b) * k.round.alpha
