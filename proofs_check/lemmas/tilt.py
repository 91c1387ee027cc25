r"""Hoeffding's lemma and the exponential tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.claims import Case, Rows, Table, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured, dot
from tabular_fedrl.policies import enclosed, log_policy, random_log_policy, uniform


@dataclass(frozen=True)
class Tilted:
    r"""Laws p and :math:`q = p_t \propto p e^{tU}`, row by row, enclosed ``(S, A)``; ``log_ratio``:
    :math:`\log q/p`, known also where both are 0; ``cumulant (S,)``: :math:`\log E_p e^{t(U - E_p U)}`;
    ``h (S,)``: span of U."""

    t: float
    U: Array
    f: Array
    p: Measured
    q: Measured
    log_ratio: Measured
    cumulant: Measured
    h: Measured

    @classmethod
    def of(cls, log_p: Array, U: Array, f: Array, t: float) -> Tilted:
        p, top = enclosed(log_p)[1], U.max(axis=-1)
        exponent = (Measured(U) - top[:, None]) * t
        log_z = (p * exponent.exp()).sum(-1).log()
        log_ratio = exponent - log_z.reshape(-1, 1)
        cumulant = log_z + (Measured(top) - dot(p, U)) * t
        return cls(t, U, f, p, p * log_ratio.exp(), log_ratio, cumulant, Measured(top) - U.min(axis=-1))

    @property
    def squared(self) -> Measured:
        """:math:`t^2 h^2`"""
        return (self.h * self.t) ** 2

    def change(self, f: Array) -> Measured:
        """``<p_t - p, f>``"""
        return dot(self.q - self.p, f)

    def covariance(self, f: Array) -> Measured:
        """``Cov_p(U, f)``"""
        centred = Measured(self.U) - dot(self.p, self.U).reshape(-1, 1)
        return dot(self.p * centred, f)


class Hoeffding(Theorem):
    r"""Hoeffding's lemma.

    **Statement.** For a law p and :math:`E_p U = 0`: :math:`0 \le \log E_p e^U \le \mathrm{span}(U)^2/8`.

    One random law and function of the actions for every state of the problem.

    **Source.** Hoeffding (1963), inequality (4.16).
    """

    id = "lemmas.hoeffding"
    mark = "recalled"
    source = "Hoeffding 1963"
    suite = tuple(
        Case(source, t=t) for source in ("textbook:two-arm", "random-mdp:seed=1") for t in (0.1, 3.0)
    )
    certified = (Case("textbook:two-arm", t=3.0), Case("random-mdp:seed=1", t=0.1))
    space = {"t": (1e-3, 10.0), "law": Table.POLICY, "U": Table.SIGNAL}
    family = "bandit:A=2..3,m=0"
    effort = 800

    @hypothesis("at least two actions")
    def two_actions(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1

    def setup(
        self,
        problem: FederatedCMDP,
        t: float = 1.0,
        draws: int = 20,
        seed: int = 0,
        law: Rows | None = None,
        U: Rows | None = None,
    ) -> Tilted:
        return _draw(problem, t, draws, seed, law, U)

    @hypothesis("t is not 0 and no U is constant (where one is, both sides are 0)", only=["hoeffding"])
    def proper(self, problem: FederatedCMDP, t: float, U: Rows | None) -> bool:
        return t != 0 and _varies(U)

    @tight(r"0 \le \log E_p e^U", attained=Case("textbook:two-arm", U=[[0.5, 0.5]]))
    def jensen(self, x: Tilted) -> tuple[float, Measured]:
        return 0.0, x.cumulant

    @upper(r"\log E_p e^U \le \mathrm{span}(U)^2/8", constant=1 / 8)
    def hoeffding(self, x: Tilted) -> tuple[Measured, Measured]:
        return x.cumulant, x.squared / 8.0

    @control("1/8 cannot be 1/9: a fair coin with a small span", Case("textbook:two-arm"))
    def ninth(self, x: Tilted) -> tuple[Measured, Measured]:
        coin = _coin(0.1)
        return coin.cumulant, coin.squared / 9.0


class ExponentialTilt(Theorem):
    r"""What an exponential tilt does.

    **Statement.** For :math:`p_t \propto p e^{tU}`, t > 0, h = span U > 0 and every f:

    (b) :math:`\mathrm{Jeff}(p_t, p) = t \langle p_t - p, U\rangle`;
    (c) :math:`KL(p_t\|p), KL(p\|p_t) \le t^2 h^2/8` and :math:`\mathrm{TV}(p_t, p) \le t h/4`;
    (d) :math:`|\langle p_t - p, f\rangle - t\,\mathrm{Cov}_p(U, f)| \le t^2 h^2\, \mathrm{span}(f)/8`;
    (e) :math:`\langle p_t - p, U\rangle \ge \mathrm{Var}_p(U) (1 - e^{-th})/h`.

    **Proof.** Write :math:`\bar U = E_{p_u} U`. The derivative of :math:`\langle p_u, f\rangle` in u is
    :math:`\mathrm{Cov}_{p_u}(U, f)`, so that (a):

    .. math:: \langle p_t - p, f\rangle = \int_0^t \mathrm{Cov}_{p_u}(U, f)\,du .

    (b) In :math:`\langle p_t - p, \log(p_t/p)\rangle` the normaliser cancels. (c)
    :math:`KL(p\|p_t) = \log E_p e^{tU} - t E_p U \le t^2 h^2/8` by Hoeffding's lemma, the other order because
    :math:`p \propto p_t e^{-tU}`; then Pinsker's inequality. (d) The derivative of
    :math:`\mathrm{Cov}_{p_u}(U, f)` is :math:`E_{p_u} (U - \bar U)^2 (f - E_{p_u} f)`, in absolute value at
    most :math:`\frac{h^2}{4} \mathrm{span}\,f`; integrate twice. (e) :math:`p_u \ge e^{-uh} p` pointwise,
    hence :math:`\mathrm{Var}_{p_u}(U) = \min_c E_{p_u} (U - c)^2 \ge e^{-uh} \mathrm{Var}_p(U)`; integrate
    (a) with :math:`f = U`. Part (a) is not checked by itself.

    **Source.** Theory notes, standing lemmas.
    """

    id = "lemmas.tilt"
    mark = "ours"
    source = "theory notes, standing lemmas"
    suite, certified = Hoeffding.suite, Hoeffding.certified
    space = {**Hoeffding.space, "f": Table.SIGNAL}
    family = Hoeffding.family
    effort = 1200

    @hypothesis("at least two actions")
    def two_actions(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1

    @hypothesis("t > 0 and no U is constant")
    def proper(self, problem: FederatedCMDP, t: float, U: Rows | None) -> bool:
        return t > 0 and _varies(U)

    @hypothesis("no f is constant (for one that is, both sides are 0)", only=["second_order"])
    def proper_function(self, problem: FederatedCMDP, f: Rows | None) -> bool:
        return _varies(f)

    def setup(
        self,
        problem: FederatedCMDP,
        t: float = 1.0,
        draws: int = 20,
        seed: int = 0,
        law: Rows | None = None,
        U: Rows | None = None,
        f: Rows | None = None,
    ) -> Tilted:
        return _draw(problem, t, draws, seed, law, U, f)

    @identity(r"\mathrm{Jeff}(p_t, p) = t \langle p_t - p, U \rangle")
    def jeffreys(self, x: Tilted) -> tuple[Measured, Measured]:
        return dot(x.q - x.p, x.log_ratio), x.change(x.U) * x.t

    @upper(r"KL(p_t\|p) \le t^2 h^2/8, \quad KL(p\|p_t) \le t^2 h^2/8")
    def divergences(self, x: Tilted) -> tuple[Measured, Measured]:
        both = [dot(x.q, x.log_ratio), dot(x.p, -x.log_ratio)]
        return Measured.stack(both), x.squared / 8.0

    @upper(r"\mathrm{TV}(p_t, p) \le t h/4", constant=1 / 4)
    def total_variation(self, x: Tilted) -> tuple[Measured, Measured, float]:
        return (x.q - x.p).abs().sum(-1) * 0.5, x.h * x.t / 4.0, 1.0

    @upper(
        r"|\langle p_t - p, f\rangle - t\,\mathrm{Cov}_p(U, f)| \le t^2 h^2\,\mathrm{span}(f)/8",
        constant=1 / 8,
    )
    def second_order(self, x: Tilted) -> tuple[Measured, Measured]:
        span_f = Measured(x.f.max(axis=-1)) - x.f.min(axis=-1)
        return (x.change(x.f) - x.covariance(x.f) * x.t).abs(), x.squared * span_f / 8.0

    @tight(
        r"\mathrm{Var}_p(U) (1 - e^{-th})/h \le \langle p_t - p, U\rangle",
        attained=Case("textbook:two-arm", law=[[1.0, 0.0]]),
    )
    def gain(self, x: Tilted) -> tuple[Measured, Measured]:
        return x.covariance(x.U) * -(-x.h * x.t).expm1() / x.h, x.change(x.U)

    @control("t h/4 cannot be t h/5: a fair coin and a small tilt", Case("textbook:two-arm"))
    def fifth(self, x: Tilted) -> tuple[Measured, Measured]:
        coin = _coin(0.1)
        return (coin.q - coin.p).abs().sum(-1) * 0.5, coin.h * coin.t / 5.0


def _coin(t: float) -> Tilted:
    """A fair coin tilted towards its first side."""
    return Tilted.of(uniform(1, 2), np.array([[1.0, 0.0]]), np.zeros((1, 2)), t)


def _draw(
    problem: FederatedCMDP,
    t: float,
    draws: int,
    seed: int,
    law: Rows | None = None,
    U: Rows | None = None,
    f: Rows | None = None,
) -> Tilted:
    """``draws`` random laws and functions; where some are given, as ``(S, A)`` tables, one for each state."""
    S, A = problem.cmdp.S, problem.cmdp.A
    rng = np.random.default_rng(seed)
    shape = (draws if law is None and U is None and f is None else S, A)
    log_p = random_log_policy(rng, *shape, 2.0)
    first, second = (rng.random(shape) if g is None else _function(g, S, A) for g in (U, f))
    return Tilted.of(log_p if law is None else log_policy(law, S, A), first, second, t)


def _varies(g: Rows | None) -> bool:
    """Whether a given function is constant in no state; the random ones are not."""
    return g is None or bool((np.ptp(np.asarray(g, dtype=np.float64), axis=-1) > 0).all())


def _function(g: Rows, S: int, A: int) -> Array:
    values = np.asarray(g, dtype=np.float64)
    if values.shape != (S, A) or not np.isfinite(values).all():
        raise InvalidProblem(f"a function of the actions for every state is a table of {S} x {A} numbers")
    return values
