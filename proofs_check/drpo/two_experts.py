r"""CE2: every client improves, and their mean is worse than what they started from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.drift_terms import drift, most
from proofs_check.drpo.laws import Law
from proofs_check.drpo.step import Round, stacked
from tabular_fedrl.arithmetic import array, concatenate
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import TEXTBOOK
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import uniform

Sides = tuple[Measured, Measured]
ROOMS = "textbook:opposite-rooms"


@dataclass(frozen=True)
class Experts:
    """A round on the rooms, and its experts. ``g``, ``u``, ``q``: the probabilities that A enters the right
    room, is wrong in the left one, is right in the right one (h = 1 - g, p = 1 - u)."""

    round: Round
    experts: Law
    g: Measured
    u: Measured
    q: Measured

    @cached_property
    def values(self) -> Measured:
        """J of the global policy, of A, of B, of the arithmetic and of the geometric mean."""
        x = self.round
        each = [x.J(x.old), *(x.J(x.clients[i]) for i in range(2)), x.J(x.arithmetic), x.J(x.geometric)]
        return Measured.stack(each)

    @property
    def formula(self) -> Measured:
        """The same by hand."""
        h, p, q, one = -self.g + 1.0, -self.u + 1.0, self.q, Measured(1.0)
        right, wrong = (p * q).sqrt(), (self.u * (one - q)).sqrt()
        expert = h * p + self.g * q
        means = (p + q) / 2.0, right / (right + wrong)
        return Measured.stack([one / 2.0, expert, expert, *means]) * self.round.cmdp.gamma


class TwoExperts(Theorem):
    r"""Two clients improve, and both means of their policies are worse than the policy they started from.

    **Setting.** A hall and two rooms, in each of which one action pays 1; :math:`\pi_k` is uniform. Client A
    enters the left room with probability h and is right there with probability p, in the right room with q;
    client B is its mirror image; :math:`p + q < 1`, :math:`hp + (1-h)q > \tfrac12`, equal weights.

    **Statement.** Both are steps of DRPO for suitable critics, both are better than :math:`\pi_k`, and both
    means are worse:

    .. math:: J(\pi_k) &= \tfrac\gamma2, \quad & J(A) = J(B) &= \gamma (hp + (1-h) q), \\
              J(\mathrm{arithmetic}) &= \gamma\,\tfrac{p+q}{2}, \quad &
              J(\mathrm{geometric}) &= \gamma \frac{\sqrt{pq}}{\sqrt{pq} + \sqrt{(1-p)(1-q)}} .

    With :math:`\gamma = h = p = 0.9`, q = 0.02: 0.45, 0.7308, 0.414 and 0.27. The episode mixture, which
    draws a client once per episode, keeps 0.7308. D3 is not contradicted: its drift term exceeds the loss.

    **Proof.** By hand. By Lemma 1 the step for :math:`Q_i = \alpha \log(\pi_i/b_i) + \beta
    \log(\pi_i/\pi_k)` is :math:`\pi_i`, whatever positive policy that is. :math:`pq < (1-p)(1-q)` says
    :math:`p + q < 1`. The episode mixture is evaluated in the problem whose states remember the client.

    **Source.** Theory notes, DRPO section 4, CE2; h, p, q are added here.
    """

    id = "drpo.two-experts"
    mark = "ours"
    source = "theory notes, DRPO, CE2"
    suite = (Case(ROOMS), Case(ROOMS, seed=1))
    certified = (Case(ROOMS + ",gamma=9/10", draws=4),)
    small = None

    @hypothesis("the rooms of the textbook")
    def rooms(self, problem: FederatedCMDP) -> bool:
        known, cmdp = TEXTBOOK["opposite-rooms"].build().cmdp, problem.cmdp
        if cmdp.r.shape != known.r.shape:
            return False
        return bool((cmdp.P == known.P).all() and (cmdp.r == known.r).all() and (cmdp.rho == known.rho).all())

    @hypothesis("gamma is 0.9", only=["printed"])
    def discount(self, problem: FederatedCMDP) -> bool:
        return bool(abs(problem.cmdp.gamma - 0.9) < 1e-12)

    def setup(self, problem: FederatedCMDP, draws: int = 170, seed: int = 0) -> list[Experts]:
        """The experts of the notes, then random ones, half of them nearly deterministic; other discounts."""
        rng = np.random.default_rng(seed)
        tenth = Measured(1.0) / 10.0
        out = [_experts(problem.cmdp, rng, tenth, tenth, tenth / 5.0)]
        for k in range(1, draws):
            g, u = (Measured(x * (1e-6 if k % 2 else 0.2)) for x in rng.random(2))
            cmdp = problem.cmdp.replace(gamma=(0.5, 0.9, 0.99)[k % 3])
            out.append(_experts(cmdp, rng, g, u, u * rng.random()))
        return out

    @identity(r"\pi_i \text{ is the step for } Q_i")
    def steps(self, x: list[Experts]) -> Sides:
        return stacked((k.round.clients.p, k.experts.p) for k in x)

    @identity(r"(1-\gamma) J \text{ of } \pi_k, A, B, \text{ both means, as stated}")
    def values(self, x: list[Experts]) -> Sides:
        return stacked((k.values * k.round.discount, k.formula * k.round.discount) for k in x)

    @upper(r"J = 0.45, 0.7308, 0.7308, 0.414, 0.27 \text{ up to } 10^{-10}")
    def printed(self, x: list[Experts]) -> Sides:
        return (x[0].values - np.array([0.45, 0.7308, 0.7308, 0.414, 0.27])).abs(), Measured(1e-10)

    @upper(r"J(\pi_k) < J(A), \quad J(\pi_k) < J(B)")
    def clients_improve(self, x: list[Experts]) -> Sides:
        return stacked((k.values[:1] + np.zeros(2), k.values[1:3]) for k in x)

    @upper(r"J(\mathrm{arithmetic}) < J(\pi_k), \quad J(\mathrm{geometric}) < J(\pi_k)")
    def means_do_not(self, x: list[Experts]) -> Sides:
        return stacked((k.values[3:], k.values[:1] + np.zeros(2)) for k in x)

    @identity(r"J(\mathrm{episode mixture}) = \sum_i \omega_i J(\pi_i)")
    def episodes(self, x: list[Experts]) -> Sides:
        return stacked((_episodes(k.round), (k.round.J(k.round.clients) * k.round.weights).sum()) for k in x)

    @upper(r"\sum_i \omega_i J(\pi_i) - J(\mathrm{arithmetic}) \le \text{the drift of D3}")
    def drift(self, x: list[Experts]) -> Sides:
        return stacked((-drift(k.round, k.round.clients), most(k.round, k.round.clients)) for k in x)

    @control("the arithmetic mean keeps the clients' improvement, without a drift term", Case(ROOMS))
    def arithmetic_keeps(self, x: list[Experts]) -> Sides:
        return stacked((Measured(0.0), drift(k.round, k.round.clients)) for k in x)

    @control("the geometric mean is no worse than the policy before", Case(ROOMS))
    def geometric_keeps(self, x: list[Experts]) -> Sides:
        return stacked((k.values[0], k.values[4]) for k in x)

    @control("an episode mixture is not a mixture of actions", Case(ROOMS), kind=Kind.IDENTITY)
    def mixture_of_actions(self, x: list[Experts]) -> Sides:
        return stacked((_episodes(k.round), k.values[3]) for k in x)


def _experts(cmdp: CMDP, rng: np.random.Generator, g: Measured, u: Measured, q: Measured) -> Experts:
    half, h, p, wrong = Measured(0.5), -g + 1.0, -u + 1.0, -q + 1.0
    A, B = [h, g, p, u, q, wrong, half, half], [g, h, q, wrong, p, u, half, half]
    probabilities = Measured.stack([*A, *B]).reshape(2, 4, 2)
    experts = Law(probabilities.log(), probabilities, np.ones((2, 4, 2), dtype=bool))
    old = uniform(4, 2)
    data = Law.normalised(Measured(rng.standard_normal((2, 4, 2))), experts.support)
    alpha, beta = (Measured(x) for x in rng.uniform(0.1, 2.0, 2))
    log_b = data.plain
    Q = (experts.log - Law.of(log_b).log) * alpha + (experts.log - Law.of(old).log) * beta
    round_ = Round(cmdp, alpha, beta, Measured(np.ones(2)) / 2.0, old, log_b, Q)
    return Experts(round_, experts, g, u, q)


def _episodes(x: Round) -> Measured:
    """Value of the episode mixture: N copies of the problem with a client's policy in each, one of them drawn
    at the start."""
    cmdp, N = x.cmdp, x.N
    zero = array(np.zeros((cmdp.S, cmdp.A, cmdp.S)))
    rows = [concatenate([cmdp.P if i == j else zero for j in range(N)], 2) for i in range(N)]
    start = [array(cmdp.rho) * w for w in x.weights.plain]
    copies: Any = cmdp.replace(
        P=concatenate(rows),
        r=concatenate([cmdp.r] * N),
        c=array(np.zeros((0, N * cmdp.S, cmdp.A))),
        d=array(np.zeros(0)),
        rho=concatenate(start),
        state_names=None,
    )
    policy = concatenate([law for law in x.clients.plain])
    return evaluate(copies, policy, copies.r[None]).at_rho[0]
