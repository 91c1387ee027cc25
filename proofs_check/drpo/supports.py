r"""CE3: which actions survive the steps and the two means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, Mask, span, total_variation
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.algorithms.drpo_steps import aggregate, forward_step, reverse_step
from tabular_fedrl.arithmetic import is_minus_infinity
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured

SHARES = (1.0, 0.03, 1e-3)
r"""Weights :math:`\alpha`, in units of :math:`\beta`, on the way to 0."""

_FEW = Case("random-mdp:nS=6,nA=3,seed=2", draws=4)


@dataclass(frozen=True)
class Kept:
    """Which actions the algorithm keeps in a round; ``apart``: the same round, but in the first state no two
    clients have seen the same action."""

    round: Round
    apart: Round

    @cached_property
    def local(self) -> Any:
        """The clients' log-policies ``(N, S, A)`` after their R-steps."""
        return _stepped(self.round, self.round.log_b)

    @property
    def expected(self) -> Mask:
        """What both the data and the global policy hold."""
        return self.round.behaviour.support & self.round.old.support

    def mean(self, kind: str) -> Mask:
        """The support of a mean of the steps."""
        return ~is_minus_infinity(aggregate(kind, self.local, self.round.weights.plain))


class Supports(Theorem):
    r"""Steps stay within the data; arithmetic means keep the union of the supports, geometric means less.

    **Statement.** For :math:`\alpha, \beta > 0` the R-step has the support :math:`\mathrm{supp}\,b_i \cap
    \mathrm{supp}\,\pi_k` exactly. The arithmetic mean (A1) of the steps keeps the union, the geometric mean
    (A2) the intersection over the clients (those of positive weight); where that is empty A2 is undefined,
    and A1 is not. Data that are smoothed, however little, keep the support of :math:`\pi_k` under both. The
    F-step keeps :math:`\mathrm{supp}\,b_i \cup \mathrm{supp}\,\pi_k` and may add to it
    (``drpo.forward-step``).

    At :math:`\alpha = 0` the R-step jumps. With :math:`\pi^\alpha` the step with weight :math:`\alpha`,
    :math:`w = \alpha/(\alpha+\beta)`, and :math:`\pi^0(\cdot|B)` the step without data, conditioned on
    :math:`B = \mathrm{supp}\,b`,

    .. math:: \mathrm{TV}(\pi^\alpha, \pi^0) \ge \pi^0(B^c), \qquad
              \mathrm{TV}(\pi^\alpha, \pi^0(\cdot|B)) \le \tfrac w4\, \mathrm{span}_{B \cap
              \mathrm{supp}\,\pi_k} \big(\log\tfrac b{\pi_k} - \tfrac Q\beta\big) .

    **Proof.** :math:`b^w` is 0 where b is, for every w > 0. On B, :math:`\log\pi^\alpha` and
    :math:`\log\pi^0(\cdot|B)` differ by w times the function in the bracket and a constant: part (c) of the
    lemma on tilts.

    Supports are compared as tables of 0 and 1, for what the algorithm computes.

    **Source.** Theory notes, DRPO section 4, CE3; the rate at which the jump is approached is added here.
    """

    id = "drpo.supports"
    mark = "ours"
    source = "theory notes, DRPO, CE3"
    suite = tuple(Case(source) for source in FAMILIES)
    small = {"draws": 2}
    certified = (
        Case("textbook:three-state", draws=2),
        Case("random-mdp:nS=6,nA=3,seed=2", draws=2),
    )

    @hypothesis("alpha > 0 and beta > 0")
    def both(self, problem: FederatedCMDP, alpha: float | None) -> bool:
        return alpha is None or alpha > 0

    @hypothesis("at least two actions")
    def several(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        support: Support = "crossing",
        draws: int = 30,
        seed: int = 0,
    ) -> list[Kept]:
        drawn = rounds(problem, draws, seed, clients=2, alpha=alpha, support=support)
        return [Kept(x, _disjoint(x)) for x in drawn]

    @identity(r"\mathrm{supp}\,\pi_i = \mathrm{supp}\,b_i \cap \mathrm{supp}\,\pi_k")
    def steps(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(~is_minus_infinity(k.local), k.expected) for k in x)

    @identity(r"\mathrm{supp}\,\sum_i \omega_i \pi_i = \bigcup_i \mathrm{supp}\,\pi_i")
    def arithmetic(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(k.mean("arithmetic"), k.expected.any(axis=0)) for k in x)

    @identity(r"\mathrm{supp}\,\prod_i \pi_i^{\omega_i} = \bigcap_i \mathrm{supp}\,\pi_i")
    def geometric(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(k.mean("geometric"), k.expected.all(axis=0)) for k in x)

    @identity(r"\text{A2 is undefined, A1 is not, where no action is common to all clients}")
    def undefined(self, x: list[Kept]) -> tuple[Measured, Measured]:
        found = [[_refused("geometric", k.apart), _refused("arithmetic", k.apart)] for k in x]
        return Measured(np.array(found, dtype=float)), Measured(np.array([[1.0, 0.0]] * len(x)))

    @identity(r"\mathrm{supp}\,\prod_i \pi_i^{\omega_i} = \mathrm{supp}\,\pi_k \text{ for smoothed data}")
    def smoothed(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(_smoothed(k), k.round.old.support) for k in x)

    @identity(r"\text{F-step: } p > 0 \text{ on } \mathrm{supp}\,b_i \cup \mathrm{supp}\,\pi_k")
    def forward(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_forgotten(k.round) for k in x)

    @tight(
        r"\pi^0(B^c) \le \mathrm{TV}(\pi^\alpha, \pi^0), \quad \alpha \to 0",
        attained=Case("textbook:two-arm", draws=8),
    )
    def jump(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_jump(k.round, share) for k in x for share in SHARES)

    @upper(
        r"\mathrm{TV}(\pi^\alpha, \pi^0(\cdot|B)) \le \tfrac w4\,"
        r"\mathrm{span}(\log\tfrac b{\pi_k} - \tfrac Q\beta), \quad \alpha \to 0"
    )
    def limit(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_limit(k.round, share, conditioned=True) for k in x for share in SHARES)

    @control("the arithmetic mean keeps the intersection", _FEW, kind=Kind.IDENTITY)
    def too_few(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(k.mean("arithmetic"), k.expected.all(axis=0)) for k in x)

    @control("the geometric mean keeps the union", _FEW, kind=Kind.IDENTITY)
    def too_many(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(k.mean("geometric"), k.expected.any(axis=0)) for k in x)

    @control(
        "without the data's weight, the step leaves the data",
        Case("random-mdp:nS=6,nA=3,seed=2", alpha=0.0, draws=4),
        kind=Kind.IDENTITY,
    )
    def no_pull(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_tables(~is_minus_infinity(k.local), k.expected) for k in x)

    @control("the step is continuous at alpha = 0", _FEW)
    def continuous(self, x: list[Kept]) -> tuple[Measured, Measured]:
        return stacked(_limit(k.round, share, conditioned=False) for k in x for share in SHARES)


def _tables(found: Mask, expected: Mask) -> tuple[Measured, Measured]:
    return Measured(found.astype(np.float64)), Measured(expected.astype(np.float64))


def _stepped(x: Round, log_b: Any) -> Any:
    return reverse_step(x.log_pi, log_b, x.Q.plain, x.alpha.plain, x.beta.plain)


def _disjoint(x: Round) -> Round:
    """The round with data and a global policy that share actions, but no two clients have one in common, in
    the first state."""
    held = x.behaviour.support.copy()
    first = np.arange(x.cmdp.A)
    held[:, 0] = first % x.N == np.arange(x.N)[:, None]
    everywhere = np.ones((x.cmdp.S, x.cmdp.A), dtype=bool)
    log_b = Law.normalised(x.behaviour.log, held).plain
    return replace(x, log_pi=Law.normalised(x.old.log, everywhere).plain, log_b=log_b)


def _refused(kind: str, x: Round) -> bool:
    try:
        aggregate(kind, _stepped(x, x.log_b), x.weights.plain)
    except InvalidProblem:
        return True
    return False


def _smoothed(k: Kept) -> Mask:
    """The support of the geometric mean with a little of the uniform policy in the data."""
    x, A = k.round, k.round.cmdp.A
    b = (x.behaviour.p * (1 - 1e-6) + 1e-6 / A).log()
    local = _stepped(x, b.plain)
    return ~is_minus_infinity(aggregate("geometric", local, x.weights.plain))


def _forgotten(x: Round) -> tuple[Measured, Measured]:
    """Where the F-step has dropped an action that the data or the server hold, and 0."""
    p, _ = forward_step(x.log_pi, x.log_b, x.Q, x.alpha.plain, x.beta.plain)
    held = x.behaviour.support | x.old.support
    return _tables(held & (Measured.of(p).lower <= 0), np.zeros_like(held))


def _near(x: Round, share: float) -> tuple[Round, Law]:
    r"""The round with :math:`\alpha` a small share of :math:`\beta`, and the steps without data."""
    return replace(x, alpha=x.beta * share), replace(x, alpha=Measured(0.0)).clients


def _jump(x: Round, share: float) -> tuple[Measured, Measured]:
    near, without = _near(x, share)
    lost = without.p.where(x.behaviour.support, 0.0).sum(-1)
    moved = total_variation(near.clients, without)
    # Where all that the server does is in the data, nothing is lost.
    some = lost.value > 1e-9
    return lost[some], moved[some]


def _limit(x: Round, share: float, conditioned: bool) -> tuple[Measured, Measured]:
    near, without = _near(x, share)
    inside = near.clients.support
    end = Law.normalised(without.log, inside) if conditioned else without
    bracket = (x.behaviour.log - x.old.log - x.Q / x.beta).where(~inside, 0.0)
    bound = span(bracket, inside) * near.w * 0.25
    # Both sides agree to second order in the bound.
    visible = bound.value > 1e-4
    return total_variation(near.clients, end)[visible], bound[visible]
