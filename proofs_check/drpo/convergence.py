"""Rounds with regularised evaluation, seen from the policy they converge to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law, kl
from proofs_check.drpo.objective import Objective, kernel, stationary, unrest
from proofs_check.drpo.path import Move, follow, noise
from proofs_check.drpo.step import Round
from tabular_fedrl.measured import Measured, dot


@dataclass(frozen=True)
class Target:
    r"""A policy p to compare with, its :math:`V_\alpha^p` ``(S,)``, and a law :math:`\nu` ``(S,)`` that is
    stationary for it, but for what :func:`unrest` says."""

    objective: Objective
    law: Law
    V: Measured

    @cached_property
    def kernel(self) -> Measured:
        return kernel(self.objective.cmdp, self.law)

    @cached_property
    def nu(self) -> Measured:
        return stationary(self.kernel)


@dataclass(frozen=True)
class Seen:
    """A round, seen from a policy."""

    target: Target
    move: Move

    @property
    def x(self) -> Round:
        return self.move.round

    def mean(self, f: Measured) -> Measured:
        r""":math:`E_\nu f`"""
        return dot(self.target.nu, f)

    @cached_property
    def gap(self) -> Measured:
        r""":math:`\Delta_k = E_\nu[V_\alpha^p - V_\alpha^{\pi_k}]`"""
        return self.mean(self.target.V - self.move.before.V[0])

    @cached_property
    def divergence(self) -> Measured:
        r""":math:`D_k = E_\nu KL(p\|\pi_k)`"""
        return self.mean(kl(self.target.law, self.move.pi))

    @cached_property
    def next_divergence(self) -> Measured:
        r""":math:`D_{k+1}`"""
        return self.mean(kl(self.target.law, self.move.next))

    @property
    def potential(self) -> Measured:
        r""":math:`\Phi_k = \Delta_k + (\alpha+\beta) D_k`"""
        return self.gap + self.divergence * self.x.tau

    @cached_property
    def next_potential(self) -> Measured:
        r""":math:`\Phi_{k+1}`"""
        return self.mean(self.target.V - self.move.after.V[0]) + self.next_divergence * self.x.tau

    @cached_property
    def slack(self) -> Measured:
        r""":math:`\epsilon + \frac{\gamma}{1-\gamma} \frac{\epsilon^2}{8\alpha+16\beta}` for what the critics
        err by, rounding included, and what :math:`\nu` lacks to be stationary."""
        x, eps = self.x, self.move.spread.max()
        unsettled = unrest(self.target.kernel, self.target.nu, self.target.V - self.move.before.V[0])
        propagated = eps * eps / (x.discount * (x.alpha * 8.0 + x.beta * 16.0))
        return eps + (propagated + unsettled) * x.cmdp.gamma

    @property
    def contracted(self) -> Measured:
        r""":math:`\gamma\Delta_k + \beta D_k`, with the slack."""
        return self.gap * self.x.cmdp.gamma + self.divergence * self.x.beta + self.slack

    def shrunk(self, rate: Measured) -> Measured:
        r""":math:`\lambda \Phi_k`, with the slack."""
        return rate * self.potential + self.slack


@dataclass(frozen=True)
class Convergence:
    """Rounds with exact critics, seen from the optimum and from some other policy, and rounds with critics
    that err, seen from the optimum."""

    exact: list[Seen]
    other: list[Seen]
    wrong: list[Seen]


def converging(rng: np.random.Generator, x: Round, rounds: int) -> Convergence:
    """The rounds from the policy of ``x``; half as many with critics that err."""
    objective = Objective(x)
    exact, best = follow(x, rounds), objective.optimum
    # A critic may err by as much as its values differ, or by next to nothing.
    size = 10.0 ** rng.uniform(-4, 0) * max(float(np.ptp(exact[0].critics.value)), 0.1)
    wrong = follow(x, (rounds + 1) // 2, noise(rng, x, size))
    somewhere = Law.normalised(Measured(2.0 * rng.standard_normal(x.old.p.shape)), x.old.support).plain
    held = best.log_policy if rng.random() < 0.3 else somewhere
    target = Target(objective, best.law, best.V)
    other = Target(objective, Law.of(held), objective.values(held).V[0])
    return Convergence(
        exact=[Seen(target, m) for m in exact],
        other=[Seen(other, m) for m in exact[: (rounds + 1) // 2]],
        wrong=[Seen(target, m) for m in wrong],
    )
