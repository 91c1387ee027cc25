r"""Lemma 2: what two regularisers cost at least, and the two tiers of the distribution shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law, Mask, kl, log_sum, mixture, pool, random_part, span, tempered
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy


@dataclass(frozen=True)
class Pull:
    r"""The two regularisers of a round, and laws p ``(N, S, A)`` on the actions that all policies share."""

    round: Round
    p: Law

    @cached_property
    def anchors(self) -> Law:
        r""":math:`m_i \propto b_i^w \pi_k^{1-w}`, ``(N, S, A)``"""
        return tempered(self.round.behaviour, self.round.old, self.round.w)

    @cached_property
    def pooled(self) -> Law:
        r""":math:`\bar b \propto \prod_i b_i^{\omega_i}`, ``(S, A)``"""
        return pool(self.round.behaviour, self.round.omega)

    @cached_property
    def H_b(self) -> Measured:
        r""":math:`H_b = -\log \sum_a \prod_i b_i^{\omega_i}`, ``(S,)``"""
        logs = self.round.over_clients(self.round.behaviour.log)
        return -log_sum(logs, self.round.behaviour.support.all(axis=0))

    def cost(self, p: Law) -> Measured:
        r""":math:`\alpha KL(p\|b_i) + \beta KL(p\|\pi_k)`, ``(N, S)``"""
        x = self.round
        return kl(p, x.behaviour) * x.alpha + kl(p, x.old) * x.beta

    @property
    def mean_cost(self) -> Measured:
        r""":math:`\sum_i \omega_i [\alpha KL(p\|b_i) + \beta KL(p\|\pi_k)]` of the first p, ``(S,)``"""
        return self.round.over_clients(self.cost(self.p[0]))

    @cached_property
    def tiers(self) -> Measured:
        r""":math:`\alpha H_b + \beta D_w(\bar b\|\pi_k)`, ``(S,)``"""
        x = self.round
        return self.H_b * x.alpha + renyi(self.pooled, x.old, x.w) * x.beta


class Anchor(Theorem):
    r"""Pulling towards two policies is pulling towards one between them, and a cost no policy avoids.

    **Setting.** :math:`\alpha, \beta > 0`, :math:`\tau = \alpha + \beta`, :math:`w = \alpha/\tau`; policies b
    and :math:`\pi` with an action in common, the anchor :math:`m \propto b^w \pi^{1-w}` and the Rényi
    divergence :math:`D_w(b\|\pi) = \frac{1}{w-1} \log \sum_a b^w \pi^{1-w}`. Over clients that share an
    action with :math:`\pi_k`: :math:`\bar b \propto \prod_i b_i^{\omega_i}` and :math:`H_b = -\log \sum_a
    \prod_i b_i^{\omega_i}`; the weights may depend on the state.

    **Statement.** State by state, for every law p,

    .. math:: \alpha KL(p\|b) + \beta KL(p\|\pi) &= (\alpha+\beta) KL(p\|m) + \beta D_w(b\|\pi), \\
              \textstyle\sum_i \omega_i KL(p\|b_i) &= KL(p\|\bar b) + H_b, \quad H_b \ge 0,

    so that a single client pays at least :math:`\beta D_w(b\|\pi)`, at :math:`p = m`, and all together

    .. math:: \min_p \textstyle\sum_i \omega_i [\alpha KL(p\|b_i) + \beta KL(p\|\pi_k)] =
              \underbrace{\alpha H_b}_{\text{between the clients}} +
              \underbrace{\beta D_w(\bar b\|\pi_k)}_{\text{from the data to the server}} ;

    moreover :math:`KL(m\|\pi) \le \frac{\alpha}{\beta} KL(\pi\|b)`. At the ends, with :math:`h` the span of
    :math:`\log(b/\pi)`,

    .. math:: KL(b\|\pi) - \tfrac{(1-w) h^2}{8} \le D_w(b\|\pi) \le KL(b\|\pi), \qquad
              KL(\pi\|b) - \tfrac{w h^2}{8} \le \tfrac{1-w}{w} D_w(b\|\pi) \le KL(\pi\|b) .

    **Proof.** Expand :math:`\tau \sum_a p\,[\log p - \log m]`; minus :math:`\tau` times the log-normaliser of
    m is :math:`\tau (1-w) D_w = \beta D_w`. With :math:`p = \pi`, :math:`\beta D_w \le \alpha KL(\pi\|b)`;
    with :math:`p = m`, :math:`\beta KL(m\|\pi) \le \beta D_w`. Over clients expand, and
    :math:`\sum_a \prod_i b_i^{\omega_i} \le 1` by Hölder's inequality. The ends: :math:`(w-1) D_w` is
    :math:`\log E_b e^{-(1-w)\ell}` and :math:`\log E_\pi e^{w\ell}`, :math:`\ell = \log(b/\pi)`; Jensen's
    inequality and Hoeffding's lemma.

    **Source.** Theory notes, DRPO section 3.1; the rates at the ends are added here.
    """

    id = "drpo.anchor"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 2"
    suite = (
        *(Case(source, statewise=True) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", seed=1),
        Case("random-mdp:nS=6,nA=3,seed=2", support="crossing", seed=1),
    )
    small = {"draws": 4, "statewise": True}
    certified = (Case("textbook:three-state", draws=4, statewise=True), Case("textbook:two-arm", draws=4))

    @hypothesis("the support of the global policy within that of the data", only=["drift", "far_end"])
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    @hypothesis("a common support", only=["near_end"])
    def common(self, problem: FederatedCMDP, support: Support) -> bool:
        return support == "full"

    def setup(
        self,
        problem: FederatedCMDP,
        support: Support = "full",
        statewise: bool = False,
        clients: int = 3,
        draws: int = 32,
        seed: int = 0,
    ) -> list[Pull]:
        rng = np.random.default_rng(seed)
        drawn = rounds(problem, draws, seed, clients=clients, support=support, statewise=statewise)
        return [Pull(x, random_part(rng, _shared(x))) for x in drawn]

    @identity(r"\alpha KL(p\|b) + \beta KL(p\|\pi) = (\alpha+\beta) KL(p\|m) + \beta D_w(b\|\pi)")
    def anchored(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((k.cost(k.p), _anchored(k, k.round.w)) for k in x)

    @tight(r"\beta D_w(b\|\pi) \le \alpha KL(p\|b) + \beta KL(p\|\pi)")
    def least(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((_unavoidable(k), k.cost(k.p)) for k in x)

    @identity(r"\beta D_w(b\|\pi) = \alpha KL(m\|b) + \beta KL(m\|\pi)")
    def at_the_anchor(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((_unavoidable(k), k.cost(k.anchors)) for k in x)

    @tight(r"\beta KL(m\|\pi) \le \alpha KL(\pi\|b)")
    def drift(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked(_drift(k, k.round.alpha, k.round.beta) for k in x)

    @identity(r"\sum_i \omega_i KL(p\|b_i) = KL(p\|\bar b) + H_b")
    def pooling(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((_to_data(k), kl(k.p[0], k.pooled) + k.H_b) for k in x)

    @tight(r"0 \le H_b", attained=Case("textbook:two-arm", draws=2, clients=1))
    def heterogeneity(self, x: list[Pull]) -> tuple[float, Measured]:
        return 0.0, Measured.concatenate([k.H_b for k in x])

    @tight(
        r"\alpha H_b + \beta D_w(\bar b\|\pi_k) \le \sum_i \omega_i [\alpha KL(p\|b_i) + \beta KL(p\|\pi_k)]"
    )
    def two_tiers(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((k.tiers, k.mean_cost) for k in x)

    @identity(
        r"\alpha H_b + \beta D_w(\bar b\|\pi_k) = \sum_i \omega_i [\alpha KL(p\|b_i) + \beta KL(p\|\pi_k)]"
        r"\text{ at } p \propto \bar b^w \pi_k^{1-w}"
    )
    def two_tiers_reached(self, x: list[Pull]) -> tuple[Measured, Measured]:
        best = [tempered(k.pooled, k.round.old, k.round.w) for k in x]
        return stacked((k.tiers, k.round.over_clients(k.cost(p))) for k, p in zip(x, best, strict=True))

    @tight(r"KL(b\|\pi) - (1-w) h^2/8 \le D_w(b\|\pi) \le KL(b\|\pi)")
    def near_end(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked(_near_end(k.round.behaviour, k.round.old, k.round.w) for k in x)

    @tight(r"KL(\pi\|b) - w h^2/8 \le \tfrac{1-w}{w} D_w(b\|\pi) \le KL(\pi\|b)")
    def far_end(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked(_far_end(k.round.behaviour, k.round.old, k.round.w) for k in x)

    @control(
        "the order of the divergence and of the anchor: 1 - w in place of w",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def other_order(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((k.cost(k.p), _anchored(k, Measured(1.0) - k.round.w)) for k in x)

    @control(
        "one tier alone: the divergence from the pooled data, without H_b",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def one_tier(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked((_to_data(k), kl(k.p[0], k.pooled)) for k in x)

    @control(
        "the data are pooled by the geometric mean, not by the arithmetic one",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def arithmetic_pool(self, x: list[Pull]) -> tuple[Measured, Measured]:
        pools = [mixture(k.round.behaviour, k.round.omega) for k in x]
        return stacked((_to_data(k), kl(k.p[0], b) + k.H_b) for k, b in zip(x, pools, strict=True))

    @control("the anchor's drift is alpha/beta KL(pi||b) and not beta/alpha", Case("random-mdp:seed=1"))
    def drift_turned(self, x: list[Pull]) -> tuple[Measured, Measured]:
        return stacked(_drift(k, k.round.beta, k.round.alpha) for k in x)

    @control("h^2/8 cannot be h^2/9: a fair coin, data next to it", Case("textbook:two-arm"))
    def ninth(self, x: list[Pull]) -> tuple[Measured, Measured]:
        fair, near = (Law.of(log_policy([law], 1, 2)) for law in ([0.5, 0.5], [0.55, 0.45]))
        return _far_end(near, fair, Measured(0.1), constant=9.0)


def renyi(b: Law, pi: Law, w: Measured) -> Measured:
    r""":math:`D_w(b\|\pi) = \frac{1}{w-1} \log \sum_a b^w \pi^{1-w}`"""
    left = Measured(1.0) - w
    return -log_sum(b.log * w + pi.log * left, b.support & pi.support) / left


def _shared(x: Round) -> Mask:
    """The actions that all policies of a round hold, once for every client."""
    held = x.behaviour.support.all(axis=0) & x.old.support
    return held & np.ones_like(x.behaviour.support)


def _anchored(k: Pull, w: Measured) -> Measured:
    x = k.round
    anchor = tempered(x.behaviour, x.old, w)
    return kl(k.p, anchor) * x.tau + renyi(x.behaviour, x.old, w) * x.beta


def _unavoidable(k: Pull) -> Measured:
    x = k.round
    return renyi(x.behaviour, x.old, x.w) * x.beta


def _drift(k: Pull, alpha: Measured, beta: Measured) -> tuple[Measured, Measured]:
    x = k.round
    return kl(k.anchors, x.old) * beta, kl(x.old, x.behaviour) * alpha


def _to_data(k: Pull) -> Measured:
    return k.round.over_clients(kl(k.p[0], k.round.behaviour))


def _between(low: Measured, middle: Measured, high: Measured) -> tuple[Measured, Measured]:
    return Measured.stack([low, middle]), Measured.stack([middle, high])


def _near_end(b: Law, pi: Law, w: Measured) -> tuple[Measured, Measured]:
    ell, left, limit = b.log - pi.log, Measured(1.0) - w, kl(b, pi)
    middle = -_cumulant(b, ell * -left) / left
    return _between(limit - left * span(ell, b.support) ** 2 / 8.0, middle, limit)


def _far_end(b: Law, pi: Law, w: Measured, constant: float = 8.0) -> tuple[Measured, Measured]:
    ell, limit = b.log - pi.log, kl(pi, b)
    middle = -_cumulant(pi, ell * w) / w
    return _between(limit - w * span(ell, pi.support & b.support) ** 2 / constant, middle, limit)


def _cumulant(p: Law, f: Measured) -> Measured:
    """``log E_p e^f``, to full accuracy where f hardly varies."""
    # Any shift is right: one near the mean leaves log(1 + something that is not negative).
    shift = p.mean(f).value
    return p.mean((f - shift[..., None]).expm1().where(~p.support, 0.0)).log1p() + shift
