r"""Lemma 5: what counts cost a policy, and how far it strays from the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from proofs_check.drpo.laws import Law, kl
from proofs_check.drpo.step import FAMILIES
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


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

    The first is attained by :math:`\pi \propto \sqrt b` where every action was seen, the second by
    :math:`\pi = b` uniform.

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
        policy: Literal["random", "root", "same"] = "random",
        level: bool = False,
        smoothing: float = 0.0,
        seed: int = 0,
    ) -> Counts:
        r"""Random counts from 0 to a million, every second draw with policies that are nearly deterministic.

        ``policy``: ``random``; ``root``, :math:`\propto \sqrt b`, where every action was seen; ``same``, b
        itself. ``level``: all counts of a state are equal.
        """
        rng = np.random.default_rng(seed)
        shape = draws, problem.cmdp.S, problem.cmdp.A
        n = np.floor(10.0 ** rng.uniform(-1.0, 6.0, shape)).astype(np.int64)
        n = np.broadcast_to(n[..., :1] + 100_000, shape) if level else n
        n = n + ((policy == "root") | (n.sum(axis=-1, keepdims=True) == 0))
        sharp = np.where(np.arange(draws) % 2, 30.0, 1.0)[:, None, None]
        flat = n.reshape(-1, shape[-1])
        anywhere = Law.normalised(Measured(np.zeros(flat.shape)), flat > 0)
        b = empirical_behaviour(flat, anywhere, smoothing)
        logits = {"random": Measured((sharp * rng.standard_normal(shape)).reshape(flat.shape)),
                  "root": b.log * 0.5, "same": b.log}[policy]  # fmt: skip
        return Counts(flat, b, Law.normalised(logits, flat > 0))

    @tight(
        r"\langle\pi, n^{-1/2}\rangle \le \sqrt{|A|/n(s)}\sqrt{1 + \chi^2(\pi\|b)}",
        attained=Case("textbook:heterogeneous-bandit", policy="root"),
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
