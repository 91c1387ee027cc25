r"""Lemmas 4 and 5: what a model made from finitely many records can be off by, and what counts cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, kl
from proofs_check.drpo.records import Candidate, Records, records
from proofs_check.drpo.step import FAMILIES, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import random_log_policy


class EmpiricalGap(Theorem):
    r"""A policy's value in the empirical model differs from the true one by what the records mislead it to.

    **Setting.** One client's records of a problem with rewards in [0, R], :math:`\bar V = R/(1-\gamma)`; in
    its empirical model :math:`\hat M` pairs that were never seen lead to an absorbing state without reward.
    For any policy

    .. math:: z_\pi = (\hat r - r) + \gamma (\hat P - P) V_M^\pi .

    **Statement** (*identities*, whatever the records)

    .. math:: J(\pi,\hat M) - J(\pi,M) = \frac1{1-\gamma} E_{\hat d^\pi,\pi}[z_\pi], \qquad
              Q_{\hat M}^\pi - Q_M^\pi = (I - \gamma\hat P^\pi)^{-1} z_\pi .

    On the event that all mean rewards and transition laws lie within their radii (see
    :mod:`proofs_check.drpo.records`; how often it fails is theorem ``drpo.event``),
    :math:`|z_\pi| \le \kappa = \min\{c_\delta n^{-1/2}, \bar V\}`, :math:`\kappa = \bar V` where n = 0, for
    all policies at once, those that were chosen after the data included. Hence

    .. math:: |J(\pi,\hat M) - J(\pi,M)| \le \Gamma(\pi) = \frac1{1-\gamma} E_{\hat d^\pi}
              \langle\pi,\kappa\rangle, \qquad
              |Q_{\hat M}^\pi - Q_M^\pi| \le (I - \gamma \hat P^\pi)^{-1} \kappa .

    **Proof.** :math:`\hat Q = \hat r + \gamma\hat P^\pi\hat Q`, :math:`Q = r + \gamma P^\pi Q`; subtract, and
    add and take away :math:`\gamma\hat P^\pi Q`. Average with :math:`\rho` and :math:`\pi`. On the event
    :math:`|z| \le R\sqrt{\log(4SA/\delta)/2n} + \gamma \frac12 \|\hat P - P\|_1\, \mathrm{span}\,V`; and both
    :math:`\hat r + \gamma\hat P V` and :math:`r + \gamma P V` lie in :math:`[0,\bar V]`.

    **Source.** Theory notes, DRPO section 3.6.
    """

    id = "drpo.empirical-gap"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 4"
    suite = tuple(Case(source) for source in FAMILIES)
    small = {"draws": 4}
    certified = (
        Case("textbook:two-arm", draws=4),
        Case("textbook:three-state", draws=4),
        Case("random-mdp:seed=1", draws=4),
    )

    def setup(self, problem: FederatedCMDP, draws: int = 32, seed: int = 0) -> list[Candidate]:
        """For every draw the global policy, the behaviour, and one that goes where no record is."""
        rng = np.random.default_rng(seed)
        out = []
        for x in records(problem, draws, seed):
            anywhere = random_log_policy(rng, x.truth.S, x.truth.A, 4.0)
            out += [x.old, x.behaviour, Candidate(x, anywhere)]
        return out

    @identity(r"(1-\gamma) [J(\pi,\hat M) - J(\pi,M)] = E_{\hat d^\pi,\pi}[z_\pi]")
    def values(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked(per_step(p, p.J_model - p.J, p.total(p.law.mean(p.z))) for p in x)

    @identity(r"(1-\gamma) [Q_{\hat M}^\pi - Q_M^\pi] = (1-\gamma) (I - \gamma\hat P^\pi)^{-1} z_\pi")
    def critics(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked(per_step(p, *_critics(p, p.z)) for p in x)

    @tight(r"|z_\pi| \le \kappa \text{ on the event}")
    def signal(self, x: list[Candidate]) -> tuple[Measured, Measured, Measured]:
        left, right = stacked((p.z.abs(), p.records.kappa) for p in on_event(x))
        return left, right, x[0].records.largest

    @tight(r"|J(\pi,\hat M) - J(\pi,M)| \le \Gamma(\pi) \text{ on the event}")
    def value_bound(self, x: list[Candidate]) -> tuple[Measured, Measured, Measured]:
        seen = on_event(x)
        left, right = stacked(((p.J_model - p.J).abs(), p.cost) for p in seen)
        return left, right, Measured.stack([p.records.largest for p in seen])

    @tight(r"|Q_{\hat M}^\pi - Q_M^\pi| \le (I - \gamma\hat P^\pi)^{-1} \kappa \text{ on the event}")
    def critic_bound(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        sides = (_critics(p, p.records.kappa) for p in on_event(x))
        return stacked((left.abs(), right) for left, right in sides)

    @control("the visitation is that of the model, not of the truth", Case(FAMILIES[1]), kind=Kind.IDENTITY)
    def true_visitation(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        turned = [_exchanged(p) for p in x]
        sides = ((p.J_model - p.J, q.total(p.law.mean(p.z))) for p, q in zip(x, turned, strict=True))
        return stacked(sides)

    @control(
        "with the visitation of the model go the true values, not the model's",
        Case(FAMILIES[1]),
        kind=Kind.IDENTITY,
    )
    def model_values(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked((p.J_model - p.J, p.total(p.law.mean(p.deviation(p.seen)))) for p in x)

    @control("pairs that were never seen are not free: kappa = 0 where n = 0", Case(FAMILIES[1]))
    def nothing_for_the_unseen(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        seen = on_event(x)
        costs = (p.total(p.law.mean(p.records.kappa * (p.records.n > 0).astype(np.float64))) for p in seen)
        return stacked(((p.J_model - p.J).abs(), cost) for p, cost in zip(seen, costs, strict=True))

    @control(
        "a quarter of c_delta: records on the border of the event lie outside",
        Case("textbook:three-state"),
    )
    def quarter(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked((p.z.abs(), p.records.roots * p.records.radii.signal * 0.25) for p in on_event(x))


def on_event(x: list[Candidate]) -> list[Candidate]:
    """Those whose records lie within all radii."""
    return [p for p in x if p.records.within]


def per_step(p: Candidate, left: Measured, right: Measured) -> tuple[Measured, Measured]:
    r"""Both sides times :math:`(1-\gamma)/\bar V`, or only :math:`1-\gamma` where :math:`\bar V < 1`: in the
    units in which z is at most 1."""
    unit = p.records.discount / p.records.largest.maximum(1.0)
    return left * unit, right * unit


def _critics(p: Candidate, f: Measured) -> tuple[Measured, Measured]:
    """What the model's critic is off by, and the model's action values of a signal: of the environment's
    states (in the additional one both are 0)."""
    return (p.seen.Q[0] - p.true.Q[0])[:-1], p.records.signal(p.records.model, p.log, f)[:-1]


def _exchanged(p: Candidate) -> Candidate:
    """The policy where truth and model have changed places."""
    x = p.records
    there = Records(x.model, x.truth, x.n, x.log_b, x.log_pi, x.alpha, x.beta, x.delta)
    return Candidate(there, p.log)


@dataclass(frozen=True)
class Counts:
    """Counts ``n (draws, S, A)``, the behaviour that goes with them, and policies on its support."""

    n: Any
    b: Law
    pi: Law

    @property
    def A(self) -> float:
        return float(self.n.shape[-1])

    @property
    def left(self) -> Measured:
        r""":math:`\langle\pi, n^{-1/2}\rangle`, ``(draws, S)``"""
        return self.pi.mean((Measured(1.0) / np.maximum(self.n, 1).astype(np.float64)).sqrt())

    @property
    def base(self) -> Measured:
        r""":math:`\sqrt{A/n(s)}`"""
        return (Measured(self.A) / self.n.sum(axis=-1).astype(np.float64)).sqrt()

    @property
    def chi_squared(self) -> Measured:
        r""":math:`D_{CQL} = \chi^2(\pi\|b)`"""
        return chi_squared(self.pi, self.b)

    def rarest(self, least: Any) -> Measured:
        r""":math:`\sqrt{KL(\pi\|b)/(2 n_{min})}`"""
        return (kl(self.pi, self.b).maximum(0.0) / (2.0 * least.astype(np.float64))).sqrt()


def chi_squared(p: Law, q: Law) -> Measured:
    r""":math:`\chi^2(p\|q) = \sum (p-q)^2/q` of a law on the support of q."""
    off = p.p - q.p
    return (off * off / q.p.where(~q.support, 1.0)).sum(-1)


class CountsCost(Theorem):
    r"""What a policy pays for the counts it meets is bounded by how far it strays from the data.

    **Setting.** Counts n(s,a) of a state with :math:`n(s) = \sum_a n(s,a) \ge 1`, the behaviour
    :math:`b(a) = n(s,a)/n(s)` as it is, without smoothing, and any policy with
    :math:`\mathrm{supp}\,\pi \subseteq \mathrm{supp}\,b`. Nothing here is random.

    **Statement** (*tight*, both). With :math:`D_{CQL} = \chi^2(\pi\|b)` and the smallest positive count
    :math:`n_{min}`,

    .. math:: \langle\pi, n^{-1/2}\rangle \le \sqrt{\frac{|A|}{n(s)}}\sqrt{1 + D_{CQL}}, \qquad
              \langle\pi, n^{-1/2}\rangle \le \sqrt{\frac{|A|}{n(s)}} + \sqrt{\frac{KL(\pi\|b)}{2 n_{min}}} .

    The first is attained by :math:`\pi \propto \sqrt b`, the second by :math:`\pi = b` uniform.

    **Proof.** :math:`n(s,a) = n(s) b(a)`. First: Cauchy-Schwarz on :math:`\sum_a \pi b^{-1/2} \cdot 1`.
    Second: :math:`\langle b, n^{-1/2}\rangle = \sum_a \sqrt{n(s,a)}/n(s) \le \sqrt{|A|/n(s)}`, and
    :math:`\langle\pi - b, n^{-1/2}\rangle \le TV(\pi,b)\, n_{min}^{-1/2}`; Pinsker.

    **Source.** Theory notes, DRPO section 3.6.
    """

    id = "drpo.counts-cost"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 5"
    suite = (*(Case(source) for source in FAMILIES[:6]), Case("textbook:heterogeneous-bandit", draws=300))
    certified = (Case("textbook:heterogeneous-bandit", draws=10), Case("random-mdp:seed=1", draws=6))

    @hypothesis("the behaviour is that of the counts, without smoothing")
    def unsmoothed(self, problem: FederatedCMDP, smoothing: float) -> bool:
        return smoothing == 0

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 60,
        policy: str = "random",
        level: bool = False,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> Counts:
        r"""Random counts from 0 to a million, every second draw with policies that are nearly deterministic.

        ``policy``: ``random``; ``root``, :math:`\propto \sqrt b`; ``same``, b itself. ``level``: all counts
        of a state are equal.
        """
        rng = np.random.default_rng(seed)
        shape = draws, problem.cmdp.S, problem.cmdp.A
        n = np.floor(10.0 ** rng.uniform(-1.0, 6.0, shape)).astype(np.int64)
        n = np.broadcast_to(n[..., :1] + 100_000, shape) if level else n
        n = n + (n.sum(axis=-1, keepdims=True) == 0)
        sharp = np.where(np.arange(draws) % 2, 30.0, 1.0)[:, None, None]
        flat = n.reshape(-1, shape[-1])
        anywhere = Law.normalised(Measured(np.zeros(flat.shape)), flat > 0)
        b = empirical_behaviour(flat, anywhere, smoothing)
        logits = {"random": Measured((sharp * rng.standard_normal(shape)).reshape(flat.shape)),
                  "root": b.log * 0.5, "same": b.log}[policy]  # fmt: skip
        return Counts(flat, b, Law.normalised(logits, flat > 0))

    @tight(
        r"\langle\pi, n^{-1/2}\rangle \le \sqrt{|A|/n(s)}\sqrt{1 + \chi^2(\pi\|b)}",
        attained=Case("textbook:heterogeneous-bandit", policy="root", level=True),
    )
    def cql_form(self, x: Counts) -> tuple[Measured, Measured]:
        return x.left, x.base * (x.chi_squared + 1.0).sqrt()

    @tight(
        r"\langle\pi, n^{-1/2}\rangle \le \sqrt{|A|/n(s)} + \sqrt{KL(\pi\|b)/(2 n_{min})}",
        attained=Case("textbook:heterogeneous-bandit", policy="same", level=True),
    )
    def kl_form(self, x: Counts) -> tuple[Measured, Measured]:
        return x.left, x.base + x.rarest(np.where(x.n > 0, x.n, x.n.max()).min(axis=-1))

    @control(
        "a smoothed behaviour hides how rare an action is in the data",
        Case("textbook:heterogeneous-bandit", smoothing=10.0),
    )
    def smoothed(self, x: Counts) -> tuple[Measured, Measured]:
        return self.cql_form.function(self, x)[:2]

    @control("the counts of the state in place of the smallest count", Case("textbook:heterogeneous-bandit"))
    def counts_of_the_state(self, x: Counts) -> tuple[Measured, Measured]:
        return x.left, x.base + x.rarest(x.n.sum(axis=-1))


def empirical_behaviour(n: Any, pi: Law, smoothing: float = 0.0) -> Law:
    """``n(s,a)/n(s)``, with ``smoothing`` added to every count; the global policy where there is none."""
    counts = Measured(n.astype(np.float64) + smoothing)
    visited = (counts.value.sum(axis=1) > 0)[:, None]
    held = np.where(visited, counts.value > 0, pi.support)
    total = (counts.sum(-1).reshape(-1, 1) + np.where(visited, 0.0, 1.0)) + np.zeros(n.shape)
    ratio = (counts / total).where(~held | ~visited, 1.0)
    log = ratio.log() + pi.log.where(np.broadcast_to(visited, n.shape), 0.0)
    p = ratio.where(~held | ~visited, 0.0) + pi.p.where(np.broadcast_to(visited, n.shape), 0.0)
    return Law(log.where(~held, 0.0), p, held)
