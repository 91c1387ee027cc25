r"""Theorem E, first part: with regularised evaluation every round is an improvement, exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from proofs_check.drpo.improvement_study import improvement_study
from proofs_check.drpo.laws import Law, kl, mixture, span
from proofs_check.drpo.objective import Objective
from proofs_check.drpo.path import Move, arms, follow, starts, step
from proofs_check.drpo.step import FAMILIES, Round, Support, stacked
from tabular_fedrl.algorithms.drpo_steps import aggregate
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.claims import (
    Case,
    Kind,
    StudyData,
    Theorem,
    control,
    hypothesis,
    identity,
    study,
    tight,
    upper,
)
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured

_FEW = Case("random-mdp:seed=1", draws=3)


class RegularisedImprovement(Theorem):
    r"""With regularised evaluation every round improves, strictly, by an exact amount.

    **Setting.** Behaviours :math:`b_i` that stay the same over the rounds and weights :math:`\omega_i` that
    are the same in every state; :math:`\alpha > 0`, :math:`\beta \ge 0`, :math:`\tau = \alpha + \beta`;
    :math:`\mathrm{supp}\,\pi_0 \subseteq \mathrm{supp}\,b_i`, and equal if :math:`\beta = 0`; no client
    abstains anywhere. The objective is

    .. math:: J_\alpha(\pi) = J(\pi) - \tfrac{\alpha}{1-\gamma} E_{d^\pi} \textstyle\sum_i \omega_i
              KL(\pi\|b_i) = \tfrac{1}{1-\gamma} E_{d^\pi} [\langle \pi, r - \alpha H_b\rangle -
              \alpha KL(\pi\|\bar b)]

    with :math:`\bar b \propto \prod_i b_i^{\omega_i}` and :math:`H_b = -\log\sum_a\prod_i b_i^{\omega_i}`.
    For one client it is :math:`\frac1{1-\gamma} E_{d^\pi}[\langle\pi,r\rangle - \alpha KL(\pi\|b)]`.

    **Algorithm.** Each client evaluates :math:`\pi_k` with its own regulariser, :math:`Q_i = r + \gamma P
    V_{\alpha,i}^{\pi_k}`, and takes its R-step; the server takes the geometric mean (A2). No :math:`b_i` is
    shared.

    **Statement.** (Remark) :math:`\sum_i \omega_i Q_i - \alpha H_b` is the regularised Q for
    :math:`\bar b` and the reward :math:`r - \alpha H_b`, and the geometric mean of the clients' steps is the
    R-step on it. (E1) In every round

    .. math:: J_\alpha(\pi_{k+1}) - J_\alpha(\pi_k) = \tfrac{1}{1-\gamma} E_{d^{\pi_{k+1}}}
              [\beta KL(\pi_{k+1}\|\pi_k) + (\alpha+\beta) KL(\pi_k\|\pi_{k+1})] ,

    which is positive unless :math:`\pi_{k+1} = \pi_k` wherever :math:`\pi_{k+1}` goes; and
    :math:`V_\alpha^{\pi_k} \le V_\alpha^{\pi_{k+1}}` in every state. (E5) The arithmetic mean :math:`\bar p`
    of the same steps gains

    .. math:: \tfrac{1}{1-\gamma} E_{d^{\bar p}} [\beta KL(\bar p\|\pi_k) + (\alpha+\beta)
              (KL(\pi_k\|\pi_{k+1}) - KL(\bar p\|\pi_{k+1}))] ,

    in which what disagreement costs is at most

    .. math:: (\alpha+\beta) KL(\bar p\|\pi_{k+1}) \le \tfrac{1}{8(\alpha+\beta)} \textstyle\sum_i \omega_i
              \mathrm{span}(U_i - \bar U)^2, \qquad U_i = Q_i + \alpha\log(b_i/\pi_k) .

    **Proof.** Evaluation is linear in the reward and :math:`\sum_i \omega_i KL(\pi\|b_i) = KL(\pi\|\bar b) +
    H_b`: the remark; a constant of the state does not move a step. With :math:`f(p) = \langle p,
    Q_\alpha\rangle - \alpha KL(p\|\bar b) - \beta KL(p\|\pi_k)` the three-point identity reads
    :math:`f(\pi_{k+1}) - f(q) = \tau KL(q\|\pi_{k+1})`, and :math:`f(\pi_k) = V_\alpha^{\pi_k}`. So in every
    state

    .. math:: \delta = \langle \pi_{k+1}, Q_\alpha\rangle - \alpha KL(\pi_{k+1}\|\bar b) - V_\alpha^{\pi_k} =
              \beta KL(\pi_{k+1}\|\pi_k) + \tau KL(\pi_k\|\pi_{k+1}) \ge 0 ,

    and the performance difference of :math:`J_\alpha` is :math:`\frac1{1-\gamma} E_{d^{\pi_{k+1}}} \delta`,
    from every start. E5: the same with :math:`\bar p` for :math:`\pi_{k+1}`, and
    :math:`f(\bar p) - f(\pi_k) = \tau[KL(\pi_k\|\pi_{k+1}) - KL(\bar p\|\pi_{k+1})]`; KL is convex and
    :math:`\pi_i \propto \pi_{k+1} e^{(U_i - \bar U)/\tau}` an exponential tilt.

    For the plain J improvement is conditional, with exact critics too: the first control.

    Both sides are given in units of the largest value of :math:`V_\alpha^{\pi_k}`, if that exceeds 1.

    **Source.** Theory notes, DRPO section 3.8.
    """

    id = "drpo.regularised-improvement"
    mark = "ours"
    source = "theory notes, DRPO, Theorem E (E1, E5, remark)"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", clients=1, draws=10, seed=1),
        Case("garnet:S=12,A=3,b=2,seed=2", clients=5, draws=10, seed=1),
        Case("random-mdp:nS=6,nA=3,seed=2", beta=0.0, support="full", draws=10, seed=1),
        Case("random-mdp:seed=1", draws=2, rounds=25, alpha=0.3, beta=2.0, seed=2),
    )
    small = {"draws": 2}
    certified = (
        Case("textbook:three-state", draws=2, rounds=3, support="full"),
        Case("random-mdp:seed=1", draws=2, clients=2),
    )

    @hypothesis("alpha > 0, beta >= 0")
    def held(self, problem: FederatedCMDP, alpha: float | None, beta: float | None) -> bool:
        return (alpha is None or alpha > 0) and (beta is None or beta >= 0)

    @hypothesis("the support of the first policy within that of the data")
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    @hypothesis("beta > 0, or the data have the support of the first policy")
    def within_the_server(self, problem: FederatedCMDP, beta: float | None, support: Support) -> bool:
        return beta is None or beta > 0 or support == "full"

    @hypothesis("the behaviours are fixed: no client abstains")
    def data_everywhere(self, problem: FederatedCMDP, abstains: bool) -> bool:
        return not abstains

    @hypothesis("weights that are the same in every state")
    def constant_weights(self, problem: FederatedCMDP, statewise: bool) -> bool:
        return not statewise

    @hypothesis("more than one client", only=["loss"])
    def several(self, problem: FederatedCMDP, clients: int) -> bool:
        return clients > 1

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        beta: float | None = None,
        clients: int = 2,
        support: Support = "nested",
        rounds: int = 2,
        draws: int = 30,
        seed: int = 0,
        statewise: bool = False,
        abstains: bool = False,
    ) -> list[list[Move]]:
        drawn = starts(
            problem,
            draws,
            seed,
            alpha=alpha,
            beta=beta,
            clients=clients,
            support=support,
            statewise=statewise,
        )
        return [_abstaining(x, rounds) if abstains else follow(x, rounds) for x in drawn]

    @identity(r"\sum_i \omega_i Q_i = Q_\alpha + \alpha H_b")
    def critics(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.round.over_clients(m.critics), m.before.Q[0] + m.objective.charge))

    @identity(r"\mathrm{span}(\tau\log\pi_{k+1} - \alpha\log\bar b - \beta\log\pi_k - Q_\alpha) = 0")
    def steps(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.spread, m.spread * 0.0))

    @identity(
        r"J_\alpha(\pi_{k+1}) = J_\alpha(\pi_k) + \tfrac{1}{1-\gamma} E_{d^{\pi_{k+1}}}"
        r"[\beta KL(\pi_{k+1}\|\pi_k) + (\alpha+\beta) KL(\pi_k\|\pi_{k+1})]"
    )
    def improvement(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.after.at_rho, _reached(m, m.gain)))

    @upper(
        r"0 < \tfrac{1}{1-\gamma} E_{d^{\pi_{k+1}}}[\beta KL(\pi_{k+1}\|\pi_k) + (\alpha+\beta)"
        r" KL(\pi_k\|\pi_{k+1})] \text{ while the policy moves}"
    )
    def strict(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        moving = [[m for m in path if not m.settled] for path in x]
        return _over(moving, lambda m: (Measured(0.0), m.objective.discounted(m.new, m.gain)))

    @tight(r"V_\alpha^{\pi_k} \le V_\alpha^{\pi_{k+1}}")
    def everywhere(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.before.V, m.after.V))

    @identity(
        r"J_\alpha(\bar p) = J_\alpha(\pi_k) + \tfrac{1}{1-\gamma} E_{d^{\bar p}}[\beta KL(\bar p\|\pi_k) +"
        r" (\alpha+\beta)(KL(\pi_k\|\pi_{k+1}) - KL(\bar p\|\pi_{k+1}))]"
    )
    def heterogeneity(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: _arithmetic(m, 1.0))

    @upper(
        r"(\alpha+\beta) KL(\bar p\|\pi_{k+1}) \le \tfrac{1}{8(\alpha+\beta)} \sum_i \omega_i"
        r"\,\mathrm{span}(U_i - \bar U)^2"
    )
    def loss(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, _disagreement)

    @control("the plain J, with an exact critic (CE1)", Case("textbook:two-arm", draws=1))
    def plain(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        bandit = arms(x[0][0].round.cmdp, alpha=1.1 / np.log(9), beta=1.0, pi=(0.9, 0.1), b=(0.5, 0.5))
        m = step(Objective(bandit), bandit.log_pi)
        J = [evaluate(m.round.cmdp, log_pi).at_rho[0] for log_pi in (m.old, m.new)]
        return J[0], J[1]

    @control("the visitation of the old policy", _FEW, kind=Kind.IDENTITY)
    def old_visitation(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.after.at_rho, _reached(m, m.gain, along=m.old)))

    @control("without 1/(1-gamma)", _FEW, kind=Kind.IDENTITY)
    def undiscounted(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.after.at_rho, _reached(m, m.gain * m.round.discount)))

    @control("the two divergences exchanged", _FEW, kind=Kind.IDENTITY)
    def exchanged(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        def turned(m: Move) -> Measured:
            return kl(m.pi, m.next) * m.round.beta + kl(m.next, m.pi) * m.round.tau

        return _over(x, lambda m: (m.after.at_rho, _reached(m, turned(m))))

    @control("the arithmetic mean without what disagreement costs", _FEW)
    def no_loss(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: _arithmetic(m, 0.0)[::-1])

    @control(
        "a client abstains, and its behaviour follows the server",
        Case("random-mdp:seed=1", draws=3, abstains=True),
        kind=Kind.IDENTITY,
    )
    def abstention(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        # Measured with the behaviours of the round before.
        pairs = [(before.objective, m) for path in x for before, m in pairwise(path)]
        return stacked(
            (f.values(m.new).at_rho, f.values(m.old).at_rho + f.discounted(m.new, m.gain)) for f, m in pairs
        )

    @control(
        "weights that depend on the state",
        Case("random-mdp:seed=1", draws=3, statewise=True),
        kind=Kind.IDENTITY,
    )
    def local_weights(self, x: list[list[Move]]) -> tuple[Measured, Measured]:
        return _over(x, lambda m: (m.round.over_clients(m.critics), m.before.Q[0] + m.objective.charge))

    @study("improvement")
    def improvement_per_round(self) -> StudyData:
        """The plain J on sampled data: both regularisers, each alone, none."""
        return improvement_study("garnet:S=20,A=4,b=3,seed=1", data_sets=12)


def _over(
    x: list[list[Move]], sides: Callable[[Move], tuple[Measured, Measured]]
) -> tuple[Measured, Measured]:
    """Both sides for every round of every path, in the unit of the round."""
    scaled = [tuple(side / m.size for side in sides(m)) for path in x for m in path]
    return stacked(scaled)  # type: ignore[arg-type]


def _reached(m: Move, gain: Measured, along: Any | None = None) -> Measured:
    r""":math:`J_\alpha(\pi_k) + \frac{1}{1-\gamma} E_d\,\mathrm{gain}`, for :math:`d^{\pi_{k+1}}` by
    default."""
    log_pi = m.new if along is None else along
    return m.before.at_rho + m.objective.discounted(log_pi, m.blurred(gain, m.next))


def _arithmetic(m: Move, counted: float) -> tuple[Measured, Measured]:
    """E5, with what disagreement costs counted so many times."""
    x = m.round
    log_p = aggregate("arithmetic", m.local, x.weights.plain)
    p = Law.of(log_p)
    gain = kl(p, m.pi) * x.beta + (kl(m.pi, m.next) - kl(p, m.next) * counted) * x.tau
    right = m.before.at_rho + m.objective.discounted(log_p, m.blurred(gain, p))
    return m.objective.values(log_p).at_rho, right


def _disagreement(m: Move) -> tuple[Measured, Measured]:
    """Both sides of the bound on the loss, state by state."""
    x, locals_ = m.round, Law.of(m.local)
    U = m.critics + x.behaviour.log * x.alpha
    spans = span(U - x.over_clients(U), locals_.support)
    bound = x.over_clients(spans * spans) / (x.tau * 8.0)
    # Where clients agree, or have one action, both sides are 0 up to rounding.
    differ = bound.value > 1e-10
    return (kl(mixture(locals_, x.omega), m.next) * x.tau)[differ], bound[differ]


def _abstaining(x: Round, rounds: int) -> list[Move]:
    """Rounds in which the first client has no data and stands for the server's policy of the round."""
    moves, old = [], x.log_pi
    for _ in range(rounds):
        moves.append(step(Objective(replace(x, log_b=concatenate([old[None], x.log_b[1:]]))), old))
        old = moves[-1].new
    return moves
