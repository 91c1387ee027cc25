r"""Proposition F: the step regularised by forward divergences, as the released code takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from proofs_check.drpo.forward_terms import (
    Forward,
    from_data,
    from_server,
    improvement,
    leak,
    reverse_leak,
    to_the_server,
    with_rival,
)
from proofs_check.drpo.step import FAMILIES, Support, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, chain, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured, dot

_FEW = Case("random-mdp:seed=1", draws=4)
_LEAKY = Case("random-mdp:seed=1", draws=4, alpha=0.01, beta=0.01)


class ForwardStep(Theorem):
    r"""A step regularised by forward divergences never forgets an action, and can leave the data.

    **Setting.** Weights :math:`\alpha, \beta \ge 0`, :math:`\tau = \alpha + \beta > 0`; behaviour :math:`b`,
    global policy :math:`\pi_k`, any critic :math:`Q = Q^{\pi_k} + e`; :math:`c = \alpha b + \beta\pi_k`. The
    F-step maximises :math:`F(p) = \langle p, Q\rangle + \langle c, \log p\rangle`: the divergences are
    :math:`KL(b\|p)` and :math:`KL(\pi_k\|p)`, the other way round than in the R-step.

    **Statement.** (KKT) There is :math:`\nu \ge \max Q` with :math:`p\,(\nu - Q) = c` and
    :math:`\sum_a p = 1`: :math:`p = c/(\nu - Q)` where c > 0; if those sum to less than 1 at
    :math:`\nu = \max Q`, the rest goes to an action with c = 0 that attains the maximum. For every law q

    .. math:: F(p) - F(q) \ge \textstyle\sum_a c\,[\tfrac qp - 1 - \log\tfrac qp] \ge 0, \qquad
              \langle p, Q\rangle = \nu - \tau .

    The gain, where :math:`\mathrm{supp}\,\pi_k \subseteq \mathrm{supp}\,c`, is

    .. math:: g = \langle p, A^{\pi_k}\rangle = \beta \chi^2(\pi_k\|p) + \alpha \Big(\sum_a
              \tfrac{\pi_k b}{p} - 1\Big) - \langle p - \pi_k, e\rangle,

    which for :math:`\alpha = 0` and an exact critic is :math:`\beta\chi^2(\pi_k\|p) \ge 0`; and the
    arithmetic mean of the clients' steps gains :math:`\frac{1}{1-\gamma} E_{d^{\bar p}} \sum_i \omega_i
    g_i`. With the entropy bonus :math:`\tau_H H(p)` the condition is :math:`Q + c/p - \tau_H \log p = \nu`,
    for all actions.

    (CE4) Two actions, :math:`b = \pi_k = (1, 0)` and a critic :math:`(0, q)` that overestimates the action
    nobody has taken: :math:`p(2) = \max(0, 1 - \tau/q)`, so that the step leaves the data iff
    :math:`q > \alpha + \beta`. The R-step has :math:`p(2) = 0` for every q.

    **Proof.** F is concave; the conditions are those of Karush, Kuhn and Tucker. With :math:`Q = \nu - c/p`
    where c > 0 and :math:`Q \le \nu` elsewhere, :math:`\langle q - p, Q\rangle \le \tau - \sum_a c\,q/p`. For
    q = p the left side of that is :math:`\langle p, Q\rangle = \nu - \tau`, and
    :math:`\langle \pi_k, Q\rangle = \nu - \sum_a \pi_k c/p`; subtract.

    Values and gains are in units of the largest entry of the critic, if that exceeds 1.

    **Source.** Theory notes, DRPO section 3.9 and CE4. The step is read in the public code of Yue et al.
    (2024) (mark: code), the statements are ours.
    """

    id = "drpo.forward-step"
    mark = "ours"
    source = "theory notes, DRPO, Proposition F"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:nS=6,nA=3,seed=2", alpha=0.0, draws=10),
        Case("random-mdp:nS=6,nA=3,seed=2", beta=0.0, support="nested", draws=10),
        Case("garnet:S=12,A=3,b=2,seed=2", alpha=0.6, beta=0.4, draws=10),
    )
    small = {"draws": 2}
    certified = (
        Case("textbook:three-state", draws=2),
        Case("random-mdp:nS=6,nA=3,seed=2", alpha=0.0, draws=2),
    )

    @hypothesis("no weight is negative and one is positive")
    def regularised(self, problem: FederatedCMDP, alpha: float | None, beta: float | None) -> bool:
        given = [weight for weight in (alpha, beta) if weight is not None]
        return min(given, default=1.0) >= 0 and (len(given) < 2 or max(given) > 0)

    @hypothesis("the support of the global policy within that of c", only=["gain", "round"])
    def covered(self, problem: FederatedCMDP, beta: float | None, support: Support) -> bool:
        return beta is None or beta > 0 or support != "crossing"

    @hypothesis("beta > 0: a step towards the server", only=["server_only"])
    def server(self, problem: FederatedCMDP, beta: float | None) -> bool:
        return beta is None or beta > 0

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        beta: float | None = None,
        support: Support = "crossing",
        noise: float = 2.0,
        draws: int = 30,
        seed: int = 0,
    ) -> list[Forward]:
        rng = np.random.default_rng((seed, 1))
        drawn = rounds(problem, draws, seed, clients=2, alpha=alpha, beta=beta, noise=noise, support=support)
        return [with_rival(rng, x) for x in drawn]

    @identity(r"\sum_a p = 1")
    def mass(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return stacked((f.step[0].sum(-1), Measured(np.ones(f.c.shape[:-1]))) for f in x)

    @identity(r"p\,(\nu - Q) = c")
    def stationarity(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.step[0] * (f.step[1] - f.round.Q), f.c))

    @tight(r"Q \le \nu")
    def multiplier(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.round.Q, f.step[1] + np.zeros(f.c.shape)))

    @upper(r"\langle q,Q\rangle + \langle c,\log q\rangle \le \langle p,Q\rangle + \langle c,\log p\rangle")
    def maximum(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.objective(f.rival.p), f.objective(f.step[0])))

    @chain("maximum")
    def maximum_chain(self, x: list[Forward]) -> Iterator[tuple[str, Measured]]:
        def distance(f: Forward) -> Measured:
            ratio = f.rival.log - f.law.log
            return (f.c * (ratio.exp() - 1.0 - ratio)).where(~f.held, 0.0).sum(-1)

        def link(value: Callable[[Forward], Measured]) -> Measured:
            return _over(x, lambda f: (value(f), Measured(0.0)))[0]

        yield "the rival's", link(lambda f: f.objective(f.rival.p))
        yield "z - 1 >= log z", link(lambda f: f.objective(f.rival.p) + distance(f))
        yield "Q = nu - c/p where c > 0, Q <= nu elsewhere", link(lambda f: f.objective(f.step[0]))

    @identity(r"\langle p, Q\rangle = \nu - (\alpha+\beta)")
    def value(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (dot(f.step[0], f.round.Q), f.step[1][..., 0] - f.round.tau))

    @identity(
        r"\langle p, A^{\pi_k}\rangle = \beta\chi^2(\pi_k\|p) + \alpha(\sum_a \pi_k b/p - 1) -"
        r" \langle p - \pi_k, e\rangle"
    )
    def gain(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.gain, from_server(f) + from_data(f) - f.misled))

    @tight(r"0 \le \langle p, A^{\pi_k}\rangle \quad (\alpha = 0, e = 0)")
    def server_only(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over([to_the_server(f) for f in x], lambda f: (f.gain * 0.0, f.gain))

    @identity(
        r"J(\bar p) - J(\pi_k) = \tfrac{1}{1-\gamma} E_{d^{\bar p}} \sum_i \omega_i [\beta\chi^2(\pi_k\|p_i)"
        r" + \alpha(\sum_a \pi_k b_i/p_i - 1) - \langle p_i - \pi_k, e_i\rangle]"
    )
    def round(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, improvement)

    @identity(r"Q + c/p - \tau_H \log p = \nu, \quad \tau_H > 0")
    def entropy(self, x: list[Forward]) -> tuple[Measured, Measured]:
        def conditions(f: Forward) -> tuple[Measured, Measured]:
            p, nu = f.soft_step
            return f.round.Q + f.c / p - p.log() * f.tau_H, nu + np.zeros(f.c.shape)

        return _over(x, conditions)

    @identity(r"\sum_a p = 1, \quad \tau_H > 0")
    def soft_mass(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return stacked((f.soft_step[0].sum(-1), Measured(np.ones(f.c.shape[:-1]))) for f in x)

    @upper(r"F(q) + \tau_H H(q) \le F(p) + \tau_H H(p), \quad \tau_H > 0")
    def soft_maximum(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.objective(f.rival.p, f.tau_H), f.objective(f.soft_step[0], f.tau_H)))

    @identity(r"p(2) = \max(0, 1 - (\alpha+\beta)/q) \text{ on CE4}")
    def threshold(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return stacked(leak(f.round.alpha, f.round.beta, f.round.tau) for f in x)

    @identity(r"p(2) = 0 \text{ on CE4, for the R-step}")
    def no_threshold(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return stacked(reverse_leak(f.round) for f in x)

    @control("no mass outside the data: the best law there is the best of all", _LEAKY)
    def inside(self, x: list[Forward]) -> tuple[Measured, Measured]:
        def confined(f: Forward) -> Measured:
            p = f.step[0].where(~f.held, 0.0)
            return p / p.sum(-1).reshape(*p.shape[:-1], 1)

        return _over(x, lambda f: (f.objective(f.step[0]), f.objective(confined(f))))

    @control(
        "chi squared the other way round",
        Case("random-mdp:seed=1", draws=4, support="full"),
        kind=Kind.IDENTITY,
    )
    def other_order(self, x: list[Forward]) -> tuple[Measured, Measured]:
        def turned(f: Forward) -> Measured:
            p = f.step[0]
            return ((p * p / f.round.old.p).sum(-1) - 1.0) * f.round.beta

        return _over(x, lambda f: (f.gain, turned(f) + from_data(f) - f.misled))

    @control("without what the data do", _FEW, kind=Kind.IDENTITY)
    def no_data(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.gain, from_server(f) - f.misled))

    @control("without what the critic's error does", _FEW, kind=Kind.IDENTITY)
    def no_errors(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.gain, from_server(f) + from_data(f)))

    @control(
        "with an exact critic and alpha > 0 every state gains", Case("random-mdp:seed=1", draws=4, noise=0.0)
    )
    def gains_everywhere(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.gain * 0.0, f.gain))

    @control(
        "beta = 0, and the global policy leaves the data",
        Case("random-mdp:seed=1", draws=4, beta=0.0),
        kind=Kind.IDENTITY,
    )
    def uncovered(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return _over(x, lambda f: (f.gain, from_server(f) + from_data(f) - f.misled))

    @control("the threshold is alpha + beta, not alpha", _FEW, kind=Kind.IDENTITY)
    def other_threshold(self, x: list[Forward]) -> tuple[Measured, Measured]:
        return stacked(leak(f.round.alpha, f.round.beta, f.round.alpha) for f in x)


def _over(
    x: list[Forward], sides: Callable[[Forward], tuple[Measured, Measured]]
) -> tuple[Measured, Measured]:
    """Both sides for every round, in the unit of its critics."""
    return stacked((left / f.size, right / f.size) for f in x for left, right in [sides(f)])
