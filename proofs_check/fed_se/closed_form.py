"""S1: the policy that the likelihood of the successes asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.fed_se.learner import (
    GARNETS,
    Learner,
    Sides,
    drawn,
    last_probabilities,
    possible,
    stacked,
    success,
)
from tabular_fedrl.algorithms.fed_se_adapters import closed_form
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.measured import Measured, dot

MIXED = (0.5, 0.1, 1e-3, 1e-6)
"""Shares of the uniform policy."""


@dataclass(frozen=True)
class Fit:
    """Policies, and others to compare the maximiser of the likelihood of their successes with."""

    before: Learner
    others: tuple[Learner, ...]

    @cached_property
    def after(self) -> Learner:
        r""":math:`\pi'`"""
        return Learner(self.before.problem, closed_form(self.before.plain_W, self.before.pi))

    @cached_property
    def mass(self) -> Measured:
        """The successes through each state, ``(..., K, H, S)``."""
        return self.before.W.sum(-1)

    def best(self) -> Measured:
        r""":math:`F(\pi')`"""
        return self.after.likelihood(self.before.W)

    def mixed(self, share: float) -> Learner:
        r""":math:`(1-\epsilon)\pi' + \epsilon/|A|`"""
        part = array(share)
        return Learner(self.before.problem, (1 - part) * self.after.pi + part / self.before.problem.A)


class ClosedForm(Theorem):
    r"""The likelihood of the successes is largest at the law of the actions given success.

    **Setting.** Episodes of H steps succeed (R = 1) or fail (R = 0) at their end; Q and V are the
    probabilities of success after a pair and after a state. The filtered likelihood of :math:`\nu` on the
    episodes of :math:`\pi` is

    .. math:: F(\nu) &= E_{\tau\sim\pi}[R(\tau) \log\nu(\tau)]
              = \sum_{h,s,a} W_h(s,a) \log \nu_h(a|s) + \mathrm{const}, \\
              W_h(s,a) &= d_h^\pi(s)\, \pi_h(a|s)\, Q_h^\pi(s,a) .

    **Statement.** With :math:`m_h(s) = \sum_a W_h(s,a) = d_h(s) V_h(s)`, the policy

    .. math:: \pi'_h(a|s) = \frac{\pi_h(a|s)\, Q_h(s,a)}{V_h(s)} \quad\text{where } m_h(s) > 0, \qquad
              \pi' = \pi \text{ elsewhere}

    maximises F, with :math:`F(\pi') - F(\nu) = \sum_{h,s} m_h(s)\, KL(\pi'_h(\cdot|s) \| \nu_h(\cdot|s))`.
    Where :math:`m_h(s) > 0` and :math:`\pi'` has zeros F is a supremum over finite logits: none attains it,
    and :math:`(1-\epsilon)\pi' + \epsilon/|A|` stays within :math:`-\log(1-\epsilon) \sum_{h,s} m_h(s)` of
    it, within less if :math:`J(\pi) > 0`.

    **Proof.** In each row :math:`\sum_a W \log\nu = m \sum_a \pi' \log\nu`, and Gibbs' inequality:
    :math:`\sum_a \pi' \log(\pi'/\nu) \ge 0`, with equality only for :math:`\nu = \pi'`. The KKT conditions of
    a row are :math:`W - m\nu = 0`. Every probability of the mixture is above :math:`(1-\epsilon)\pi'`.

    **Source.** Theory notes, self-evolution, S1; the filtered likelihood is the method of Chen et al. (2025).
    """

    id = "fed-se.closed-form"
    mark = "ours"
    source = "theory notes, self-evolution, S1"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4"),
        Case("frozen-lakes:clients=5,H=12", draws=4),
    )
    certified = (Case("success-garnet:S=3,A=4,H=3,clients=2,heterogeneity=1,seed=2", draws=2),)
    small = {"draws": 4}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    @hypothesis("some episode succeeds in every environment")
    def successful(self, problem: FederatedEpisodicMDP) -> bool:
        return possible(problem)

    @hypothesis("two actions or more: else every policy is uniform", only=["not_attained"])
    def choices(self, problem: FederatedEpisodicMDP) -> bool:
        return problem.A >= 2

    def setup(self, problem: FederatedEpisodicMDP, draws: int = 16, seed: int = 0) -> list[Fit]:
        """Random policies, half of them with zeros; against each a random one and ones near the maximiser."""
        rng = np.random.default_rng(seed)
        ending = success(problem)
        return [_fit(rng, drawn(rng, ending, (draws + 1) // 2, zeros=zeros)) for zeros in (False, True)]

    @tight(r"F(\nu) \le F(\pi')")
    def largest(self, x: list[Fit]) -> Sides:
        return stacked((nu.likelihood(fit.before.W), fit.best()) for fit in x for nu in fit.others)

    @identity(r"F(\pi') - F(\nu) = \sum_{h,s} m_h(s) KL(\pi'_h(\cdot|s) \| \nu_h(\cdot|s))")
    def deficit(self, x: list[Fit]) -> Sides:
        return stacked(
            (fit.best() - nu.likelihood(fit.before.W), _divergence(fit, nu)) for fit in x for nu in fit.others
        )

    @identity(r"\pi'_h(a|s) V_h(s) = \pi_h(a|s) Q_h(s,a) \text{ where } m_h(s) > 0")
    def formula(self, x: list[Fit]) -> Sides:
        return stacked(
            (_met(fit, fit.after.p * fit.before.V[..., None]), _met(fit, fit.before.p * fit.before.Q))
            for fit in x
        )

    @identity(r"W - m \pi' = 0: \text{ the gradient of F in the logits}")
    def stationary(self, x: list[Fit]) -> Sides:
        return stacked((fit.before.W, fit.mass[..., None] * fit.after.p) for fit in x)

    @upper(
        r"F((1-\epsilon)\pi' + \epsilon/|A|) < F(\pi')"
        r" \text{ unless } \pi' \text{ is uniform wherever } m_h(s) > 0"
    )
    def not_attained(self, x: list[Fit]) -> Sides:
        return stacked((fit.mixed(e).likelihood(fit.before.W), fit.best()) for fit in x for e in MIXED[:3])

    @upper(r"F(\pi') - F((1-\epsilon)\pi' + \epsilon/|A|) \le -\log(1-\epsilon) \sum_{h,s} m_h(s)")
    def approached(self, x: list[Fit]) -> Sides:
        return stacked(
            (
                fit.best() - fit.mixed(e).likelihood(fit.before.W),
                -fit.mass.sum((-2, -1)) * Measured(array(1.0) - array(e)).log(),
            )
            for fit in x
            for e in MIXED
        )

    @control("the policy's own probabilities count: Q alone is not the maximiser", Case(GARNETS))
    def prior_left_out(self, x: list[Fit]) -> Sides:
        return stacked((fit.best(), _by_values(fit).likelihood(fit.before.W)) for fit in x[:1])

    @control("the maximiser is not the greedy policy, better as that is", Case(GARNETS), kind=Kind.IDENTITY)
    def greedy(self, x: list[Fit]) -> Sides:
        Q = x[0].before.Q
        return x[0].after.p, Measured(Q.value >= Q.value.max(axis=-1, keepdims=True))


def _fit(rng: np.random.Generator, before: Learner) -> Fit:
    free = drawn(rng, before.problem, len(before.pi))
    fit = Fit(before, ())
    near = [Learner(before.problem, (1 - array(e)) * fit.after.pi + array(e) * free.pi) for e in (0.3, 0.01)]
    return Fit(before, (free, *near))


def _divergence(fit: Fit, nu: Learner) -> Measured:
    after = fit.after
    rows = dot(after.p, (after.log - nu.log).where(after.outside, 0.0))
    return dot(fit.mass, rows, (-2, -1))


def _met(fit: Fit, table: Measured) -> Measured:
    """0 in the rows without successes."""
    return table.where(~(fit.before.plain_W.sum(-1) > 0)[..., None], 0.0)


def _by_values(fit: Fit) -> Learner:
    """Q normalised, with a little of everything where it is 0."""
    Q = fit.before.Q.plain + array(1e-9)
    return Learner(fit.before.problem, Q / Q.sum(-1)[..., None])
