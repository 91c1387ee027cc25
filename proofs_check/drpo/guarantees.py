r"""Theorem D: what many local steps in the empirical model guarantee about the true one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from proofs_check.drpo.laws import kl, span
from proofs_check.drpo.local_optimum import Comparison, Optimum, optimum
from proofs_check.drpo.record_draws import MARGIN, records
from proofs_check.drpo.records import Candidate, observed, radii
from proofs_check.drpo.step import FAMILIES, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import log_policy, uniform

BLIND_SPOT = CMDP(
    P=np.eye(3)[[[1, 2], [1, 1], [2, 2]]],
    r=[[0.0, 0.1], [1.0, 1.0], [0.0, 0.0]],
    c=[],
    d=[],
    rho=[1.0, 0.0, 0.0],
    gamma=0.5,
)
"""One way leads to where every step pays 1, the other pays 0.1 once."""

EQUAL_ARMS = CMDP(np.eye(2)[[[0, 0], [1, 1]]], [[0.5, 0.5], [1.0, 1.0]], [], [], [1.0, 0.0], 0.0)
"""Two arms that pay the same (and a state that nobody visits, which says what R is)."""


class Guarantees(Theorem):
    r"""The regularised optimum of the empirical model comes with a guarantee computed from the data alone.

    **Setting.** One client with records on the event of :mod:`proofs_check.drpo.records`, behaviour b, the
    server's policy :math:`\pi_k`, weights :math:`\alpha, \beta > 0`; :math:`\hat d^\pi` is the visitation in
    the empirical model :math:`\hat M`, and

    .. math:: \pi^+ = \arg\max_\pi F(\pi), \qquad
              F(\pi) = J(\pi, \hat M) - \frac1{1-\gamma} E_{\hat d^\pi}[\alpha KL(\pi\|b) +
              \beta KL(\pi\|\pi_k)] .

    **Statement.** :math:`F(\pi^+) = \rho^\top V^+`, the fixed point of
    :math:`V = \tau\log\sum_a b^w \pi_k^{1-w} e^{Q/\tau}`, :math:`Q = \hat r + \gamma\hat P V`, and for every
    policy q on the common support
    :math:`F(\pi^+) - F(q) = \frac{\tau}{1-\gamma} E_{\hat d^q} KL(q\|\pi^+)` (equalities are checked with
    positive terms on either side, in units in which none exceeds 1; what the computed :math:`\pi^+` lacks in
    stationarity is included). With
    :math:`\Gamma(\pi) = \frac1{1-\gamma} E_{\hat d^\pi}\langle\pi,\kappa\rangle`:

    *D1.* If :math:`\mathrm{supp}\,\pi_k \subseteq \mathrm{supp}\,b`,

    .. math:: J(\pi^+) - J(\pi_k) \ge \frac1{1-\gamma}\big\{E_{\hat d^+}[\alpha KL(\pi^+\|b) +
              \beta KL(\pi^+\|\pi_k)] - \alpha E_{\hat d^{\pi_k}} KL(\pi_k\|b)\big\} - \Gamma(\pi^+) -
              \Gamma(\pi_k) .

    *D2.* If :math:`\mathrm{supp}\,b \subseteq \mathrm{supp}\,\pi_k`,

    .. math:: J(\pi^+) - J(b) \ge \frac1{1-\gamma}\big\{& E_{\hat d^+}[\alpha KL(\pi^+\|b) +
              \beta KL(\pi^+\|\pi_k)] \\
              &- \beta E_{\hat d^b} KL(b\|\pi_k)\big\} - \Gamma(\pi^+) - \Gamma(b) ,

    and in terms of counts, for :math:`b = n(s,a)/n(s)` without smoothing,

    .. math:: J(\pi^+) - J(b) \ge{}& \frac{\beta}{1-\gamma}\{E_{\hat d^+} KL(\pi^+\|\pi_k) -
              E_{\hat d^b} KL(b\|\pi_k)\} \\ &- \frac1{1-\gamma}\Big\{\frac{c_\delta^2}{8\alpha} E_{\hat d^+}
              \frac1{n_{min}} + c_\delta (E_{\hat d^+} + E_{\hat d^b})\sqrt{\frac{|A|}{n(s)}}\Big\} \\
              &- \frac{\bar V}{1-\gamma}(\hat d^+ + \hat d^b)(n(s) = 0) ,

    the expectations of counts over states with records; the last term is gone where all states reachable in
    the model have some. The plain certificates
    :math:`J(\pi^+,\hat M) - \Gamma(\pi^+) - J(p,\hat M) - \Gamma(p)` are at least as strong.

    **Proof.** :math:`F(\pi^+) \ge F(\pi_k)` and :math:`F(\pi^+) \ge F(b)`, where one of the two divergences
    vanishes; move terms, and replace :math:`J(\cdot,\hat M)` by :math:`J(\cdot, M)` twice (Lemma 4). The form
    in counts: Lemma 5 and :math:`\alpha x - c\sqrt{x/(2n)} \ge -c^2/(8\alpha n)`. The identity is the
    performance difference lemma for the penalised reward with the three-point identity in every state.

    What is chosen here depends on the data; that the event holds for all policies at once pays for it. How
    often a guarantee is wrong: theorem ``drpo.false-certificates``.

    **Source.** Theory notes, DRPO section 3.7.
    """

    id = "drpo.guarantees"
    mark = "ours"
    source = "theory notes, DRPO, Theorem D"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", smoothing=1.0),
        Case("random-mdp:nS=6,nA=3,seed=2", seed=1),
    )
    small = {"draws": 4}
    certified = (
        Case("textbook:two-arm", draws=4),
        Case("textbook:three-state", draws=4),
        Case("random-mdp:seed=1", draws=4),
    )

    @hypothesis("the behaviour is that of the counts, without smoothing", only=["counts", "counts_reached"])
    def unsmoothed(self, problem: FederatedCMDP, smoothing: float) -> bool:
        return smoothing == 0

    @hypothesis("positive weights")
    def regularised(self, problem: FederatedCMDP, alpha: float | None, beta: float | None) -> bool:
        return all(weight is None or weight > 0 for weight in (alpha, beta))

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        beta: float | None = None,
        smoothing: float = 0.0,
        draws: int = 38,
        seed: int = 0,
    ) -> list[Optimum]:
        rng = np.random.default_rng(seed)
        drawn = records(problem, draws, seed, alpha=alpha, beta=beta, smoothing=smoothing)
        return [optimum(x, rng) for x in drawn]

    @identity(r"F(\pi^+) = \rho^\top V^+")
    def fixed_point(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked(o.in_units(o.plus.J_model.rounded_by(o.slip), o.value + o.paid(o.plus)) for o in x)

    @identity(r"F(\pi^+) - F(q) = \tfrac{\tau}{1-\gamma} E_{\hat d^q} KL(q\|\pi^+)")
    def three_point(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked(_three_points(o, o.other) for o in x)

    @upper(r"\nabla f \text{ is constant on the support, up to } 10^{-8} \text{ of the unit}")
    def stationary(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        flat = [span(o.slope, o.plus.law.support).max() / o.largest for o in x]
        return Measured.stack(flat), Measured(np.full(len(flat), 1e-8))

    @upper(r"\text{D1} \le J(\pi^+) - J(\pi_k) \text{ on the event}")
    def over_global(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked((c.guarantee, c.improvement) for c in _over_global(x))

    @chain("over_global")
    def over_global_chain(self, x: list[Optimum]) -> Iterator[tuple[str, Measured]]:
        yield from _proof(_over_global(x))

    @upper(r"\text{D2} \le J(\pi^+) - J(b) \text{ on the event}")
    def over_behaviour(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked((c.guarantee, c.improvement) for c in _over_behaviour(x))

    @chain("over_behaviour")
    def over_behaviour_chain(self, x: list[Optimum]) -> Iterator[tuple[str, Measured]]:
        yield from _proof(_over_behaviour(x))

    @tight(r"\text{D2 in counts, less } \tfrac{\bar V}{1-\gamma}(\hat d^+ + \hat d^b)(n = 0) \le \text{D2}")
    def counts(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        sides = ((c, c.optimum.in_counts - c.optimum.blind) for c in _over_behaviour(x))
        return stacked(c.in_units(left, c.guarantee) for c, left in sides)

    @tight(r"\text{D2 in counts} \le \text{D2 where all states have records}")
    def counts_reached(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        known = [c for c in _over_behaviour(x) if not c.optimum.records.blind.any()]
        return stacked(c.in_units(c.optimum.in_counts, c.guarantee) for c in known)

    @tight(r"\text{D1 and D2} \le J(\pi^+,\hat M) - \Gamma(\pi^+) - J(p,\hat M) - \Gamma(p)")
    def plain_certificate(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        both = [*_over_global(x), *_over_behaviour(x)]
        return stacked(c.in_units(c.guarantee, c.simple.rounded_by(c.optimum.slip)) for c in both)

    @control("one sampling term is not enough: without that of the policy compared with", Case(EQUAL_ARMS))
    def one_term(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        c = _deceived(EQUAL_ARMS).over_global
        return c.guarantee + c.other.cost, c.improvement

    @control("the divergence of the global policy from the data is not free", Case("random-mdp:seed=1"))
    def free_divergence(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked((c.guarantee + c.optimum.paid(c.other), c.simple) for c in _over_global(x))

    @control("the counts of the state in place of the smallest count", Case("random-mdp:seed=1", alpha=1e-3))
    def counts_of_the_state(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        wrong = ((c, c.optimum.explicit(c.optimum.records.total)) for c in _over_behaviour(x))
        return stacked((left - c.optimum.blind, c.guarantee) for c, left in wrong)

    @control("what is not known of states without records is not nothing", Case(BLIND_SPOT))
    def nothing_for_the_unseen(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        o = _blind_spot(BLIND_SPOT)
        return o.in_counts, o.over_behaviour.improvement

    @control(
        "the visitation in the three-point identity is that of the other policy",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def own_visitation(self, x: list[Optimum]) -> tuple[Measured, Measured]:
        return stacked(_three_points(o, o.plus) for o in x)


def _three_points(o: Optimum, visitor: Candidate) -> tuple[Measured, Measured]:
    """Of the optimum and the other law, with the states that ``visitor`` visits."""
    p, q = o.plus.law, o.other.law
    far = kl(q, p) * (o.records.alpha + o.records.beta) - dot(q.p - p.p, o.slope)
    left = o.plus.J_model + o.paid(o.other)
    return o.in_units(left, o.other.J_model + o.paid(o.plus) + visitor.total(far))


def _deceived(cmdp: CMDP) -> Optimum:
    """Records on the border of the event: of two equal arms the server's looks worse, the other better."""
    n = np.full((2, 2), 10**4)
    off = (1 - MARGIN) * float(radii(cmdp, 2, 0.1).reward.value) / 100
    log_pi = log_policy([[1.0 - 1e-9, 1e-9], [0.5, 0.5]], 2, 2)
    seen = cmdp.r + np.array([[-off, off], [0.0, 0.0]])
    # The divergence from a policy this sure takes nearly all of what the model promises.
    return optimum(observed(cmdp, n, cmdp.P, seen, log_pi, 1e-9, off / 12), np.random.default_rng(0))


def _blind_spot(cmdp: CMDP) -> Optimum:
    """Plenty of records, except of the state that is worth most: its value in the model is 0."""
    n = np.full((3, 2), 10**8)
    n[1] = 0
    x = observed(cmdp, n, cmdp.P, cmdp.r, uniform(3, 2), 1e-2, 1e-2)
    return optimum(x, np.random.default_rng(0))


def _over_global(x: list[Optimum]) -> list[Comparison]:
    return [o.over_global for o in x if o.over_global.stated]


def _over_behaviour(x: list[Optimum]) -> list[Comparison]:
    return [o.over_behaviour for o in x if o.over_behaviour.stated]


def _proof(pairs: list[Comparison]) -> Iterator[tuple[str, Measured]]:
    """From the guarantee to the improvement."""

    def row(side: Callable[[Comparison], Measured]) -> Measured:
        return Measured.stack([side(c) * c.optimum.unit for c in pairs])

    yield "the guarantee", row(lambda c: c.guarantee)
    yield "F is largest at the optimum", row(lambda c: c.simple.rounded_by(c.optimum.slip))
    yield "Lemma 4 for the optimum", row(lambda c: c.optimum.plus.J - c.other.J_model - c.other.cost)
    yield "Lemma 4 for the other policy", row(lambda c: c.improvement)
