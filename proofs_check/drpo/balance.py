r"""Theorem C: when a round of DRPO improves, from constants known before the round."""

from __future__ import annotations

import numpy as np

from proofs_check.drpo.first_order import apart, assured, gains, signal
from proofs_check.drpo.laws import Law, covariance
from proofs_check.drpo.maps import balance_map, heterogeneity
from proofs_check.drpo.step import FAMILIES, Round, Support, informed, rounds, stacked
from tabular_fedrl.algorithms.drpo_balance import balance
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, identity, study, tight, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import average
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy

Sides = tuple[Measured, Measured]


class Balance(Theorem):
    r"""A round of DRPO improves when its clients' signal agrees with the truth and the step is small.

    **Setting.** :math:`\mathrm{supp}\,\pi_k \subseteq \mathrm{supp}\,b_i`, :math:`\alpha \ge 0`, :math:`\beta
    > 0` (:math:`\beta = 0` too where the supports are equal; else the step goes wherever the data go, and is
    no tilt of :math:`\pi_k`), :math:`\eta = 1/(\alpha+\beta)`, :math:`U_i = Q_i + \alpha \ell_i`,
    :math:`\ell_i = \log(b_i/\pi_k)`, any critics :math:`Q_i`, weights that may depend on the state; over the
    support of :math:`\pi_k`, :math:`R_U = \max_{i,s} \mathrm{span}\,U_i` and :math:`R_Q = \max_s
    \mathrm{span}\,Q^{\pi_k}`;

    .. math:: \bar C = E_{d^{\pi_k}} \textstyle\sum_i \omega_i \mathrm{Cov}_{\pi_k}(U_i, Q^{\pi_k})
                     = E_{d^{\pi_k}}[\mathrm{Var}(Q^{\pi_k}) + \alpha\,\mathrm{Cov}(\bar\ell, Q^{\pi_k})
                       + \mathrm{Cov}(\bar e, Q^{\pi_k})] .

    **Statement.** For the arithmetic and for the geometric mean,

    .. math:: J(\pi_{k+1}) - J(\pi_k) \ge \frac{\eta}{1-\gamma}
              \Big[\bar C - \frac{\eta R_U^2 R_Q}{8(1-\gamma)}\Big] .

    The round strictly improves if :math:`\bar C > 0` and :math:`\alpha + \beta > R_U^2 R_Q/(8(1-\gamma)\bar
    C)`. At :math:`\eta^\star = 4(1-\gamma)|\bar C|/(R_U^2 R_Q)` and below, if such a :math:`\beta` reaches
    it, the gain is at least :math:`\eta|\bar C|/(2(1-\gamma))` (at :math:`\eta^\star`: :math:`2 \bar C^2 /
    (R_U^2 R_Q)`) when :math:`\bar C > 0`, and the loss is when :math:`\bar C < 0`. With critics that do not
    depend on :math:`\beta`, :math:`\beta [J(\pi_{k+1}) - J(\pi_k)] \to \bar C/(1-\gamma)`: the sign of
    :math:`\bar C` is the balance condition for large :math:`\beta`.

    Both ways, and with the best constant of a single state,

    .. math:: \Big|J(\pi_{k+1}) - J(\pi_k) - \frac{\eta \bar C}{1-\gamma}\Big| \le
              \frac{\eta^2 R_U^2 R_Q}{1-\gamma} \Big[\frac{1}{12\sqrt3} + \frac{\gamma}{8(1-\gamma)}\Big] .

    C.1: :math:`\bar C \ge E_{d^{\pi_k}}\,\mathrm{sd}(Q^{\pi_k})\,\{\mathrm{sd}(Q^{\pi_k}) - \alpha\,
    \mathrm{sd}(\bar\ell) - \mathrm{sd}(\bar e)\}`: the signal must dominate :math:`\alpha` times the
    log-ratio of data and policy, and the averaged critic error.

    **Proof.** :math:`\bar g(s) = \langle\pi_{k+1}, A^{\pi_k}\rangle`. (1) The tilt lemma (d) gives
    :math:`|\bar g - \eta \sum_i \omega_i \mathrm{Cov}(U_i, Q)| \le \eta^2 R_U^2 R_Q/8`. (2) :math:`|\bar g|
    \le R_Q\,\mathrm{TV} \le \eta R_U R_Q/4`. (3) :math:`\|d^{\pi_{k+1}} - d^{\pi_k}\|_1 \le
    \frac{2\gamma}{1-\gamma} \cdot \frac{\eta R_U}{4}`. So :math:`E_{d^{\pi_{k+1}}} \bar g` is within
    :math:`\frac{\eta^2 R_U^2 R_Q}{8} (1 + \frac{\gamma}{1-\gamma})` of :math:`\eta \bar C`; divide by
    :math:`1-\gamma`. For the geometric mean :math:`\mathrm{span}\,\bar U \le R_U`. C.1 is the Cauchy-Schwarz
    inequality for the two covariances, in every state.

    *The best constant in (1).* Its error is :math:`\int_0^\eta (\eta-u)\, E_{p_u}[(U-\bar U)^2 (f - \bar f)]
    du`. For U in [0, 1] and f in [0, 1] the extreme f is the indicator of a set B of probability q, which
    gives :math:`q(1-q)\{E[(U-\bar U)^2|B] - E[(U-\bar U)^2|B^c]\}`. With the means u on B and c elsewhere
    this is at most :math:`q(1-q)\{u(1-u) + (1-2q)(u-c)^2\}`: for :math:`q \ge 1/2` at most 1/16, for
    :math:`q < 1/2` (let :math:`u \ge 1/2`, c = 0) at most :math:`q(1-q)u(1-2qu)`, whose maximum over u is
    :math:`(1-q)/8` for :math:`q \ge 1/4` and :math:`q(1-q)(1-2q) \le 1/(6\sqrt3)` below: the third moment
    of a coin with :math:`q(1-q) = 1/6`. Integrate.

    **Source.** Theory notes, DRPO section 3.5; the constant :math:`12\sqrt3` is added here.
    """

    id = "drpo.balance"
    mark = "ours"
    source = "theory notes, DRPO, Theorem C and C.1"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", statewise=True, seed=1),
        Case("garnet:S=12,A=3,b=2,seed=2", support="nested", noise=0.0, seed=1),
    )
    small = {"draws": 4}
    certified = (Case("textbook:two-arm", draws=4), Case("textbook:three-state", draws=2, clients=2))

    @hypothesis("the support of the global policy lies in every client's")
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    def setup(
        self,
        problem: FederatedCMDP,
        support: Support = "full",
        statewise: bool = False,
        noise: float = 0.3,
        clients: int = 3,
        draws: int = 40,
        seed: int = 0,
    ) -> list[Round]:
        given = {"clients": clients, "noise": noise, "support": support, "statewise": statewise}
        return apart(rounds(problem, draws, seed, **given))

    @upper(r"\frac{\eta}{1-\gamma}[\bar C - \frac{\eta R_U^2 R_Q}{8(1-\gamma)}] \le J(\pi_{k+1}) - J(\pi_k)")
    def improvement(self, x: list[Round]) -> Sides:
        return stacked((_floor(r), r.improvement(law)) for r in x for law in (r.arithmetic, r.geometric))

    @upper(
        r"|J(\pi_{k+1}) - J(\pi_k) - \frac{\eta\bar C}{1-\gamma}| \le"
        r"\frac{\eta^2 R_U^2 R_Q}{1-\gamma}[\frac{1}{12\sqrt3} + \frac{\gamma}{8(1-\gamma)}]"
    )
    def expansion(self, x: list[Round]) -> Sides:
        return stacked(_expansion(r, law) for r in x for law in (r.arithmetic, r.geometric))

    @upper(
        r"\frac{\eta|\bar C|}{2(1-\gamma)} \le \mathrm{sign}(\bar C)\,[J(\pi_{k+1}) - J(\pi_k)]"
        r"\text{ for tilts with } \eta = \min(\eta^\star, 1/\alpha), \bar C \ne 0"
    )
    def balance(self, x: list[Round]) -> Sides:
        return stacked(assured(r, r.U, r.alpha) for r in x)

    @upper(
        r"|\beta [J(\pi_{k+1}) - J(\pi_k)] - \frac{\bar C}{1-\gamma}| \le \eta\{"
        r"\frac{\beta}{\alpha+\beta} \frac{R_U^2 R_Q}{8(1-\gamma)^2} + \frac{\alpha|\bar C|}{1-\gamma}\}"
        r"\text{ for } \beta = R_U, 10^4 R_U"
    )
    def limit(self, x: list[Round]) -> Sides:
        return stacked(_limit(r, r.C_bar / r.discount, far) for r in x for far in (1.0, 1e4))

    @tight(
        r"E_{d^{\pi_k}}\,\mathrm{sd}(Q^{\pi_k})\{\mathrm{sd}(Q^{\pi_k}) - \alpha\,\mathrm{sd}(\bar\ell) -"
        r"\mathrm{sd}(\bar e)\} \le \bar C"
    )
    def two_tiers(self, x: list[Round]) -> Sides:
        return stacked((_dominance(r, r.alpha), r.C_bar) for r in x)

    @identity(r"\bar C \text{ and the bound are what the algorithm computes}")
    def algorithm(self, x: list[Round]) -> Sides:
        return stacked(sides for r in x for sides in _computed(r))

    @control("the sign of the pull to the data in C-bar", Case("random-mdp:seed=1"))
    def flipped_pull(self, x: list[Round]) -> Sides:
        return stacked(_limit(r, signal(r, r.Q - r.ell * r.alpha) / r.discount, 1e4) for r in x)

    @control("the factor 1/(1-gamma) of the first order", Case("random-mdp:seed=1"))
    def factor_dropped(self, x: list[Round]) -> Sides:
        return stacked(_limit(r, r.C_bar, 1e4) for r in x)

    @control("the average over the states visited, not over the first state", Case("random-mdp:seed=1"))
    def first_state(self, x: list[Round]) -> Sides:
        covariances = ((r, r.over_clients(covariance(r.old, r.U, r.q))) for r in x)
        return stacked(_limit(r, average(Measured(r.cmdp.rho), c) / r.discount, 1e4) for r, c in covariances)

    @control("the error is of second order in eta, and not smaller", Case("random-mdp:seed=1"))
    def third_order(self, x: list[Round]) -> Sides:
        sides = [_limit(r, r.C_bar / r.discount, 1e7) for r in x]
        return stacked((left, right * 1e-7) for left, right in sides)  # eta R_U <= 1e-7

    @control(
        "12 sqrt(3) = 20.78 cannot be 20.8: a coin of the largest third moment", Case("textbook:two-arm")
    )
    def third_moment(self, x: list[Round]) -> Sides:
        coin = _coin(x[0].cmdp)
        first = coin.eta * coin.C_bar
        return (gains(coin, coin.U, coin.eta) - first).abs(), coin.eta**2 * coin.R_U**2 * coin.R_Q / 20.8

    @control(
        "C-bar says nothing where a client lacks actions of the global policy",
        Case("random-mdp:seed=1", support="crossing"),
    )
    def uncovered(self, x: list[Round]) -> Sides:
        return stacked((_floor(r), r.improvement(r.arithmetic)) for r in x)

    @control(
        "beta = 0, and data with an action that the global policy lacks: the step goes there",
        Case("textbook:heterogeneous-bandit"),
    )
    def no_server(self, x: list[Round]) -> Sides:
        r = _lured(x[0].cmdp)
        return _floor(r), r.improvement(r.arithmetic)

    @control("both tiers count: the log-ratio of data and policy left out", Case("random-mdp:seed=1"))
    def one_tier(self, x: list[Round]) -> Sides:
        return stacked((_dominance(r, Measured(0.0)), r.C_bar) for r in x)

    @study("balance_map")
    def map(self) -> StudyData:
        """The exact gain of one round over the plane of the weights; the sign of C-bar decides for large
        beta."""
        return balance_map()

    @study("heterogeneity")
    def tiers(self) -> StudyData:
        r"""Clients that differ: the two tiers of the cost, and where a round improves under three means; the
        region is :math:`\bar C > 0` for large beta."""
        return heterogeneity()


def _floor(x: Round) -> Measured:
    return x.eta / x.discount * (x.C_bar - x.eta * x.R_U**2 * x.R_Q / (x.discount * 8.0))


def _computed(x: Round) -> list[Sides]:
    """What Theorem C says here and in :mod:`tabular_fedrl.algorithms.drpo_balance`."""
    found = balance(x.cmdp, x.log_pi, x.log_b, x.Q, x.weights.plain)
    # In units of the reward.
    unit, scale = x.R_U / x.discount, x.eta * x.R_U / x.discount**2
    bounds = found.guarantee(x.alpha, x.eta) / scale, _floor(x) / scale
    return [(found.C_bar(x.alpha) / unit, x.C_bar / unit), bounds]


def _expansion(x: Round, law: Law) -> Sides:
    share = (Measured(3.0).sqrt() * 12.0).reciprocal() + Measured(x.cmdp.gamma) / (x.discount * 8.0)
    second = (x.eta * x.R_U) ** 2 * x.R_Q / x.discount * share
    return (x.improvement(law) - x.eta * x.C_bar / x.discount).abs(), second


def _limit(x: Round, limit: Measured, far: float) -> Sides:
    r"""Both sides of the limit at :math:`\beta = \mathrm{far} \cdot R_U`."""
    beta = x.R_U * far
    eta = (x.alpha + beta).reciprocal()
    left = (gains(x, x.U, eta) * beta - limit).abs()
    second = x.R_U**2 * x.R_Q / (x.discount**2 * 8.0)
    right = eta * (beta * eta * second + x.alpha * x.C_bar.abs() / x.discount)
    return left, right + np.zeros(2)


def _dominance(x: Round, alpha: Measured) -> Measured:
    signal, data, error = (_sd(x.old, f) for f in (x.q, x.over_clients(x.ell), x.over_clients(x.errors)))
    return x.expected(x.old, signal * (signal - alpha * data - error))


def _sd(p: Law, f: Measured) -> Measured:
    return covariance(p, f, f).sqrt()


def _lured(arms: CMDP) -> Round:
    """Three arms: the policy has two good ones, the data mostly the third, and the server has no weight."""
    log_pi, log_b = (log_policy([p], 1, 3) for p in ([0.5, 0.5, 0.0], [0.05, 0.05, 0.9]))
    return informed(arms.replace(r=[[1.0, 0.8, 0.0]]), log_pi, log_b[None], 100.0, 0.0)


def _coin(arms: CMDP) -> Round:
    r"""A coin with :math:`q(1-q) = 1/6`, whose data are its own: a short step."""
    q = (Measured(3.0) - Measured(3.0).sqrt()) / 6.0
    log_pi = Measured.stack([q, Measured(1.0) - q]).log().reshape(1, 2).plain
    return informed(arms, log_pi, log_pi[None], 1.0, 99.0)
