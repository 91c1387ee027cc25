r"""Theorem A: what a round of DRPO improves, exactly, and what it can lose at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from proofs_check.drpo.gain import away_from_data, gain_1, gain_2, gain_3
from proofs_check.drpo.laws import change, span, total_variation
from proofs_check.drpo.step import FAMILIES, Round, Support, Update, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


class RoundImprovement(Theorem):
    r"""A round of DRPO improves by the clients' exact gains, averaged where the new policy goes.

    **Algorithm.** The server holds :math:`\pi_k`. Client i, with data :math:`b_i` and a critic :math:`Q_i =
    Q^{\pi_k} + e_i`, takes the step :math:`\pi_i \propto b_i^w \pi_k^{1-w} e^{Q_i/\tau}` of Lemma 1
    (:math:`\tau = \alpha+\beta`, :math:`w = \alpha/\tau`; :math:`\alpha \ge 0`, and :math:`\beta > 0` unless
    the supports are equal: without the server's weight the step leaves that of :math:`\pi_k`). The server
    takes the arithmetic mean :math:`\pi_{k+1} = \sum_i \omega_i \pi_i`, with weights that may depend on the
    state.

    **Statement.** Where the data cover the global policy,

    .. math:: J(\pi_{k+1}) - J(\pi_k) = \frac{1}{1-\gamma}\, E_{s \sim d^{\pi_{k+1}}} \sum_i \omega_i(s)\,
              g_i(s), \qquad g_i = (\alpha+\beta)\,\mathrm{Jeff}(\pi_i, \pi_k) - \langle \pi_i - \pi_k, \alpha
              \ell_i + e_i \rangle,

    and with the other forms of :math:`g_i` in Proposition 3: the round strictly improves if and only if the
    right side is positive. With :math:`T_i = \mathrm{TV}(\pi_i, \pi_k)` and :math:`\sigma_i` the span of
    :math:`\alpha \ell_i + e_i` over the actions of :math:`\pi_k`:

    (A.1) if :math:`\sum_i \omega_i [4(\alpha+\beta) T_i^2 - \sigma_i T_i] > 0` at all states, the round
    strictly improves; in any case

    .. math:: (1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) \ge E_{d^{\pi_{k+1}}} \sum_i \omega_i [4(\alpha+\beta)
              T_i^2 - \sigma_i T_i] ;

    (A.2) the loss :math:`(1-\gamma)(J(\pi_k) - J(\pi_{k+1}))` is at most each of

    .. math:: E_{d^{\pi_{k+1}}} \sum_i \omega_i \frac{\sigma_i^2}{16(\alpha+\beta)}, \qquad
              E_{d^{\pi_{k+1}}} \sum_i \omega_i \Big\{ \frac{\mathrm{span}(e_i)^2}{16\beta + 8\alpha} + \alpha
              [KL(\pi_k\|b_i) - KL(\pi_i\|b_i)] \Big\} .

    The critic's error costs its square, damped by both weights and twice as strongly by the one towards the
    server; the pull to the data costs :math:`\alpha` times the approach to them. Neither 16 nor 8 can be
    improved: two arms reach both floors as the step becomes small.

    **Proof.** The performance difference lemma, and :math:`\langle \sum_i \omega_i \pi_i, A^{\pi_k} \rangle
    = \sum_i \omega_i g_i`. For A.1, :math:`|\langle p - q, f\rangle| \le \mathrm{TV}\,\mathrm{span} f` and
    :math:`\mathrm{Jeff} \ge 4\,\mathrm{TV}^2` (Pinsker, twice). For A.2, :math:`4\tau T^2 - \sigma T \ge
    -\sigma^2/(16\tau)`; for the second floor, from (I1), :math:`\beta\,\mathrm{Jeff} + \alpha
    KL(\pi_k\|\pi_i) \ge (4\beta + 2\alpha) T_i^2`.

    Gains at a state reach :math:`R/(1-\gamma)`: sides are compared after multiplication with
    :math:`1-\gamma`.

    **Source.** Theory notes, DRPO section 3.3.
    """

    id = "drpo.theorem-a"
    mark = "ours"
    source = "theory notes, DRPO, Theorem A"
    suite = (
        *(Case(source, statewise=True, draws=20) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", seed=1),
        Case("random-mdp:seed=1", alpha=0.0, seed=2),
        # Enough signal against pull and error for A.1 to apply to every second round and more.
        *(Case(source, alpha=0.01, noise=0.01, draws=100) for source in (*FAMILIES[:3], *FAMILIES[-3:])),
    )
    small = {"draws": 4, "statewise": True}
    certified = (
        Case("textbook:three-state", draws=4, statewise=True),
        Case("textbook:two-arm", draws=4, alpha=0.01, noise=0.01),
    )

    @hypothesis("the support of the global policy within that of the data")
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        noise: float = 0.3,
        support: Support = "full",
        statewise: bool = False,
        draws: int = 32,
        seed: int = 0,
    ) -> list[Outcome]:
        drawn = rounds(problem, draws, seed, alpha=alpha, noise=noise, support=support, statewise=statewise)
        return [Outcome(x, x.arithmetic) for x in drawn]

    @identity(r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} \sum_i \omega_i g_i")
    def exact(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.gain, y.over(y.round.gains)) for y in x)

    @identity(
        r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} \sum_i \omega_i g_i"
        r" \text{ by (I1), (I2), (I3)}"
    )
    def forms(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.gain, form) for y in x for form in (y.by_data, y.by_pull, y.over(gain_3(y.round))))

    @tight(
        r"E_{d^{\pi_{k+1}}} \sum_i \omega_i [4\tau T_i^2 - \sigma_i T_i]"
        r" \le (1-\gamma)(J(\pi_{k+1}) - J(\pi_k))"
    )
    def checkable(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.sure, y.gain) for y in x)

    @upper(
        r"0 < J(\pi_{k+1}) - J(\pi_k) \text{ if } \sum_i \omega_i [4\tau T_i^2 - \sigma_i T_i] > 0"
        r" \text{ at all states}"
    )
    def strict(self, x: list[Outcome]) -> tuple[float, Measured]:
        applies = [(y.round.over_clients(y.sure_gains).lower > 0).all() for y in x]
        return 0.0, Measured.stack([y.gain for y in x])[np.array(applies)]

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1}))"
        r" \le E_{d^{\pi_{k+1}}} \sum_i \omega_i \sigma_i^2/(16(\alpha+\beta))"
    )
    def first_floor(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((-y.gain, y.first_loss()) for y in x)

    @chain("first_floor")
    def first_floor_chain(self, x: list[Outcome]) -> Iterator[tuple[str, Measured]]:
        yield "left side", Measured.stack([-y.gain for y in x])
        yield "Theorem A with (I2)", Measured.stack([-y.by_pull for y in x])
        yield "Jeff >= 4 TV^2, Hölder", Measured.stack([-y.sure for y in x])
        yield "complete the square", Measured.stack([y.first_loss() for y in x])

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1})) \le E_{d^{\pi_{k+1}}} \sum_i \omega_i \{\mathrm{span}(e_i)^2/"
        r"(16\beta+8\alpha) + \alpha [KL(\pi_k\|b_i) - KL(\pi_i\|b_i)]\}"
    )
    def second_floor(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((-y.gain, y.second_loss()) for y in x)

    @chain("second_floor")
    def second_floor_chain(self, x: list[Outcome]) -> Iterator[tuple[str, Measured]]:
        yield "left side", Measured.stack([-y.gain for y in x])
        yield "Theorem A with (I1)", Measured.stack([-y.by_data for y in x])
        yield "Pinsker's inequality, Hölder", Measured.stack([y.before_the_square for y in x])
        yield "complete the square", Measured.stack([y.second_loss() for y in x])

    @control("the sign of alpha l flipped", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def flipped_pull(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.gain, y.over(_flipped(y.round))) for y in x)

    @control("the factor 1/(1-gamma) dropped", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def factor_dropped(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.gain / y.round.discount, y.by_pull) for y in x)

    @control("the visitation is that of the new policy", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def old_visitation(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        return stacked((y.gain, replace(y, after=y.round.old).by_pull) for y in x)

    @control("the 16 of the first floor cannot be 17", Case("textbook:two-arm", draws=1))
    def seventeen(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        y = _misled(x[0].round, alpha=0.0, beta=100.0)
        return -y.gain, y.first_loss(constant=17.0)

    @control(
        "8 alpha cannot be 16 alpha: the weight of the data does not damp errors as the one of the server",
        Case("textbook:two-arm", draws=1),
    )
    def as_strong(self, x: list[Outcome]) -> tuple[Measured, Measured]:
        y = _misled(x[0].round, alpha=100.0, beta=0.0)
        return -y.gain, y.second_loss(of_data=16.0)


@dataclass(frozen=True)
class Outcome(Update):
    r"""An update with arithmetic means and what the theorem says about it: everything in expectation over
    :math:`d^{\pi_{k+1}}` and the clients, times :math:`1-\gamma`."""

    def over(self, f: Measured) -> Measured:
        r""":math:`E_{d^{\pi_{k+1}}} \sum_i \omega_i f_i`, ``f (N, S)``."""
        return self.expected(self.round.over_clients(f))

    @cached_property
    def by_data(self) -> Measured:
        """The gain by (I1)."""
        return self.over(gain_1(self.round))

    @cached_property
    def by_pull(self) -> Measured:
        """The gain by (I2)."""
        return self.over(gain_2(self.round))

    @cached_property
    def sigma(self) -> Measured:
        r""":math:`\sigma_i`, ``(N, S)``"""
        return self._span(self.round.ell * self.round.alpha + self.round.errors)

    @cached_property
    def T(self) -> Measured:
        r""":math:`T_i = \mathrm{TV}(\pi_i, \pi_k)`, ``(N, S)``"""
        return total_variation(self.round.clients, self.round.old)

    @cached_property
    def sure_gains(self) -> Measured:
        r""":math:`4\tau T_i^2 - \sigma_i T_i`, ``(N, S)``"""
        return self.T * self.T * self.round.tau * 4.0 - self.sigma * self.T

    @cached_property
    def sure(self) -> Measured:
        """A.1's sure gain."""
        return self.over(self.sure_gains)

    def first_loss(self, constant: float = 16.0) -> Measured:
        r"""A.2: :math:`\sigma_i^2/(16\tau)`."""
        return self.over(self.sigma**2 / (self.round.tau * constant))

    def second_loss(self, of_data: float = 8.0) -> Measured:
        r"""A.2: :math:`\mathrm{span}(e_i)^2/(16\beta+8\alpha) + \alpha[KL(\pi_k\|b_i) - KL(\pi_i\|b_i)]`."""
        x = self.round
        damping = x.beta * 16.0 + x.alpha * of_data
        return self.over(self.misjudged**2 / damping - self.retreat)

    @cached_property
    def before_the_square(self) -> Measured:
        x, T = self.round, self.T
        return self.over(self.misjudged * T - T * T * (x.beta * 4.0 + x.alpha * 2.0) - self.retreat)

    @cached_property
    def misjudged(self) -> Measured:
        """Span of the critic's error, ``(N, S)``."""
        return self._span(self.round.errors)

    @cached_property
    def retreat(self) -> Measured:
        r""":math:`\alpha [KL(\pi_i\|b_i) - KL(\pi_k\|b_i)]`, ``(N, S)``"""
        return away_from_data(self.round) * self.round.alpha

    def _span(self, f: Measured) -> Measured:
        x = self.round
        return span(f, x.old.support & np.ones_like(x.behaviour.support))


def _flipped(x: Round) -> Measured:
    return x.jeff * x.tau + change(x.clients, x.old, x.ell * x.alpha - x.errors)


def _misled(x: Round, alpha: float, beta: float) -> Outcome:
    """Two arms of which the first pays 1, chosen by a coin; a critic that underrates it by 2; data that
    (with alpha > 0) prefer the second by as much as the reward speaks for the first."""
    tilt = 1.0 / alpha if alpha else 0.0
    y = Round(
        cmdp=x.cmdp.replace(r=[[1.0, 0.0]]),
        alpha=Measured(alpha),
        beta=Measured(beta),
        weights=Measured([1.0]),
        log_pi=np.log([[0.5, 0.5]]),
        log_b=-np.log1p(np.exp([[[tilt, -tilt]]])),
        Q=Measured([[[-1.0, 0.0]]]),
    )
    return Outcome(y, y.arithmetic)
