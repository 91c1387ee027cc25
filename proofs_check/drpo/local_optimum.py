r"""Theorem D's optimum in the model of one client's records, and what is guaranteed of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, kl, random_part
from proofs_check.drpo.records import Candidate, Records
from tabular_fedrl.algorithms.drpo_steps import enclosed_reverse_step, regularised_optimum
from tabular_fedrl.arithmetic import magnitude
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Optimum:
    r"""The regularised optimum in the model of some records: ``plus``, :math:`\pi^+` as computed; ``exact``,
    an enclosure of the exact one; its value F; any other law ``other`` on its support."""

    records: Records
    plus: Candidate
    exact: Law
    value: Measured
    other: Candidate

    def penalty(self, p: Law) -> Measured:
        r""":math:`\alpha KL(p\|b) + \beta KL(p\|\pi_k)`, ``(S,)``"""
        x = self.records
        return kl(p, x.behaviour.law) * x.alpha + kl(p, x.old.law) * x.beta

    def paid(self, p: Candidate) -> Measured:
        r""":math:`J(p,\hat M) - F(p)`"""
        return p.total(self.penalty(p.law))

    @cached_property
    def slope(self) -> Measured:
        r"""The gradient of what is maximised in every state, at the computed policy, ``(S, A)``; the exact
        optimum has the same for all actions: :math:`Q_F - \alpha\log(p/b) - \beta\log(p/\pi_k)`."""
        x, p = self.records, self.plus.law
        paid = self.penalty(p).reshape(-1, 1)
        critic = x.signal(x.model, self.plus.log, Measured(x.model.r) - paid) + paid
        pull = (p.log - x.behaviour.law.log) * x.alpha + (p.log - x.old.law.log) * x.beta
        return (critic - pull).where(~p.support, 0.0)

    @cached_property
    def largest(self) -> float:
        """What no reward and no penalty of a state exceeds."""
        x = self.records
        logs = max(magnitude(x.behaviour.law.log), magnitude(x.old.law.log))
        penalties = (self.penalty(p.law) for p in (self.plus, self.other))
        tilts = magnitude(x.alpha + x.beta) * logs
        return max([1.0, magnitude(x.truth.r), tilts, *map(magnitude, penalties)])

    @property
    def unit(self) -> Measured:
        return self.records.discount / self.largest

    def in_units(self, left: Measured, right: Measured) -> tuple[Measured, Measured]:
        return left * self.unit, right * self.unit

    @cached_property
    def slip(self) -> Any:
        r"""In floats, how much F of the computed policy may fall short of the optimum: the three-point
        identity at that policy, and :math:`KL \le \mathrm{dev}^2/2` for logarithms within dev."""
        x = self.records
        dev = magnitude((self.plus.law.log - self.exact.log).where(~self.exact.support, 0.0))
        return ((x.alpha + x.beta) * (dev * dev / 2) / x.discount).upper

    @cached_property
    def over_global(self) -> Comparison:
        return Comparison(self, self.records.old)

    @cached_property
    def over_behaviour(self) -> Comparison:
        return Comparison(self, self.records.behaviour)

    @property
    def blind(self) -> Measured:
        r""":math:`\frac{\bar V}{1-\gamma}(\hat d^+ + \hat d^b)(n = 0)`"""
        return _blind(self.records, self.plus) + _blind(self.records, self.records.behaviour)

    @cached_property
    def in_counts(self) -> Measured:
        """D2 in terms of counts, without what is not known of states without records."""
        return self.explicit(self.records.rarest)

    def explicit(self, least: Any) -> Measured:
        """The same with other numbers for the smallest counts."""
        x, b = self.records, self.records.behaviour
        seen = x.visited.astype(np.float64)
        c, A = x.radii.signal, float(x.truth.A)
        bonus = self.plus.total(seen / Measured(least)) * c * c / (x.alpha * 8.0)
        width = (Measured(A) / x.total).sqrt() * seen
        sampling = (self.plus.total(width) + b.total(width)) * c
        drawn = self.plus.total(kl(self.plus.law, x.old.law)) - b.total(kl(b.law, x.old.law))
        return (drawn * x.beta - bonus - sampling).rounded_by(self.slip)


@dataclass(frozen=True)
class Comparison:
    """The optimum and a policy that it is compared with."""

    optimum: Optimum
    other: Candidate

    @property
    def stated(self) -> bool:
        """Whether the records are on the event and the divergences finite."""
        x = self.optimum.records
        both = x.behaviour.law.support & x.old.law.support
        return x.within and not (self.other.law.support & ~both).any()

    @cached_property
    def guarantee(self) -> Measured:
        r"""D1 or D2: what is guaranteed of :math:`J(\pi^+) - J(p)`."""
        o, p = self.optimum, self.other
        return (o.paid(o.plus) - o.paid(p) - o.plus.cost - p.cost).rounded_by(o.slip)

    @cached_property
    def simple(self) -> Measured:
        """The same from values in the model, without the regularisers."""
        o, p = self.optimum, self.other
        return o.plus.J_model - o.plus.cost - p.J_model - p.cost

    @cached_property
    def improvement(self) -> Measured:
        return self.optimum.plus.J - self.other.J

    def in_units(self, left: Measured, right: Measured) -> tuple[Measured, Measured]:
        return self.optimum.in_units(left, right)


def _blind(x: Records, p: Candidate) -> Measured:
    return p.total(Measured(x.blind)) * x.largest


def optimum(x: Records, rng: np.random.Generator) -> Optimum:
    """The optimum, and a random law beside it."""
    alpha, beta = x.alpha.plain, x.beta.plain
    log, V, Q = regularised_optimum(x.model, x.log_b, x.log_pi, alpha, beta)
    support = x.behaviour.law.support & x.old.law.support
    log_p, p = enclosed_reverse_step(x.log_pi, x.log_b, Q, alpha, beta)
    exact = Law(log_p.where(~support, 0.0), p, support)
    value = (V * x.model.rho).sum(-1)
    return Optimum(x, Candidate(x, log), exact, value, Candidate(x, random_part(rng, support).plain))
