r"""Conservative Q-learning: what its fixed points underestimate, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, kl
from proofs_check.drpo.step import rounds, stacked
from proofs_check.related.moves import SOURCES
from tabular_fedrl.arithmetic import magnitude, stack
from tabular_fedrl.claims import Case, Kind, Rows, Table, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import Values, evaluate
from tabular_fedrl.measured import Array, Measured, dot
from tabular_fedrl.policies import arithmetic_mean, log_policy, uniform

SAMPLES = 16
"""Successors seen of every pair in the estimated model; a power of two, so that its rows are exact floats."""

SMOOTHING = 0.01
"""Share of the uniform policy in random behaviours and in random mu, which the data must cover."""


def lottery() -> CMDP:
    """A ticket that wins with probability 3/10, for ever."""
    P = np.zeros((3, 2, 3))
    P[0], P[1, :, 1], P[2, :, 2] = [0.0, 0.3, 0.7], 1.0, 1.0
    return CMDP(P, [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [], [], [1.0, 0.0, 0.0], 0.5)


@dataclass(frozen=True)
class Critic:
    """A policy pi that is evaluated, the behaviour b of the data, the law mu that is pushed down, as
    log-policies ``(S, A)``; and the weight alpha. ``noise (S, A)``: a table to perturb by; ``estimate``: a
    model from :data:`SAMPLES` successors of every pair.

    Values are compared in units of the largest penalty for ever.
    """

    cmdp: CMDP
    alpha: Measured
    log_pi: Any
    log_b: Any
    log_mu: Any
    noise: Array
    estimate: CMDP

    @cached_property
    def pi(self) -> Law:
        return Law.of(self.log_pi)

    @cached_property
    def b(self) -> Law:
        return Law.of(self.log_b)

    @cached_property
    def mu(self) -> Law:
        return Law.of(self.log_mu)

    def values(self, signal: Measured, cmdp: CMDP | None = None) -> Values:
        """V and Q of pi for one signal ``(S, A)``."""
        model = self.cmdp if cmdp is None else cmdp
        found = evaluate(model, self.log_pi, signal.reshape(1, *signal.shape).plain)
        # In floats it is the middle of the signal that is evaluated.
        blur = (Measured(signal.error.max()) / (Measured(1.0) - model.gamma)).upper
        return Values(*(x[0].rounded_by(blur) for x in (found.V, found.Q, found.at_rho)))

    @cached_property
    def reward(self) -> Measured:
        return Measured(self.cmdp.r)

    @cached_property
    def true(self) -> Values:
        return self.values(self.reward)

    def over_data(self, law: Law) -> Measured:
        """``law/b``, ``(S, A)``"""
        return law.p / self.b.p

    @cached_property
    def penalty(self) -> Measured:
        r""":math:`\alpha\mu/b`, ``(S, A)``"""
        return self.over_data(self.mu) * self.alpha

    @cached_property
    def pushed(self) -> Values:
        """The fixed point with the penalty on mu alone."""
        return self.values(self.reward - self.penalty)

    @property
    def lowered(self) -> Measured:
        r""":math:`Q^\pi - \hat Q` with the penalty on mu alone, ``(S, A)``"""
        return self.true.Q - self.pushed.Q

    def balanced(self, law: Law) -> Values:
        """The fixed point that pushes ``law`` down and the data up."""
        return self.values(self.reward - (self.over_data(law) - 1.0) * self.alpha)

    @cached_property
    def value_lowered(self) -> Measured:
        r""":math:`V^\pi - \hat V` with the data term and :math:`\mu = \pi`, ``(S,)``"""
        return self.true.V - self.balanced(self.pi).V

    @cached_property
    def divergence(self) -> Measured:
        r""":math:`\alpha \chi^2(\pi\|b)`, ``(S,)``"""
        return dot(self.pi.p - self.b.p, (self.pi.p - self.b.p) / self.b.p) * self.alpha

    def scaled(self, *sides: Measured) -> Any:
        """Both sides in units of the largest penalty for ever, of mu or of pi."""
        largest = magnitude(self.penalty) + magnitude(self.over_data(self.pi) * self.alpha)
        unit = 1.0 + largest / (1.0 - magnitude(Measured(self.cmdp.gamma)))
        return tuple(side / unit for side in sides)

    def ahead(self, penalty: Measured) -> Measured:
        r""":math:`(I - \gamma P_\pi)^{-1} g` for a penalty g of the state, ``(S,)``"""
        return self.values(penalty.reshape(-1, 1) + np.zeros(self.reward.shape)).V

    # ---- in the estimated model ---------------------------------------------------------------------------
    @cached_property
    def surprise(self) -> Measured:
        r""":math:`z = \gamma (\hat P - P) V^\pi`, ``(S, A)``"""
        V = self.true.V
        return dot(self.estimate.P, V) * self.cmdp.gamma - (self.true.Q - self.reward)

    @property
    def enough(self) -> float:
        r"""A weight with :math:`\alpha \mu/b \ge z`, next to the least one."""
        return float((self.surprise / self.over_data(self.mu)).max().positive().upper)

    def estimated(self, alpha: float) -> Measured:
        """Q of the fixed point with the penalty on mu alone in the estimated model."""
        return self.values(self.reward - self.over_data(self.mu) * alpha, self.estimate).Q


class ConservativeValues(Theorem):
    r"""Penalised fixed points lie below the true values, by the discounted sum of the penalties.

    **Setting.** With an exact model, behaviour b > 0 and the target :math:`T = r + \gamma P^\pi \hat Q`,
    tabular CQL minimises in every state

    .. math:: \alpha \langle\mu, Q\rangle - \alpha \langle\nu, Q\rangle + \tfrac12 \langle b, (Q - T)^2\rangle
              \quad\Rightarrow\quad \hat Q = T - \alpha\,\frac{\mu - \nu}{b},

    with :math:`\nu = 0` (penalty alone) or :math:`\nu = b` (with the data term).

    **Statement.** *Penalty alone:* for every :math:`\mu`, in every state and action,
    :math:`\hat Q = Q^\pi - \alpha (I - \gamma P^\pi)^{-1} \frac\mu b \le Q^\pi - \alpha \frac\mu b`.
    In a model :math:`\hat P` estimated from data, :math:`\hat Q \le Q^\pi` still if
    :math:`\alpha\mu/b \ge z := \gamma(\hat P - P) V^\pi` everywhere.
    *With the data term and* :math:`\mu = \pi`: in every state

    .. math:: \hat V = V^\pi - \alpha (I - \gamma P_\pi)^{-1} \chi^2(\pi\|b) \le V^\pi - \alpha\,
              \chi^2(\pi\|b) .

    **Proof.** The minimiser: set the derivative to 0. The fixed point is then the value of the reward
    :math:`r - \alpha(\mu - \nu)/b`, and :math:`\langle\pi, \pi/b - 1\rangle = \chi^2(\pi\|b)`; the resolvent
    is at least the identity. With an estimate, :math:`\hat Q - Q^\pi = (I - \gamma\hat P^\pi)^{-1}(z -
    \alpha\mu/b)`.

    **Source.** Kumar, Zhou, Tucker, Levine (2020), theorems 3.1 and 3.2, which add terms for the sampling
    error; recalled. The form with z is that of the theory notes, Lemma 4.
    """

    id = "related.cql"
    mark = "recalled"
    source = "Kumar et al. 2020, theorems 3.1 and 3.2"
    suite = (*(Case(source) for source in SOURCES), Case("textbook:heterogeneous-bandit"))
    certified = (Case("textbook:three-state", draws=8), Case("textbook:two-arm", draws=8))
    small = {"draws": 4}
    space = {"pi": Table.POLICY, "b": Table.POLICY, "mu": Table.POLICY, "alpha": (1e-2, 1e2)}
    family = "cmdp:S=1..3,A=2..3,m=0,gamma=0..0.95"

    @hypothesis("alpha >= 0")
    def not_negative(self, problem: FederatedCMDP, alpha: float | None) -> bool:
        return alpha is None or alpha >= 0

    @hypothesis("the behaviour has every action")
    def covered(self, problem: FederatedCMDP, b: Rows | None) -> bool:
        return b is None or bool((np.asarray(b) > 0).all())

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 48,
        seed: int = 0,
        alpha: float | None = None,
        pi: Rows | None = None,
        b: Rows | None = None,
        mu: Rows | None = None,
    ) -> list[Critic]:
        rng = np.random.default_rng(seed)
        tables = [pi, b, mu]
        if any(table is not None for table in tables):
            if any(table is None for table in tables):
                raise InvalidProblem("the policies pi, b and mu are given together or not at all")
            cmdp = problem.cmdp
            given = [log_policy(table, cmdp.S, cmdp.A) for table in tables if table is not None]
            weight = Measured(1.0 if alpha is None else alpha)
            return [_critic(rng, cmdp, weight, given[0], given[1], given[2])]
        drawn = rounds(problem, draws, seed, clients=2, alpha=alpha)
        return [_critic(rng, x.cmdp, x.alpha, x.log_pi, *map(_smoothed, x.log_b)) for x in drawn]

    @identity(
        r"F(Q) - F(\hat Q) = \tfrac12 \langle b, (Q - \hat Q)^2\rangle \text{ for }"
        r" F(Q) = \alpha\langle\mu, Q\rangle + \tfrac12 \langle b, (Q - T)^2\rangle"
    )
    def minimiser(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(_perturbed(k) for k in x)

    @identity(r"Q^\pi - \hat Q = \alpha (I - \gamma P^\pi)^{-1} \tfrac\mu b")
    def penalty_alone(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.lowered, k.values(k.penalty).Q) for k in x)

    @tight(
        r"\alpha\mu/b \le Q^\pi - \hat Q",
        attained=Case("textbook:two-arm", pi=[[0.5, 0.5]], b=[[0.2, 0.8]], mu=[[0.7, 0.3]]),
    )
    def below(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.penalty, k.lowered) for k in x)

    @tight(r"\hat Q \le Q^\pi \text{ in an estimated model with } \alpha = \max_{s,a} [z b/\mu]_+")
    def estimated(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked((k.estimated(k.enough), k.true.Q) for k in x)

    @identity(r"V^\pi - \hat V = \alpha (I - \gamma P_\pi)^{-1} \chi^2(\pi\|b)")
    def with_data(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.value_lowered, k.ahead(k.divergence)) for k in x)

    @tight(
        r"\alpha \chi^2(\pi\|b) \le V^\pi - \hat V",
        attained=Case("textbook:two-arm", pi=[[0.5, 0.5]], b=[[0.2, 0.8]], mu=[[0.7, 0.3]]),
    )
    def value_below(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.divergence, k.value_lowered) for k in x)

    @control(
        "with the data term Q is no lower bound action by action",
        Case("textbook:two-arm", pi=[[0.1, 0.9]], b=[[0.5, 0.5]], mu=[[0.1, 0.9]]),
    )
    def data_term_pointwise(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked((k.balanced(k.pi).Q, k.true.Q) for k in x)

    @control(
        "with the data term and another mu even V is no lower bound",
        Case("textbook:two-arm", pi=[[0.1, 0.9]], b=[[0.5, 0.5]], mu=[[0.9, 0.1]]),
    )
    def another_mu(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked((k.balanced(k.mu).V, k.true.V) for k in x)

    @control("penalties are paid at all later states too", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def once(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.value_lowered, k.divergence) for k in x)

    @control("the penalty is chi-squared and not KL", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def another_divergence(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked(k.scaled(k.value_lowered, k.ahead(kl(k.pi, k.b) * k.alpha)) for k in x)

    @control(
        "nine tenths of the weight do not cover the sampling error",
        Case(lottery(), pi=[[1.0, 0.0]] * 3, b=[[0.5, 0.5]] * 3, mu=[[0.999, 0.001]] + [[0.001, 0.999]] * 2),
    )
    def too_light(self, x: list[Critic]) -> tuple[Measured, Measured]:
        return stacked((k.estimated(0.9 * k.enough), k.true.Q) for k in x)


def _smoothed(log_pi: Any) -> Any:
    everything = stack([log_pi, uniform(*log_pi.shape)])
    return arithmetic_mean(everything, [1 - SMOOTHING, SMOOTHING])


def _critic(rng: np.random.Generator, cmdp: CMDP, alpha: Measured, pi: Any, b: Any, mu: Any) -> Critic:
    """The data are drawn from the nearest floats of the model."""
    floats = cmdp.floats()
    rows = floats.rows.toarray() if floats.is_sparse else floats.rows
    seen = rng.multinomial(SAMPLES, rows / rows.sum(axis=1, keepdims=True)) / SAMPLES
    estimate = cmdp.replace(P=seen.reshape(cmdp.S, cmdp.A, cmdp.S))
    return Critic(cmdp, alpha, pi, b, mu, rng.standard_normal((cmdp.S, cmdp.A)), estimate)


def _perturbed(k: Critic) -> tuple[Measured, Measured]:
    """Both sides at a Q about as far from the minimiser as the largest penalty in the state."""
    size = k.penalty.max(-1).reshape(-1, 1) + 1.0
    away = size * k.noise

    def loss(q: Measured) -> Measured:
        """F at ``T + q``, less the constant ``alpha <mu, T>``."""
        return dot(k.mu.p, q) * k.alpha + dot(k.b.p, q * q) * 0.5

    units = (size * size).reshape(-1)
    return (loss(away - k.penalty) - loss(-k.penalty)) / units, dot(k.b.p, away * away) * 0.5 / units
