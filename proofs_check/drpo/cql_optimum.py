r"""Theorem G's optimum in the model of one client's records, and what is guaranteed of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.counts_cost import chi_squared
from proofs_check.drpo.laws import Law, kl, random_part
from proofs_check.drpo.optima import cql_optimum
from proofs_check.drpo.records import Candidate, Records
from tabular_fedrl.arithmetic import magnitude
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Conservative:
    r"""The maximiser of the objective with the CQL penalty, in the model of some records: ``plus``, as found
    in floats; the weight ``lam``; any other law ``other`` on the common support."""

    records: Records
    lam: Measured
    plus: Candidate
    other: Candidate

    def D(self, p: Law) -> Measured:
        r""":math:`\chi^2(p\|b)`, ``(S,)``"""
        return chi_squared(p, self.records.behaviour.law)

    def drawn(self, p: Law) -> Measured:
        r""":math:`KL(p\|\pi_k)`, ``(S,)``"""
        return kl(p, self.records.old.law)

    def penalty(self, p: Law) -> Measured:
        return self.D(p) * self.lam + self.drawn(p) * self.records.beta

    def F(self, p: Candidate) -> Measured:
        """The penalised objective in the model."""
        return p.J_model - p.total(self.penalty(p.law))

    # ---- the objective of one state ----------------------------------------------------------------------
    @cached_property
    def slope(self) -> Measured:
        r"""The gradient of the objective of every state at the maximiser, up to a constant, ``(S, A)``:
        :math:`Q_F - 2\lambda p/b - \beta\log(p/\pi_k)` with the penalised action values."""
        return self.critic - self.pull

    @cached_property
    def pull(self) -> Measured:
        x, p = self.records, self.plus.law
        ratio = p.p / x.behaviour.law.p.where(~p.support, 1.0)
        return (ratio * self.lam * 2.0 + (p.log - x.old.law.log) * x.beta).where(~p.support, 0.0)

    @cached_property
    def critic(self) -> Measured:
        x, paid = self.records, self.penalty(self.plus.law).reshape(-1, 1)
        return x.signal(x.model, self.plus.log, Measured(x.model.r) - paid) + paid

    def bregman(self, q: Law) -> Measured:
        r""":math:`\lambda\sum_a (q-p)^2/b + \beta KL(q\|p)` from the maximiser p, ``(S,)``"""
        x, p = self.records, self.plus.law
        off = q.p - p.p
        square = (off * off / x.behaviour.law.p.where(~p.support, 1.0)).sum(-1)
        return square * self.lam + kl(q, p) * x.beta

    @cached_property
    def unit(self) -> Any:
        """A unit in which no reward and nothing that a state adds to a penalty or a gradient exceeds 1, per
        step."""
        x = self.records
        laws = [p.law for p in (self.plus, self.other, x.behaviour, x.old) if self.finite(p.law)]
        terms = [x.truth.r, self.critic, self.pull, self.bregman(self.other.law), *map(self.penalty, laws)]
        return x.discount / max([1.0, *map(magnitude, terms)])

    def finite(self, p: Law) -> bool:
        """Whether both penalties of a law are."""
        both = self.records.behaviour.law.support & self.records.old.law.support
        return not (p.support & ~both).any()

    def in_units(self, left: Measured, right: Measured) -> tuple[Measured, Measured]:
        return left * self.unit, right * self.unit

    # ---- guarantees --------------------------------------------------------------------------------------
    def width(self, p: Candidate, strayed: bool = True) -> Measured:
        r""":math:`\frac{c_\delta}{1-\gamma} E_{\hat d^p}\sqrt{|A|(1+D)/n(s)}`, with D = 0 unless ``strayed``,
        over states with records; :math:`\frac{\bar V}{1-\gamma}\hat d^p(n = 0)` for the others."""
        x = self.records
        excess = self.D(p.law) + 1.0 if strayed else Measured(np.ones(x.truth.S))
        root = (excess * float(x.truth.A) / x.total).sqrt() * x.visited.astype(np.float64)
        return p.total(root) * x.radii.signal + p.total(Measured(x.blind)) * x.largest

    @cached_property
    def over_behaviour(self) -> Comparison:
        return Comparison(self, self.records.behaviour)

    @cached_property
    def over_global(self) -> Comparison:
        return Comparison(self, self.records.old)

    @property
    def simple(self) -> Measured:
        """Over the behaviour, with a weight large enough: no D is left."""
        x, b = self.records, self.records.behaviour
        drawn = self.plus.total(self.drawn(self.plus.law)) - b.total(self.drawn(b.law))
        return drawn * x.beta - self.width(self.plus, strayed=False) - self.width(b, strayed=False)

    @property
    def enough(self) -> bool:
        """Whether the weight is at least the threshold."""
        return bool(self.lam.lower >= threshold(self.records).upper)


@dataclass(frozen=True)
class Comparison:
    """The maximiser and a policy that it is compared with."""

    maximiser: Conservative
    other: Candidate

    @property
    def stated(self) -> bool:
        """Whether the records are on the event and the penalties finite."""
        return self.maximiser.records.within and self.maximiser.finite(self.other.law)

    @cached_property
    def paid(self) -> Measured:
        r"""What the maximiser pays more than the other; :math:`\chi^2(b\|b) = 0`,
        :math:`KL(\pi_k\|\pi_k) = 0`."""
        o = self.maximiser
        mine, theirs = (p.total(o.penalty(p.law)) for p in (o.plus, self.other))
        return mine - theirs

    @cached_property
    def width(self) -> Measured:
        return self.maximiser.width(self.maximiser.plus) + self.maximiser.width(self.other)

    @property
    def guarantee(self) -> Measured:
        r"""What is guaranteed of :math:`J(\pi^+) - J(p)`."""
        return self.paid - self.width

    @property
    def improvement(self) -> Measured:
        return self.maximiser.plus.J - self.other.J


def threshold(x: Records) -> Measured:
    r""":math:`\frac{c_\delta}2\sqrt{|A|/\min_s n(s)}`, over states with records"""
    least = float(x.total[x.visited].min())
    return x.radii.signal * (Measured(float(x.truth.A)) / least).sqrt() * 0.5


def conservative(x: Records, lam: float, rng: np.random.Generator) -> Conservative:
    """The maximiser, and a random law beside it."""
    model, beta = x.model.floats(), float(x.beta.value)
    b, pi = (p.law.p.value[None] for p in (x.behaviour, x.old))
    p = cql_optimum(model.P[None], model.r[None], model.gamma, b, pi, lam, beta)[0][0]
    with np.errstate(divide="ignore"):
        plus = Candidate(x, np.log(p))
    other = Candidate(x, random_part(rng, plus.law.support).plain)
    return Conservative(x, Measured(lam), plus, other)
