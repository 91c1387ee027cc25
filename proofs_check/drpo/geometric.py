r"""Theorem A': with geometric means the clients' steps are one centralised step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import (
    Law,
    change,
    jeffreys,
    kl,
    log_sum,
    pool,
    random_part,
    span,
    tempered,
    total_variation,
)
from proofs_check.drpo.step import FAMILIES, Support, Update, informed, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import uniform


class Centralised(Theorem):
    r"""The geometric mean of the clients' steps is the step of one client with averaged data and critics.

    **Algorithm.** As in Theorem A, but the server takes the geometric mean :math:`\pi_{k+1} \propto \prod_i
    \pi_i^{\omega_i}` (it averages log-policies); the weights may depend on the state. All clients start from
    the same :math:`\pi_k` and use the same :math:`\alpha \ge 0, \beta > 0`.

    **Statement.** With :math:`\bar Q = \sum_i \omega_i Q_i`, :math:`\bar b \propto \prod_i b_i^{\omega_i}`,

    .. math:: \pi_{k+1} = \arg\max_p\ \langle p, \bar Q\rangle - \alpha KL(p\|\bar b) - \beta KL(p\|\pi_k)
              =: \arg\max_p \bar f(p) ,

    so that Proposition 3, Theorem A and its floors hold with one client that has :math:`\bar e = \sum_i
    \omega_i e_i` and :math:`\bar\ell = \sum_i \omega_i \ell_i`: errors and differences are averaged before
    the nonlinearity. The arithmetic mean is not far,

    .. math:: KL\Big(\textstyle\sum_i \omega_i \pi_i \,\Big\|\, \pi_{k+1}\Big) \le \frac{\eta^2}{8} \sum_i
              \omega_i\,\mathrm{span}(U_i - \bar U)^2 .

    **Proof.** Multiply the closed forms of Lemma 1 with exponents :math:`\omega_i`. For the last, KL is
    convex, and part (c) of the tilt lemma applies to :math:`\pi_i \propto \pi_{k+1} e^{\eta(U_i - \bar U)}`.

    Gains at a state reach :math:`R/(1-\gamma)`: sides that hold gains are compared after multiplication with
    :math:`1-\gamma`.

    **Source.** Theory notes, DRPO section 3.4.
    """

    id = "drpo.geometric"
    mark = "ours"
    source = "theory notes, DRPO, Theorem A'"
    suite = (
        *(Case(source, statewise=True) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", seed=1),
        Case("random-mdp:nS=6,nA=3,seed=2", alpha=0.0, seed=1),
    )
    small = {"draws": 4, "statewise": True}
    certified = (
        Case("textbook:three-state", draws=4, statewise=True),
        Case("textbook:two-arm", draws=4, support="nested"),
    )

    @hypothesis("the support of the global policy within that of the data, so that the steps share theirs")
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        support: Support = "full",
        statewise: bool = False,
        draws: int = 32,
        seed: int = 0,
    ) -> list[Centre]:
        drawn = rounds(problem, draws, seed, alpha=alpha, support=support, statewise=statewise)
        return [Centre(x, x.geometric) for x in drawn]

    @identity(r"\log \pi_{k+1} = w \log \bar b + (1-w) \log \pi_k + \eta \bar Q - \log Z")
    def one_step(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((y.after.log, y.step.log) for y in x)

    @identity(r"\bar f(\pi_{k+1}) = \tau \log \sum_a \bar b^w \pi_k^{1-w} e^{\bar Q/\tau}")
    def value(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked(
            (y.objective(y.after), log_sum(y.logits, y.round.old.support) * y.round.tau) for y in x
        )

    @identity(r"\bar f(\pi_{k+1}) = \bar f(q) + \tau KL(q\|\pi_{k+1})")
    def three_point(self, x: list[Centre]) -> tuple[Measured, Measured]:
        rng = np.random.default_rng(0)
        others = [random_part(rng, y.round.old.support) for y in x]
        return stacked(
            (y.objective(y.after), y.objective(q) + kl(q, y.after) * y.round.tau)
            for y, q in zip(x, others, strict=True)
        )

    @identity(r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} \langle \pi_{k+1}, A^{\pi_k} \rangle")
    def exact(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((y.gain, y.expected(y.after.mean(y.round.advantage))) for y in x)

    @identity(
        r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} g"
        r"\text{ by (I1), (I2), (I3) with } \bar b, \bar e, \bar\ell"
    )
    def forms(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((y.gain, form) for y in x for form in (y.by_data, y.by_pull, y.by_anchor))

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1})) \le E_{d^{\pi_{k+1}}} \mathrm{span}(\alpha\bar\ell + \bar e)^2/"
        r"(16(\alpha+\beta))"
    )
    def first_floor(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((-y.gain, y.first_loss) for y in x)

    @chain("first_floor")
    def first_floor_chain(self, x: list[Centre]) -> Iterator[tuple[str, Measured]]:
        yield "left side", Measured.stack([-y.gain for y in x])
        yield "(I2)", Measured.stack([-y.by_pull for y in x])
        yield "Jeff >= 4 TV^2, Hölder", Measured.stack([y.at_most for y in x])
        yield "complete the square", Measured.stack([y.first_loss for y in x])

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1})) \le E_{d^{\pi_{k+1}}} \{\mathrm{span}(\bar e)^2/"
        r"(16\beta+8\alpha) + \alpha [KL(\pi_k\|\bar b) - KL(\pi_{k+1}\|\bar b)]\}"
    )
    def second_floor(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((-y.gain, y.second_loss) for y in x)

    @tight(
        r"\mathrm{span}(\alpha\bar\ell + \bar e)^2 \le \sum_i \omega_i \mathrm{span}(\alpha\ell_i + e_i)^2"
    )
    def averaged_before(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked(y.misfits for y in x)

    @tight(
        r"KL(\sum_i \omega_i\pi_i\|\pi_{k+1})"
        r" \le \tfrac{\eta^2}{8}\sum_i \omega_i\mathrm{span}(U_i - \bar U)^2"
    )
    def two_means(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((kl(y.round.arithmetic, y.after), y.spread()) for y in x)

    @chain("two_means")
    def two_means_chain(self, x: list[Centre]) -> Iterator[tuple[str, Measured]]:
        yield "left side", _all(kl(y.round.arithmetic, y.after) for y in x)
        yield "convexity of KL", _all(y.mean_kl for y in x)
        yield "the tilt lemma, part (c)", _all(y.spread() for y in x)

    @control("the arithmetic mean is not the centralised step", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def arithmetic(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((y.round.arithmetic.log, y.step.log) for y in x)

    @control(
        "the sign of alpha l flipped in the centralised (I2)", Case("random-mdp:seed=1"), kind=Kind.IDENTITY
    )
    def flipped_pull(self, x: list[Centre]) -> tuple[Measured, Measured]:
        flipped = [jeffreys(y.after, y.round.old) * y.round.tau - y.moved(y.e - y.pull) for y in x]
        return stacked((y.gain, y.expected(f)) for y, f in zip(x, flipped, strict=True))

    @control("the visitation is that of the new policy", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def old_visitation(self, x: list[Centre]) -> tuple[Measured, Measured]:
        gains = [y.after.mean(y.round.advantage) for y in x]
        old = [replace(y, after=y.round.old) for y in x]
        return stacked((y.gain, z.expected(g)) for y, z, g in zip(x, old, gains, strict=True))

    @control("the factor 1/(1-gamma) dropped", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def factor_dropped(self, x: list[Centre]) -> tuple[Measured, Measured]:
        return stacked((y.gain / y.round.discount, y.by_pull) for y in x)

    @control(
        "eta^2/8 cannot be eta^2/9 for the clients: two that pull a coin apart", Case("textbook:two-arm")
    )
    def ninth(self, x: list[Centre]) -> tuple[Measured, Measured]:
        fair = uniform(1, 2)
        y = informed(x[0].round.cmdp, fair, np.stack([fair, fair]), alpha=1.0, beta=1.0)
        apart = Measured([[[0.1, 0.0]], [[0.0, 0.1]]])
        coin = replace(y, Q=apart)
        centre = Centre(coin, coin.geometric)
        return centre.mean_kl, centre.spread(constant=9.0)


@dataclass(frozen=True)
class Centre(Update):
    r"""An update by geometric means, and the single client that would have made it; gains are averaged over
    :math:`d^{\pi_{k+1}}` and multiplied with :math:`1-\gamma`."""

    @cached_property
    def b(self) -> Law:
        r""":math:`\bar b`, ``(S, A)``"""
        return pool(self.round.behaviour, self.round.omega)

    @cached_property
    def Q(self) -> Measured:
        r""":math:`\bar Q`, ``(S, A)``"""
        return self.round.over_clients(self.round.Q)

    @cached_property
    def e(self) -> Measured:
        r""":math:`\bar e`, ``(S, A)``"""
        return self.round.over_clients(self.round.errors)

    @cached_property
    def pull(self) -> Measured:
        r""":math:`\alpha \bar\ell`, ``(S, A)``"""
        return self.round.over_clients(self.round.ell) * self.round.alpha

    @cached_property
    def logits(self) -> Measured:
        r""":math:`w \log \bar b + (1-w) \log \pi_k + \eta \bar Q`, ``(S, A)``"""
        x = self.round
        return self.b.log * x.w + x.old.log * (Measured(1.0) - x.w) + self.Q * x.eta

    @cached_property
    def step(self) -> Law:
        """The step of the single client."""
        return Law.normalised(self.logits, self.b.support & self.round.old.support)

    def objective(self, p: Law) -> Measured:
        r""":math:`\bar f(p)`, ``(S,)``"""
        x = self.round
        return p.mean(self.Q) - kl(p, self.b) * x.alpha - kl(p, x.old) * x.beta

    def moved(self, f: Measured) -> Measured:
        r""":math:`\langle \pi_{k+1} - \pi_k, f\rangle`, ``(S,)``"""
        return change(self.after, self.round.old, f)

    @cached_property
    def jeff(self) -> Measured:
        return jeffreys(self.after, self.round.old)

    @cached_property
    def by_data(self) -> Measured:
        """(I1)"""
        x, p = self.round, self.after
        away = self.moved((p.log - self.b.log).where(~p.support, 0.0))
        return self.expected(self.jeff * x.beta + away * x.alpha - self.moved(self.e))

    @cached_property
    def by_pull(self) -> Measured:
        """(I2)"""
        return self.expected(self.jeff * self.round.tau - self.moved(self.pull + self.e))

    @cached_property
    def by_anchor(self) -> Measured:
        """(I3)"""
        x = self.round
        m = tempered(self.b, x.old, x.w)
        rise = jeffreys(self.after, m) * x.tau + change(m, x.old, self.Q)
        return self.expected(rise - self.moved(self.e))

    @cached_property
    def at_most(self) -> Measured:
        T = total_variation(self.after, self.round.old)
        sigma = span(self.pull + self.e, self.round.old.support)
        return self.expected(sigma * T - T * T * self.round.tau * 4.0)

    @cached_property
    def first_loss(self) -> Measured:
        return self.expected(self.misfits[0] / (self.round.tau * 16.0))

    @cached_property
    def second_loss(self) -> Measured:
        x = self.round
        damping = x.beta * 16.0 + x.alpha * 8.0
        approach = kl(x.old, self.b) - kl(self.after, self.b)
        return self.expected(span(self.e, x.old.support) ** 2 / damping + approach * x.alpha)

    @cached_property
    def misfits(self) -> tuple[Measured, Measured]:
        r""":math:`\mathrm{span}(\alpha\bar\ell + \bar e)^2` and the clients' mean of the same, ``(S,)``."""
        x = self.round
        own = span(x.ell * x.alpha + x.errors, x.old.support & np.ones_like(x.behaviour.support))
        return span(self.pull + self.e, x.old.support) ** 2, x.over_clients(own**2)

    @property
    def mean_kl(self) -> Measured:
        r""":math:`\sum_i \omega_i KL(\pi_i\|\pi_{k+1})`, ``(S,)``"""
        return self.round.over_clients(kl(self.round.clients, self.after))

    def spread(self, constant: float = 8.0) -> Measured:
        r""":math:`\frac{\eta^2}{8} \sum_i \omega_i\,\mathrm{span}(U_i - \bar U)^2`, ``(S,)``"""
        x = self.round
        apart = span(x.U - x.over_clients(x.U), x.old.support & np.ones_like(x.behaviour.support))
        return x.over_clients(apart**2) * x.eta * x.eta / constant


def _all(parts: Iterator[Measured]) -> Measured:
    return Measured.concatenate(list(parts))
