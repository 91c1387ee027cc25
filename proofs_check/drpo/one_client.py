r"""CE1: with one client and an exact critic a round can make things worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofs_check.drpo.critical_weight import Tendency
from proofs_check.drpo.first_order import sign
from proofs_check.drpo.laws import Law
from proofs_check.drpo.step import Round, informed, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Measured

Sides = tuple[Measured, Measured]
ARMS = "textbook:two-arm"


class OneClient(Theorem):
    r"""With exact values and a single client a round still need not improve, whatever the server's weight.

    **Setting.** Two arms, the first pays :math:`\Delta > 0` more than the second; :math:`\gamma = 0`, one
    client with :math:`Q = Q^{\pi_k}`, weights :math:`\alpha, \beta > 0`. x is the log-odds of the first arm,
    :math:`x_b` that of the behaviour policy.

    **Statement.**

    .. math:: x_{k+1} = \frac{\alpha x_b + \beta x_k + \Delta}{\alpha + \beta}, \qquad
              x_k - x^\star = \Big(\frac{\beta}{\alpha+\beta}\Big)^k (x_0 - x^\star), \qquad
              x^\star = x_b + \frac{\Delta}{\alpha} :

    every round improves if :math:`x_0 < x^\star`, every round makes things worse if :math:`x_0 > x^\star`,
    **for every beta**. In terms of the weight: a round improves if and only if :math:`\alpha (x_k - x_b) <
    \Delta`, so that :math:`\alpha_{\mathrm{crit}} = \Delta/(x_k - x_b)` where the policy is ahead of the
    data; for :math:`\Delta = 1`, :math:`b = (\tfrac12, \tfrac12)`, :math:`\pi_k = (1-\epsilon, \epsilon)`
    this is :math:`1/\log\frac{1-\epsilon}{\epsilon}`. With :math:`\epsilon = 0.1`, :math:`\beta = 1` the gain
    is +0.0062 at :math:`\alpha = 0.9/\log 9` and -0.0062 at :math:`\alpha = 1.1/\log 9`.

    **Proof.** Lemma 1 in log-odds. :math:`x_{k+1} - x^\star` is :math:`\beta/(\alpha+\beta)` times
    :math:`x_k - x^\star`, and the value increases with x.

    **Source.** Theory notes, DRPO section 4, CE1.
    """

    id = "drpo.one-client"
    mark = "ours"
    source = "theory notes, DRPO, CE1"
    suite = (Case(ARMS), Case(ARMS, seed=1))
    certified = (Case(ARMS, draws=8),)
    small = None

    @hypothesis("two arms that pay 1 and 0, without a future")
    def arms(self, problem: FederatedCMDP) -> bool:
        cmdp = problem.cmdp
        return cmdp.r.shape == (1, 2) and bool((cmdp.r == np.array([[1.0, 0.0]])).all() and cmdp.gamma == 0)

    def setup(self, problem: FederatedCMDP, draws: int = 320, seed: int = 0) -> list[Round]:
        """The arms, and others with other leads: half of them with weights and policies far apart."""
        rng = np.random.default_rng(seed)
        out = []
        for k in range(draws):
            far = k % 2 == 1
            start, data = (10.0 if far else 2.0) * rng.standard_normal(2)
            alpha, beta = (_any(rng, 3.0 if far else 1.0) for _ in range(2))
            lead = _any(rng, 1.0) if k else 1.0
            cmdp = problem.cmdp.replace(r=np.array([[lead, 0.0]]))
            out.append(_round(cmdp, Measured(start), Measured(data), alpha, beta))
        return out

    @identity(r"x_{k+1} = (\alpha x_b + \beta x_k + \Delta)/(\alpha+\beta)")
    def recursion(self, x: list[Round]) -> Sides:
        return stacked((_odds(r.clients[0]), _next(r)) for r in x)

    @identity(r"x_5 - x^\star = (\beta/(\alpha+\beta))^5 (x_0 - x^\star)")
    def rate(self, x: list[Round]) -> Sides:
        return stacked(_after(r, 5, r.beta / r.tau) for r in x)

    @upper(r"0 < \mathrm{sign}(x^\star - x_k)\,[J(\pi_{k+1}) - J(\pi_k)]")
    def direction(self, x: list[Round]) -> Sides:
        signs = ((r, sign(_limit(r) - _odds(r.old))) for r in x)
        return stacked((Measured(0.0), _gain(r) * s) for r, s in signs if s)

    @identity(r"\alpha_{\mathrm{crit}}\,(x_k - x_b) = \Delta \text{ where } x_k > x_b")
    def critical(self, x: list[Round]) -> Sides:
        ahead = [r for r in x if sign(_odds(r.old) - _odds(r.behaviour[0])) > 0]
        return stacked((_critical(r) * (_odds(r.old) - _odds(r.behaviour[0])), _lead(r)) for r in ahead)

    @identity(r"\alpha_{\mathrm{crit}} = 1/\log\frac{1-\epsilon}{\epsilon}")
    def critical_of_epsilon(self, x: list[Round]) -> Sides:
        return stacked(_of_epsilon(x[0].cmdp, Measured(1.0) / n, 1.0) for n in (2.5, 4.0, 10.0, 1e2, 1e6))

    @upper(r"|J(\pi_{k+1}) - J(\pi_k) \mp 0.0062| \le 5 \cdot 10^{-5}")
    def printed(self, x: list[Round]) -> Sides:
        changes = [_printed(x[0].cmdp, times) + gain for times, gain in ((9.0, -0.0062), (11.0, 0.0062))]
        return Measured.stack(changes).abs(), Measured(5e-5)

    @control("a large beta does not make the round improve", Case(ARMS, draws=1))
    def large_beta(self, x: list[Round]) -> Sides:
        return Measured(0.0), Measured.stack([_printed(x[0].cmdp, 11.0, beta) for beta in (1.0, 1e2, 1e4)])

    @control(
        "the rate is the server's share beta/(alpha+beta), not the data's", Case(ARMS), kind=Kind.IDENTITY
    )
    def other_rate(self, x: list[Round]) -> Sides:
        return stacked(_after(r, 5, r.w) for r in x)

    @control(
        "the critical weight depends on the odds, not on log 1/epsilon",
        Case(ARMS, draws=1),
        kind=Kind.IDENTITY,
    )
    def odds_left_out(self, x: list[Round]) -> Sides:
        return stacked(_of_epsilon(x[0].cmdp, Measured(1.0) / n, 0.0) for n in (4.0, 10.0))


def _any(rng: np.random.Generator, decades: float) -> float:
    return float(10.0 ** rng.uniform(-decades, decades))


def _round(
    cmdp: CMDP, start: Measured, data: Measured, alpha: Measured | float, beta: Measured | float
) -> Round:
    """From log-odds."""
    log_pi, log_b = (_law(x).plain for x in (start, data))
    return informed(cmdp, log_pi, log_b[None], alpha, beta)


def _law(odds: Measured) -> Law:
    logits = Measured.stack([odds, odds * 0.0]).reshape(1, 2)
    return Law.normalised(logits, np.ones((1, 2), dtype=bool))


def _odds(law: Law) -> Measured:
    return law.log[0, 0] - law.log[0, 1]


def _lead(x: Round) -> Measured:
    return Measured(x.cmdp.r[0, 0]) - x.cmdp.r[0, 1]


def _next(x: Round) -> Measured:
    return (_odds(x.behaviour[0]) * x.alpha + _odds(x.old) * x.beta + _lead(x)) / x.tau


def _limit(x: Round) -> Measured:
    return _odds(x.behaviour[0]) + _lead(x) / x.alpha


def _after(x: Round, rounds: int, factor: Measured) -> Sides:
    """Distances from the limit, after some rounds and by the formula."""
    limit, formula, slack = _limit(x), (_odds(x.old) - _limit(x)) * factor**rounds, 0.0
    for _ in range(rounds):
        odds = _odds(x.clients[0])
        # In floats the next round starts from within this of the exact policy; no round spreads it.
        slack += 2 * float(odds.error)
        x = replace(x, log_pi=x.clients[0].plain)
    return odds.rounded_by(slack) - limit, formula


def _gain(x: Round) -> Measured:
    """Of the step, from the arm whose probability is better known."""
    change = (x.clients[0].p - x.old.p)[0] * Measured.stack([_lead(x), -_lead(x)])
    return change[int(np.argmin(change.error))]


def _critical(x: Round) -> Measured:
    return Tendency.of(x).turn


def _of_epsilon(cmdp: CMDP, epsilon: Measured, share: float) -> Sides:
    left = Measured(1.0) - epsilon
    x = _round(cmdp, (left / epsilon).log(), Measured(0.0), 1.0, 1.0)
    return _critical(x), ((left * share + (1.0 - share)).log() - epsilon.log()).reciprocal()


def _printed(cmdp: CMDP, tenths: float, beta: float = 1.0) -> Measured:
    odds = Measured(9.0).log()
    x = _round(cmdp, odds, Measured(0.0), Measured(tenths) / 10.0 / odds, beta)
    return x.improvement(x.arithmetic)
