r"""Theorem A: what a round of DRPO improves, exactly, and what it can lose at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from proofs_check.drpo.gain import away_from_data, gain_1, gain_2, gain_3
from proofs_check.drpo.laws import change, span, total_variation
from proofs_check.drpo.step import FAMILIES, Round, Support, Update, rounds
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


class RoundImprovement(Theorem):
    r"""A round of DRPO improves by the clients' exact gains, averaged where the new policy goes.

    **Algorithm.** The server holds :math:`\pi_k`. Client i, with data :math:`b_i` and a critic :math:`Q_i =
    Q^{\pi_k} + e_i`, takes the step :math:`\pi_i \propto b_i^w \pi_k^{1-w} e^{Q_i/\tau}` of Lemma 1
    (:math:`\tau = \alpha+\beta`, :math:`w = \alpha/\tau`). The server takes the arithmetic mean
    :math:`\pi_{k+1} = \sum_i \omega_i \pi_i`, with weights that may depend on the state.

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
    server; the pull to the data costs :math:`\alpha` times the approach to them.

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
        *(Case(source, statewise=True) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", seed=1),
        Case("random-mdp:nS=6,nA=3,seed=2", alpha=0.01, noise=0.01, seed=1),
        Case("random-mdp:seed=1", alpha=0.0, seed=2),
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
    ) -> list[Update]:
        drawn = rounds(problem, draws, seed, alpha=alpha, noise=noise, support=support, statewise=statewise)
        return [Update(x, x.arithmetic) for x in drawn]

    @identity(r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} \sum_i \omega_i g_i")
    def exact(self, x: list[Update]) -> tuple[Measured, Measured]:
        return _gain(x), expected(x, lambda r: r.gains)

    @identity(
        r"(1-\gamma)(J(\pi_{k+1}) - J(\pi_k)) = E_{d^{\pi_{k+1}}} \sum_i \omega_i g_i \text{ by I1, I2, I3}"
    )
    def forms(self, x: list[Update]) -> tuple[Measured, Measured]:
        return _gain(x), Measured.stack([expected(x, form) for form in (gain_1, gain_2, gain_3)])

    @tight(
        r"E_{d^{\pi_{k+1}}} \sum_i \omega_i [4\tau T_i^2 - \sigma_i T_i]"
        r" \le (1-\gamma)(J(\pi_{k+1}) - J(\pi_k))"
    )
    def checkable(self, x: list[Update]) -> tuple[Measured, Measured]:
        return expected(x, sure_gain), _gain(x)

    @upper(
        r"0 < J(\pi_{k+1}) - J(\pi_k) \text{ if } \sum_i \omega_i [4\tau T_i^2 - \sigma_i T_i] > 0"
        r" \text{ at all states}"
    )
    def strict(self, x: list[Update]) -> tuple[float, Measured]:
        sure = [(y.round.over_clients(sure_gain(y.round)).lower > 0).all() for y in x]
        return 0.0, _gain(x)[np.array(sure)]

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1}))"
        r" \le E_{d^{\pi_{k+1}}} \sum_i \omega_i \sigma_i^2/(16(\alpha+\beta))"
    )
    def first_floor(self, x: list[Update]) -> tuple[Measured, Measured]:
        return -_gain(x), expected(x, first_loss)

    @chain("first_floor")
    def first_floor_chain(self, x: list[Update]) -> Iterator[tuple[str, Measured]]:
        yield "left side", -_gain(x)
        yield "Theorem A with (I2)", -expected(x, gain_2)
        yield "Jeff >= 4 TV^2, Hölder", -expected(x, sure_gain)
        yield "complete the square", expected(x, first_loss)

    @tight(
        r"(1-\gamma)(J(\pi_k) - J(\pi_{k+1})) \le E_{d^{\pi_{k+1}}} \sum_i \omega_i \{\mathrm{span}(e_i)^2/"
        r"(16\beta+8\alpha) + \alpha [KL(\pi_k\|b_i) - KL(\pi_i\|b_i)]\}"
    )
    def second_floor(self, x: list[Update]) -> tuple[Measured, Measured]:
        return -_gain(x), expected(x, second_loss)

    @chain("second_floor")
    def second_floor_chain(self, x: list[Update]) -> Iterator[tuple[str, Measured]]:
        yield "left side", -_gain(x)
        yield "Theorem A with (I1)", -expected(x, gain_1)
        yield "Pinsker's inequality, Hölder", expected(x, _before_the_square)
        yield "complete the square", expected(x, second_loss)

    @control("the sign of alpha l flipped", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def flipped_pull(self, x: list[Update]) -> tuple[Measured, Measured]:
        return _gain(x), expected(x, _flipped)

    @control("the factor 1/(1-gamma) dropped", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def factor_dropped(self, x: list[Update]) -> tuple[Measured, Measured]:
        return Measured.stack([y.gain / y.round.discount for y in x]), expected(x, gain_2)

    @control("the visitation is that of the new policy", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def old_visitation(self, x: list[Update]) -> tuple[Measured, Measured]:
        return _gain(x), expected([replace(y, after=y.round.old) for y in x], gain_2)

    @control("the 16 of the first floor cannot be 17", Case("textbook:two-arm", draws=1))
    def seventeen(self, x: list[Update]) -> tuple[Measured, Measured]:
        y = _misled(x[0].round, alpha=0.0, beta=100.0)
        return -_gain([y]), expected([y], first_loss) * 16.0 / 17.0

    @control(
        "the weight of the data does not damp errors as well as the server's",
        Case("textbook:two-arm", draws=1),
    )
    def as_strong(self, x: list[Update]) -> tuple[Measured, Measured]:
        y = _misled(x[0].round, alpha=100.0, beta=0.0)
        return -_gain([y]), expected([y], lambda r: _second_loss(r, r.alpha * 16.0))


def expected(x: list[Update], f: Callable[[Round], Measured]) -> Measured:
    r""":math:`E_{d^{\pi_{k+1}}} \sum_i \omega_i f_i` for every update, ``f (N, S)``."""
    return Measured.stack([y.expected(y.round.over_clients(f(y.round))) for y in x])


def misfit(x: Round) -> Measured:
    r""":math:`\sigma_i`: the span of :math:`\alpha \ell_i + e_i` where :math:`\pi_k` acts, ``(N, S)``."""
    f = x.ell * x.alpha + x.errors
    return span(f, x.old.support & np.ones_like(x.behaviour.support))


def sure_gain(x: Round) -> Measured:
    r""":math:`4\tau T_i^2 - \sigma_i T_i`, ``(N, S)``."""
    T = total_variation(x.clients, x.old)
    return T * T * x.tau * 4.0 - misfit(x) * T


def first_loss(x: Round) -> Measured:
    r""":math:`\sigma_i^2/(16\tau)`, ``(N, S)``."""
    return misfit(x) ** 2 / (x.tau * 16.0)


def second_loss(x: Round) -> Measured:
    r""":math:`\mathrm{span}(e_i)^2/(16\beta+8\alpha) + \alpha[KL(\pi_k\|b_i) - KL(\pi_i\|b_i)]`,
    ``(N, S)``."""
    return _second_loss(x, x.beta * 16.0 + x.alpha * 8.0)


def _second_loss(x: Round, damping: Measured) -> Measured:
    return _span_of_errors(x) ** 2 / damping - away_from_data(x) * x.alpha


def _before_the_square(x: Round) -> Measured:
    T = total_variation(x.clients, x.old)
    return _span_of_errors(x) * T - T * T * (x.beta * 4.0 + x.alpha * 2.0) - away_from_data(x) * x.alpha


def _span_of_errors(x: Round) -> Measured:
    return span(x.errors, x.old.support & np.ones_like(x.behaviour.support))


def _flipped(x: Round) -> Measured:
    return x.jeff * x.tau + change(x.clients, x.old, x.ell * x.alpha - x.errors)


def _gain(x: list[Update]) -> Measured:
    return Measured.stack([y.gain for y in x])


def _misled(x: Round, alpha: float, beta: float) -> Update:
    """Two arms of which the first pays 1, chosen by a coin; a critic that underrates it by 2; data that
    (with alpha > 0) prefer the second by as much as the reward speaks for the first."""
    cmdp = x.cmdp.replace(r=[[1.0, 0.0]])
    coin = np.log([[0.5, 0.5]])
    tilt = 1.0 / alpha if alpha else 0.0
    data = -np.log1p(np.exp([[tilt, -tilt]]))
    y = Round(
        cmdp, Measured(alpha), Measured(beta), Measured([1.0]), coin, data[None], Measured([[[-1.0, 0.0]]])
    )
    return Update(y, y.arithmetic)
