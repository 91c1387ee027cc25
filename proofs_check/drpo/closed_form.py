r"""Lemma 1: the step with two regularisers in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.drpo.laws import Law, highest, kl, log_sum, random_part
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.algorithms.drpo_reverse import reverse_step
from tabular_fedrl.arithmetic import magnitude
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import UNIT, Measured


@dataclass(frozen=True)
class Step:
    """A round and, for every client and state, some law that lives where the step may go: ``(N, S, A)``."""

    round: Round
    other: Law


class ClosedForm(Theorem):
    r"""A step regularised towards the data and towards the server has a closed form.

    **Setting.** Weights :math:`\alpha, \beta \ge 0`, :math:`\tau = \alpha + \beta > 0`,
    :math:`w = \alpha/\tau`, :math:`\eta = 1/\tau`; a state at which the behaviour :math:`b_i` and the global
    policy :math:`\pi_k` have an action in common (with :math:`\alpha = 0` only the support of :math:`\pi_k`
    matters, with :math:`\beta = 0` only that of :math:`b_i`); any critic :math:`Q_i`, right or wrong.

    **Statement.** :math:`f_i(p) = \langle p, Q_i\rangle - \alpha KL(p\|b_i) - \beta KL(p\|\pi_k)` has the
    unique maximiser

    .. math:: \pi_i \propto b_i^w\, \pi_k^{1-w}\, e^{Q_i/\tau} \propto \pi_k\, e^{\eta U_i}, \qquad
              U_i = Q_i + \alpha \log(b_i/\pi_k), \qquad
              f_i(\pi_i) = \tau \log \textstyle\sum_a b_i^w \pi_k^{1-w} e^{Q_i/\tau},

    and for every law q on the common support

    .. math:: f_i(\pi_i) - f_i(q) = \tau\, KL(q\|\pi_i) .

    So the step is one natural-gradient step of size :math:`\eta` from the global policy, on a critic to which
    :math:`\alpha` times the log-ratio of data and policy has been added: :math:`\beta` sets the step size,
    :math:`\alpha` the pull to the data.

    **Proof.** With :math:`Z = \sum_a b_i^w \pi_k^{1-w} e^{Q_i/\tau}`,

    .. math:: \tau KL(q\|\pi_i) = \textstyle\sum_a q\,[\tau \log q - \alpha \log b_i - \beta \log \pi_k - Q_i]
              + \tau \log Z = -f_i(q) + \tau \log Z ,

    and at :math:`q = \pi_i` the left side is 0. For the second form, :math:`b^w \pi^{1-w} e^{\eta Q} =
    \pi\, e^{\eta(Q + \alpha \log(b/\pi))}`.

    The maximum is also found numerically, by a method that is told nothing but gradients; a concave function
    is nowhere above its tangent, so that its maximum lies between the value reached and that value plus
    :math:`\max_a \partial_a f - \langle p, \nabla f\rangle`.

    **Source.** Theory notes, DRPO section 3.1.
    """

    id = "drpo.closed-form"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 1"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", alpha=0.0, seed=1),
        Case("random-mdp:seed=1", beta=0.0, seed=1),
    )
    small = {"draws": 4}
    certified = (
        Case("textbook:three-state", draws=4),
        Case("textbook:two-arm", draws=4, alpha=0.0),
        Case("textbook:two-arm", draws=4, beta=0.0),
    )

    @hypothesis("no weight is negative and one is positive")
    def regularised(self, problem: FederatedCMDP, alpha: float | None, beta: float | None) -> bool:
        given = [weight for weight in (alpha, beta) if weight is not None]
        return min(given, default=1.0) >= 0 and (len(given) < 2 or max(given) > 0)

    @hypothesis("beta > 0: without it the step may leave the support of the global policy", only=["tilt"])
    def towards_the_server(self, problem: FederatedCMDP, beta: float | None) -> bool:
        return beta is None or beta > 0

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        beta: float | None = None,
        support: Support = "crossing",
        draws: int = 32,
        seed: int = 0,
    ) -> list[Step]:
        rng = np.random.default_rng(seed)
        drawn = rounds(problem, draws, seed, alpha=alpha, beta=beta, support=support)
        return [Step(x, random_part(rng, x.clients.support)) for x in drawn]

    @identity(r"\max_p f_i(p) = f_i(\pi_i)")
    def maximum(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked((_maximum(step.round), step.round.objective(step.round.clients)) for step in x)

    @identity(r"f_i(\pi_i) = \tau \log \sum_a b_i^w \pi_k^{1-w} e^{Q_i/\tau}")
    def value(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked((step.round.objective(step.round.clients), _log_partition(step.round)) for step in x)

    @identity(r"\log \pi_i = \log \pi_k + \eta U_i - \log E_{\pi_k} e^{\eta U_i}")
    def tilt(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked(_tilts(step.round, step.round.U) for step in x)

    @identity(r"\log \pi_i \text{ is what the algorithm computes}")
    def algorithm(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked(_computed(step.round) for step in x)

    @identity(r"f_i(\pi_i) = f_i(q) + \tau KL(q\|\pi_i)")
    def three_point(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked(_three_points(step.round, step.other) for step in x)

    @control(
        "the sign of the pull to the data: Q - alpha log(b/pi)",
        Case("random-mdp:seed=1", support="full"),
        kind=Kind.IDENTITY,
    )
    def flipped_pull(self, x: list[Step]) -> tuple[Measured, Measured]:
        rs = [step.round for step in x]
        return stacked(_tilts(r, r.Q - r.ell * r.alpha) for r in rs)

    @control(
        "the order of the divergence in the three-point identity: KL(pi_i || q)",
        Case("random-mdp:seed=1", support="full"),
        kind=Kind.IDENTITY,
    )
    def other_order(self, x: list[Step]) -> tuple[Measured, Measured]:
        rs = [step.round for step in x]
        turned = [r.objective(r.old) + kl(r.clients, r.old) * r.tau for r in rs]
        return stacked((r.objective(r.clients), there) for r, there in zip(rs, turned, strict=True))

    @control(
        "with beta = 0 the step is not a tilt of the global policy: some of it is where only the data are",
        Case("random-mdp:seed=1", beta=0.0),
        kind=Kind.IDENTITY,
    )
    def tilt_without_server(self, x: list[Step]) -> tuple[Measured, Measured]:
        return stacked(_tilts(step.round, step.round.U) for step in x)


def _three_points(x: Round, q: Law) -> tuple[Measured, Measured]:
    return x.objective(x.clients), x.objective(q) + kl(q, x.clients) * x.tau


def _log_partition(x: Round) -> Measured:
    b, pi = x.behaviour.log, x.old.log
    return log_sum(b * x.w + pi * (Measured(1.0) - x.w) + x.Q / x.tau, x.clients.support) * x.tau


def _tilts(x: Round, U: Measured) -> tuple[Measured, Measured]:
    """Logarithms of the step and of the tilt of the global policy by ``U``, where the tilt lives."""
    tilted = Law.normalised(x.old.log + U * x.eta, x.clients.support & x.old.support)
    return x.clients.log[tilted.support], tilted.log[tilted.support]


def _computed(x: Round) -> tuple[Measured, Measured]:
    """Logarithms of the step and of what the algorithm makes of the same data."""
    law = Law.of(reverse_step(x.log_pi, x.log_b, x.Q.plain, x.alpha.plain, x.beta.plain))
    # In floats: terms of this size, a handful of operations and a log-sum-exp.
    reach = magnitude((x.behaviour.log.abs() * x.alpha + x.old.log.abs() * x.beta + x.Q.abs()) * x.eta)
    return x.clients.log, law.log.rounded_by((x.cmdp.A + 32) * UNIT * (1 + 4 * reach))


def _maximum(x: Round) -> Measured:
    """The maximum of f for every client and state, between the value reached and what the tangent leaves."""
    p = _climb(x)
    slope = x.Q - (p.log - x.behaviour.log) * x.alpha - (p.log - x.old.log) * x.beta
    reached = x.objective(p)
    left = highest(slope, p.support) - p.mean(slope)
    return Measured.between(reached.lower, (reached + left).upper)


def _climb(x: Round, steps: int = 25) -> Law:
    """A law near the maximiser, by exponentiated gradients in floats: the bound holds for any law."""
    support = x.clients.support
    Q, b, pi = (v.value for v in (x.Q, x.behaviour.log, x.old.log))
    alpha, beta = float(x.alpha.value), float(x.beta.value)
    log_p = np.zeros(support.shape)
    for _ in range(steps):
        slope = Q - alpha * (log_p - b) - beta * (log_p - pi)
        log_p = log_p + 0.75 * slope / (alpha + beta)
        log_p = log_p - np.where(support, log_p, -np.inf).max(axis=-1, keepdims=True)
    return Law.normalised(Measured(log_p), support)
