r"""Theorem G: the CQL penalty in place of the divergence from the data, and how much of it is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from proofs_check.drpo.cql_optimum import Comparison, Conservative, conservative, threshold
from proofs_check.drpo.laws import span
from proofs_check.drpo.record_draws import records
from proofs_check.drpo.records import Candidate, Records, observed
from proofs_check.drpo.step import FAMILIES, stacked
from tabular_fedrl.algorithms.drpo_steps import cql_values
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import uniform

ACCURACY = 1e-9
"""What the maximiser found in floats may fall short by, relative to the terms of its gradient."""


LUCKY = CMDP(np.eye(2)[[[0, 0], [1, 1]]], [[0.5, 0.01], [1.0, 1.0]], [], [], [1.0, 0.0], 0.0)
"""A good arm and a bad one (and a state that nobody visits, which says what R is)."""


class CqlGuarantees(Theorem):
    r"""With enough of the CQL penalty the guarantee over the behaviour does not depend on how far one strays.

    **Setting.** As in ``drpo.guarantees``, with the penalty :math:`D = D_{CQL}(\pi,b) = \chi^2(\pi\|b)` in
    place of the divergence from the data, weights :math:`\lambda, \beta > 0`, b without smoothing:

    .. math:: \pi^+ = \arg\max_\pi F(\pi), \qquad F(\pi) = J(\pi,\hat M) - \frac1{1-\gamma} E_{\hat d^\pi}[
              \lambda D(\pi,b) + \beta KL(\pi\|\pi_k)] .

    **Statement.** :math:`J(\pi,\hat M) - \frac{\lambda}{1-\gamma} E_{\hat d^\pi} D = \rho^\top \hat V`, the
    exact CQL value. For q on the common support
    :math:`F(\pi^+) - F(q) = \frac1{1-\gamma} E_{\hat d^q}[\lambda \sum_a (q - \pi^+)^2/b +
    \beta KL(q\|\pi^+)]`. On the event of :mod:`proofs_check.drpo.records`, if
    :math:`\mathrm{supp}\,b \subseteq \mathrm{supp}\,\pi_k`,

    .. math:: J(\pi^+) - J(b) \ge{}& \frac1{1-\gamma}\{E_{\hat d^+}[\lambda D + \beta KL(\pi^+\|\pi_k)] -
              \beta E_{\hat d^b} KL(b\|\pi_k)\} \\ &- \frac{c_\delta}{1-\gamma}\Big\{E_{\hat d^+}
              \sqrt{\tfrac{|A|(1+D)}{n(s)}} + E_{\hat d^b}\sqrt{\tfrac{|A|}{n(s)}}\Big\} ;

    the same over :math:`\pi_k`, if :math:`\mathrm{supp}\,\pi_k \subseteq \mathrm{supp}\,b`, with
    :math:`\lambda E_{\hat d^{\pi_k}} D(\pi_k,b)` for the :math:`\beta`-term and :math:`|A|(1 + D(\pi_k,b))`
    in the last root. If :math:`\lambda \ge \frac{c_\delta}2\sqrt{|A|/\min_s n(s)}`,

    .. math:: J(\pi^+) - J(b) \ge \frac{\beta}{1-\gamma}[E_{\hat d^+} KL(\pi^+\|\pi_k) - E_{\hat d^b}
              KL(b\|\pi_k)] - \frac{c_\delta}{1-\gamma}(E_{\hat d^+} + E_{\hat d^b})\sqrt{|A|/n(s)} .

    States without records that the model reaches cost :math:`\bar V/(1-\gamma)` times their visitation, as in
    ``drpo.guarantees``; the minimum is over states with records.

    **Proof.** As there, with the first form of Lemma 5. With :math:`u = \sqrt{1+D} \ge 1`,
    :math:`\lambda(u^2-1) - c'u` increases from :math:`u = c'/2\lambda` on, hence from 1 on if
    :math:`\lambda \ge c'/2`. Of the maximum only :math:`F(\pi^+) \ge F(b), F(\pi_k)` is used. The identity:
    the objective of a state is concave with this divergence for its remainder, and stationary at the maximum.

    Inside a single R-step a CQL critic is a critic in error by :math:`-\lambda (I - \gamma\hat
    P^{\pi})^{-1}[\pi_k/b - 1]`. Beside the pull :math:`-\alpha\log x` of the other reading, at
    :math:`x = \pi_k/b`, its :math:`-\lambda(x - 1)` is the harsher one off the data, as
    :math:`\log x \le x - 1`.

    The maximiser is found in floats and taken as it is found; for it the identity holds up to
    :math:`-\langle\nabla, q - \pi^+\rangle`, which is included.

    **Source.** Theory notes, DRPO section 3.10; the penalty is that of Kumar, Zhou, Tucker,
    Levine (2020).
    """

    id = "drpo.cql-guarantees"
    mark = "ours"
    source = "theory notes, DRPO, Theorem G"
    suite = (
        *(Case(source) for source in FAMILIES if not source.startswith("gym:FrozenLake")),
        Case("gym:FrozenLake-v1,gamma=0.9"),
        Case("random-mdp:seed=1", strength=1.0, draws=64),
        Case("random-mdp:nS=6,nA=3,seed=2", strength=1.0, draws=64, seed=1),
        Case("garnet:S=12,A=3,b=2,seed=2", strength=1.0, draws=64, seed=1),
        Case("textbook:three-state", strength=1.0, draws=64, seed=1),
    )
    small = {"draws": 4}
    certified = (
        Case("textbook:two-arm", draws=4),
        Case("textbook:three-state", draws=4, strength=1.0),
        Case("random-mdp:seed=1", draws=4, strength=1.0),
    )

    @hypothesis("positive weights")
    def regularised(self, problem: FederatedCMDP, strength: float | None, beta: float | None) -> bool:
        return all(weight is None or weight > 0 for weight in (strength, beta))

    @hypothesis("the weight is at least the threshold", only=["threshold_form"])
    def strong(self, problem: FederatedCMDP, strength: float | None) -> bool:
        return strength is None or strength >= 1

    def setup(
        self,
        problem: FederatedCMDP,
        strength: float | None = None,
        beta: float | None = None,
        draws: int = 24,
        seed: int = 0,
    ) -> list[Conservative]:
        r"""``strength``: :math:`\lambda` in units of the threshold; by default, at random, half the
        time at least the threshold, else as little as a thousandth of it."""
        rng = np.random.default_rng(seed)
        out = []
        for x in records(problem, draws, seed, beta=beta):
            times = 10.0 ** (rng.uniform(0, 0.3) if rng.random() < 0.5 else rng.uniform(-3, 0))
            times = times if strength is None else strength
            out.append(conservative(x, float(threshold(x).upper) * (1 + 1e-12) * times, rng))
        return out

    @identity(r"J(\pi,\hat M) - \tfrac{\lambda}{1-\gamma} E_{\hat d^\pi} D(\pi,b) = \rho^\top \hat V")
    def cql_value(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked(_cql_value(o, o.plus) for o in x)

    @identity(
        r"F(\pi^+) - F(q) = \tfrac1{1-\gamma} E_{\hat d^q}[\lambda\sum_a(q-\pi^+)^2/b + \beta KL(q\|\pi^+)]"
    )
    def remainder(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked(_remainder(o, o.other) for o in x)

    @upper(r"\nabla f \text{ is constant on the support, up to } 10^{-9} \text{ of its terms}")
    def stationary(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        flat = [span(o.slope, o.plus.law.support).max() for o in x]
        terms = [o.critic.abs().max() + o.pull.abs().max() for o in x]
        return Measured.stack(flat), Measured.stack(terms) * ACCURACY

    @upper(r"\text{guarantee over } b \le J(\pi^+) - J(b) \text{ on the event}")
    def over_behaviour(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked((c.guarantee, c.improvement) for c in _over_behaviour(x))

    @chain("over_behaviour")
    def over_behaviour_chain(self, x: list[Conservative]) -> Iterator[tuple[str, Measured]]:
        yield from _proof(_over_behaviour(x))

    @upper(r"\text{guarantee over } \pi_k \le J(\pi^+) - J(\pi_k) \text{ on the event}")
    def over_global(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked((c.guarantee, c.improvement) for c in _over_global(x))

    @chain("over_global")
    def over_global_chain(self, x: list[Conservative]) -> Iterator[tuple[str, Measured]]:
        yield from _proof(_over_global(x))

    @tight(
        r"\text{the form without D} \le \text{guarantee over } b \text{ if } \lambda \ge "
        r"\tfrac{c_\delta}2\sqrt{|A|/\min_s n(s)}"
    )
    def threshold_form(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        found = [(c.maximiser, c.guarantee) for c in _over_behaviour(x) if c.maximiser.enough]
        return stacked(o.in_units(o.simple, guarantee) for o, guarantee in found)

    @tight(r"-c_\delta\sqrt{|A|/n} \le \lambda D - c_\delta\sqrt{|A|(1+D)/n} \text{ for all } D \ge 0")
    def penalty_pays(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked(_pays(o.records, o.lam) for o in x if o.enough)

    @control("a hundredth of the threshold does not pay for small D", Case("random-mdp:seed=1"))
    def weak_penalty(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked(_pays(o.records, threshold(o.records) * 0.01) for o in x)

    @control(
        "next to none of the threshold: an arm tried once, with luck, costs half the reward", Case(LUCKY)
    )
    def weak_guarantee(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        o = _lucky(LUCKY, 1e-5)
        return o.simple, o.over_behaviour.improvement

    @control("the counts of the state do not pay for an arm that is rare in them", Case(LUCKY))
    def no_chi_squared(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        c = _lucky(LUCKY, 1e-5).over_behaviour
        bare = c.maximiser.width(c.maximiser.plus, strayed=False)
        return c.paid - bare - c.maximiser.width(c.other), c.improvement

    @control(
        "the remainder goes with the visitation of q, not of the maximiser",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def own_visitation(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        return stacked(_remainder(o, o.plus) for o in x)

    @control(
        "half the CQL penalty in the value", Case("random-mdp:seed=1"), kind=Kind.IDENTITY
    )  # fmt: skip
    def half_value(self, x: list[Conservative]) -> tuple[Measured, Measured]:
        half = [Conservative(o.records, o.lam * 0.5, o.plus, o.other) for o in x]
        return stacked(
            (_cql_value(o, o.plus)[0], _cql_value(h, o.plus)[1]) for o, h in zip(x, half, strict=True)
        )


def _cql_value(o: Conservative, p: Candidate) -> tuple[Measured, Measured]:
    x = o.records
    V, _ = cql_values(x.model, p.log, x.log_b, o.lam.plain)
    return o.in_units(p.J_model - p.total(o.D(p.law) * o.lam), dot(V, x.model.rho))


def _remainder(o: Conservative, visitor: Candidate) -> tuple[Measured, Measured]:
    q, p = o.other, o.plus
    tilt = dot(q.law.p - p.law.p, o.slope.where(~p.law.support, 0.0))
    return o.in_units(o.F(p) - o.F(q), visitor.total(o.bregman(q.law) - tilt))


def _pays(x: Records, lam: Measured) -> tuple[Measured, Measured]:
    """Both sides for every state with records and D from 0 to a million."""
    D = Measured(np.array([0.0, *10.0 ** np.arange(-8.0, 7.0)]))
    c = (Measured(float(x.truth.A)) / x.total[x.visited]).sqrt().reshape(-1, 1) * x.radii.signal
    return -c + np.zeros(D.shape), D * lam - c * (D + 1.0).sqrt()


def _lucky(cmdp: CMDP, strength: float) -> Conservative:
    """A million records of the good arm, one of the bad one, which paid 1."""
    n = np.array([[10**6, 1], [10**6, 10**6]])
    x = observed(cmdp, n, cmdp.P, np.array([[0.5, 1.0], [1.0, 1.0]]), uniform(2, 2), 1.0, 1e-9)
    return conservative(x, strength * float(threshold(x).upper), np.random.default_rng(0))


def _over_behaviour(x: list[Conservative]) -> list[Comparison]:
    return [o.over_behaviour for o in x if o.over_behaviour.stated]


def _over_global(x: list[Conservative]) -> list[Comparison]:
    return [o.over_global for o in x if o.over_global.stated]


def _proof(pairs: list[Comparison]) -> Iterator[tuple[str, Measured]]:
    """From the guarantee to the improvement."""

    def row(side: Callable[[Comparison], Measured]) -> Measured:
        return Measured.stack([side(c) * c.maximiser.unit for c in pairs])

    def model(c: Comparison) -> Measured:
        return c.maximiser.plus.J_model - c.other.J_model

    yield "the guarantee", row(lambda c: c.guarantee)
    yield "F is largest at the maximiser", row(lambda c: model(c) - c.width)
    yield "Lemma 5", row(lambda c: model(c) - c.maximiser.plus.cost - c.other.cost)
    yield "Lemma 4, twice", row(lambda c: c.improvement)
