r"""Proposition 3: what one client's step gains at a state, exactly."""

from __future__ import annotations

from collections.abc import Callable

from proofs_check.drpo.laws import change, jeffreys, kl, tempered
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


class Gain(Theorem):
    r"""The gain of a step, in the true problem, is known exactly from divergences and the critic's error.

    **Setting.** :math:`g_i = \langle \pi_i, A^{\pi_k} \rangle` at a state, in the true problem; :math:`\pi_i`
    the step of Lemma 1, :math:`\alpha, \beta > 0`, with a critic :math:`Q_i = Q^{\pi_k} + e_i` that may be
    wrong in any way; :math:`\ell_i = \log(b_i/\pi_k)`, :math:`m_i \propto b_i^w \pi_k^{1-w}`.

    **Statement.**

    .. math::

        g_i &= \beta\,\mathrm{Jeff}(\pi_i, \pi_k) + \alpha \langle \pi_i - \pi_k, \log(\pi_i/b_i) \rangle
               - \langle \pi_i - \pi_k, e_i \rangle &\text{(I1)} \\
            &= (\alpha+\beta)\,\mathrm{Jeff}(\pi_i, \pi_k) - \langle \pi_i - \pi_k, \alpha \ell_i + e_i
               \rangle &\text{(I2)} \\
            &= (\alpha+\beta)\,\mathrm{Jeff}(\pi_i, m_i) + \langle m_i - \pi_k, Q_i \rangle
               - \langle \pi_i - \pi_k, e_i \rangle &\text{(I3)}

    and :math:`\langle \pi_i - \pi_k, \log(\pi_i/b_i) \rangle = KL(\pi_i\|b_i) + KL(\pi_k\|\pi_i) -
    KL(\pi_k\|b_i)`. (I1) and (I2) need the support of :math:`\pi_k` within that of :math:`b_i`; (I3) needs
    but one common action.

    **Proof.** :math:`g_i = \langle \pi_i - \pi_k, Q_i - e_i \rangle`. By Lemma 1, :math:`Q_i = \alpha
    \log(\pi_i/b_i) + \beta \log(\pi_i/\pi_k)` up to a constant, and :math:`\langle \pi_i - \pi_k,
    \log(\pi_i/\pi_k) \rangle` is the Jeffreys divergence: (I1). With :math:`\log(\pi_i/b_i) =
    \log(\pi_i/\pi_k) - \ell_i`: (I2). With :math:`Q_i = \tau \log(\pi_i/m_i)` up to a constant,
    :math:`\langle \pi_i - m_i, Q_i \rangle = \tau\,\mathrm{Jeff}(\pi_i, m_i)`: (I3).

    The gain itself is computed from an evaluation of :math:`\pi_k` and from the step; sides are compared in
    units of the reward (values times :math:`1-\gamma`).

    **Source.** Theory notes, DRPO section 3.2.
    """

    id = "drpo.gain"
    mark = "ours"
    source = "theory notes, DRPO, Proposition 3"
    suite = (
        *(Case(source) for source in FAMILIES),
        *(Case(source, support="nested", seed=1) for source in FAMILIES[:3]),
        *(Case(source, support="crossing", seed=2) for source in FAMILIES[:3]),
    )
    small = {"draws": 4}
    certified = (Case("textbook:three-state", draws=4), Case("textbook:two-arm", draws=4, support="nested"))

    @hypothesis(
        "the support of the global policy within that of the data", only=["first", "second", "expanded"]
    )
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    def setup(
        self,
        problem: FederatedCMDP,
        noise: float = 0.3,
        support: Support = "full",
        draws: int = 32,
        seed: int = 0,
    ) -> list[Round]:
        return rounds(problem, draws, seed, noise=noise, support=support)

    @identity(
        r"g_i = \beta\,\mathrm{Jeff}(\pi_i,\pi_k) + \alpha\langle\pi_i-\pi_k,\log(\pi_i/b_i)\rangle"
        r" - \langle\pi_i-\pi_k,e_i\rangle"
    )
    def first(self, x: list[Round]) -> tuple[Measured, Measured]:
        return _compared(x, gain_1)

    @identity(
        r"\langle\pi_i-\pi_k,\log(\pi_i/b_i)\rangle = KL(\pi_i\|b_i) + KL(\pi_k\|\pi_i) - KL(\pi_k\|b_i)"
    )
    def expanded(self, x: list[Round]) -> tuple[Measured, Measured]:
        return stacked((from_data(y), away_from_data(y) + kl(y.old, y.clients)) for y in x)

    @identity(r"g_i = (\alpha+\beta)\,\mathrm{Jeff} - \langle\pi_i-\pi_k,\alpha\ell_i+e_i\rangle")
    def second(self, x: list[Round]) -> tuple[Measured, Measured]:
        return _compared(x, gain_2)

    @identity(
        r"g_i = (\alpha+\beta)\,\mathrm{Jeff}(\pi_i,m_i) + \langle m_i-\pi_k,Q_i\rangle"
        r" - \langle\pi_i-\pi_k,e_i\rangle"
    )
    def third(self, x: list[Round]) -> tuple[Measured, Measured]:
        return _compared(x, gain_3)

    @control("the sign of alpha l in (I2)", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def flipped_pull(self, x: list[Round]) -> tuple[Measured, Measured]:
        return stacked(
            (y.gains, y.jeff * y.tau + change(y.clients, y.old, y.ell * y.alpha - y.errors)) for y in x
        )

    @control("the critic's error counts", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def trusted_critic(self, x: list[Round]) -> tuple[Measured, Measured]:
        return stacked((y.gains, y.jeff * y.tau - change(y.clients, y.old, y.ell * y.alpha)) for y in x)

    @control(
        "(I2) where the global policy acts without data: what it does on the common actions is not enough",
        Case("random-mdp:seed=1", support="crossing"),
        kind=Kind.IDENTITY,
    )
    def uncovered(self, x: list[Round]) -> tuple[Measured, Measured]:
        return stacked((y.gains, _on_common_actions(y)) for y in x)


def _compared(x: list[Round], form: Callable[[Round], Measured]) -> tuple[Measured, Measured]:
    """The gain and one of its forms, in units of the reward: times 1 - gamma."""
    return stacked((y.gains * y.discount, form(y) * y.discount) for y in x)


def gain_1(x: Round) -> Measured:
    """(I1), ``(N, S)``."""
    return x.jeff * x.beta + from_data(x) * x.alpha - change(x.clients, x.old, x.errors)


def gain_2(x: Round) -> Measured:
    """(I2), ``(N, S)``."""
    return x.jeff * x.tau - change(x.clients, x.old, x.ell * x.alpha + x.errors)


def gain_3(x: Round) -> Measured:
    """(I3), ``(N, S)``."""
    m = tempered(x.behaviour, x.old, x.w)
    return jeffreys(x.clients, m) * x.tau + change(m, x.old, x.Q) - change(x.clients, x.old, x.errors)


def from_data(x: Round) -> Measured:
    r""":math:`\langle \pi_i - \pi_k, \log(\pi_i/b_i) \rangle`, ``(N, S)``."""
    ratio = (x.clients.log - x.behaviour.log).where(~x.clients.support, 0.0)
    return change(x.clients, x.old, ratio)


def away_from_data(x: Round) -> Measured:
    r""":math:`KL(\pi_i\|b_i) - KL(\pi_k\|b_i)`, ``(N, S)``."""
    return kl(x.clients, x.behaviour) - kl(x.old, x.behaviour)


def _on_common_actions(x: Round) -> Measured:
    ratio = (x.clients.log - x.old.log).where(~x.clients.support, 0.0)
    return change(x.clients, x.old, ratio * x.tau - x.ell * x.alpha - x.errors)
