"""Steps regularised by forward divergences, enclosed, and what they gain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law, Mask, mixture
from proofs_check.drpo.step import Round
from tabular_fedrl.algorithms.drpo_steps import entropy_forward_step, forward_step, reverse_step
from tabular_fedrl.arithmetic import array, exp, magnitude
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import log_policy

RATIOS = np.array([0.1, 0.9, 1.0, 1.1, 3.0, 100.0])
r"""The overestimates at which CE4 is looked at, in units of :math:`\alpha + \beta`."""


@dataclass(frozen=True)
class Forward:
    """F-steps of all clients of a round; ``rival (N, S, A)``: some law with all actions; ``tau_H``: an
    entropy weight."""

    round: Round
    rival: Law
    tau_H: float

    @cached_property
    def c(self) -> Measured:
        r""":math:`c = \alpha b_i + \beta\pi_k`, ``(N, S, A)``"""
        x = self.round
        return x.behaviour.p * x.alpha + x.old.p * x.beta

    @cached_property
    def held(self) -> Mask:
        """Where c > 0."""
        x = self.round
        b, pi = x.behaviour.support, x.old.support & np.ones_like(x.behaviour.support)
        return (b & _counts(x.alpha)) | (pi & _counts(x.beta))

    @cached_property
    def step(self) -> tuple[Measured, Measured]:
        r"""The probabilities p ``(N, S, A)`` and the multiplier :math:`\nu` ``(N, S, 1)``."""
        x = self.round
        p, nu = forward_step(x.log_pi, x.log_b, x.Q, x.alpha.plain, x.beta.plain)
        return Measured.of(p), Measured.of(nu).reshape(*nu.shape, 1)

    @cached_property
    def soft_step(self) -> tuple[Measured, Measured]:
        """The same with the entropy bonus."""
        x = self.round
        p, nu = entropy_forward_step(x.log_pi, x.log_b, x.Q, x.alpha.plain, x.beta.plain, self.tau_H)
        return Measured.of(p), Measured.of(nu).reshape(*nu.shape, 1)

    @cached_property
    def law(self) -> Law:
        """p, with its support: where c > 0 and where it leaks."""
        p = self.step[0]
        support = self.held | (p.value > 0)
        return Law(p.where(~support, 1.0).log(), p, support)

    @cached_property
    def size(self) -> float:
        """Of the critics, and at least 1: a unit for statements about values."""
        return max(1.0, magnitude(self.round.Q))

    def objective(self, p: Measured, tau_H: float = 0.0) -> Measured:
        r""":math:`\langle p,Q\rangle + \langle c,\log p\rangle + \tau_H H(p)`, ``(N, S)``."""
        log_p = p.where(p.value == 0, 1.0).log()
        kept = (self.c * log_p).where(~self.held, 0.0).sum(-1)
        return dot(p, self.round.Q) + kept - dot(p, log_p) * tau_H

    @cached_property
    def gain(self) -> Measured:
        r""":math:`g_i = \langle p, A^{\pi_k}\rangle`, ``(N, S)``, in the true problem."""
        return dot(self.step[0], self.round.advantage)

    def over(self, weights: Measured) -> Measured:
        r""":math:`\sum_a \pi_k\,w/p`, ``(N, S)``."""
        x, p = self.round, self.step[0]
        terms = x.old.p * weights / p.where(~self.law.support, 1.0)
        return terms.where(~(x.old.support & self.law.support), 0.0).sum(-1)

    @cached_property
    def misled(self) -> Measured:
        r""":math:`\langle p - \pi_k, e_i\rangle`, ``(N, S)``"""
        return dot(self.step[0] - self.round.old.p, self.round.errors)


def _counts(weight: Measured) -> bool:
    """Whether a weight is not exactly 0."""
    return bool(weight.value != 0 or weight.error > 0)


def with_rival(rng: np.random.Generator, x: Round) -> Forward:
    """The F-steps of a round, some rival and some entropy weight."""
    shape = x.behaviour.p.shape
    rival = Law.normalised(Measured(2.0 * rng.standard_normal(shape)), np.ones(shape, dtype=bool))
    # In units of the critic's span a choice like any other: midpoints will do.
    return Forward(x, rival, float(10.0 ** rng.uniform(-1, 1) * max(np.ptp(x.Q.value), 0.1)))


def to_the_server(f: Forward) -> Forward:
    """The step without the data, with a critic that is exact up to rounding."""
    x = f.round
    exact = Measured((x.q + np.zeros(f.c.shape)).plain)
    return replace(f, round=replace(x, alpha=Measured(0.0), Q=exact))


def from_server(f: Forward) -> Measured:
    r""":math:`\beta\chi^2(\pi_k\|p)`, ``(N, S)``"""
    return (f.over(f.round.old.p) - 1.0) * f.round.beta


def from_data(f: Forward) -> Measured:
    r""":math:`\alpha(\sum_a \pi_k b/p - 1)`, ``(N, S)``"""
    return (f.over(f.round.behaviour.p) - 1.0) * f.round.alpha


def improvement(f: Forward) -> tuple[Measured, Measured]:
    """What the arithmetic mean gains, from evaluations and from the clients' gains."""
    x, mean = f.round, mixture(f.law, f.round.omega)
    gains = x.over_clients(from_server(f) + from_data(f) - f.misled)
    return x.improvement(mean), x.expected(mean, gains) / x.discount


def leak(alpha: Measured, beta: Measured, threshold: Measured) -> tuple[Measured, Measured]:
    r"""The mass that the F-step of CE4 puts outside the data, and what :math:`1 - \mathrm{threshold}/q`
    says."""
    q = (alpha + beta).centre * RATIOS
    critics = q.reshape(-1, 1) * np.array([0.0, 1.0])
    only = log_policy([[1.0, 0.0]] * len(RATIOS), len(RATIOS), 2)
    p, _ = forward_step(only, only, critics, alpha.plain, beta.plain)
    return Measured.of(p)[:, 1], (1.0 - threshold / q).positive()


def reverse_leak(x: Round) -> tuple[Measured, Measured]:
    """The mass that the R-step of CE4 puts outside the data, and 0."""
    only = log_policy([[1.0, 0.0]], 1, 2)
    leaks = [exp(reverse_step(only, only, array([[0.0, q]]), x.alpha.plain, x.beta.plain)) for q in RATIOS]
    return Measured.stack([Measured.of(p)[0, 1] for p in leaks]), Measured(np.zeros(len(RATIOS)))
