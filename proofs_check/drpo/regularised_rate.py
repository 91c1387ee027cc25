r"""Theorem E, second part: how fast regularised evaluation converges, and how far from the optimum of J."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from proofs_check.drpo.convergence import Convergence, Seen, converging
from proofs_check.drpo.laws import Law, kl
from proofs_check.drpo.objective import Objective
from proofs_check.drpo.path import Move, arms, starts, step
from proofs_check.drpo.step import FAMILIES, Support, stacked
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.solvers import solve

SEEN = 1e-8
"""Rounds with a potential below this, in units of the values, are left out: in floats it is noise."""


class RegularisedRate(Theorem):
    r"""With regularised evaluation the rounds converge linearly to the regularised optimum.

    **Setting.** As in ``drpo.regularised-improvement``, and :math:`\mathrm{supp}\,\pi_0 =
    \mathrm{supp}\,\bar b`. :math:`\pi^\star \propto \bar b\,e^{Q^\star/\alpha}` maximises :math:`J_\alpha`;
    :math:`\nu^\star` is a stationary law of :math:`P_{\pi^\star}`, any one; and

    .. math:: \Delta_k = E_{\nu^\star}[V_\alpha^\star - V_\alpha^{\pi_k}], \quad
              D_k = E_{\nu^\star} KL(\pi^\star\|\pi_k), \quad \Phi_k = \Delta_k + (\alpha+\beta) D_k, \quad
              \lambda = \max\{\gamma, \tfrac{\beta}{\alpha+\beta}\} .

    **Statement.** (E2) :math:`\Phi_{k+1} \le \gamma\Delta_k + \beta D_k \le \lambda \Phi_k`. The first
    inequality holds for *every* policy p in the place of :math:`\pi^\star`, with its own stationary law. (E3)
    If the critics err by :math:`e_i` and :math:`\mathrm{span}\sum_i\omega_i e_i \le \epsilon` in every state,

    .. math:: \Phi_{k+1} \le \lambda \Phi_k + \epsilon +
              \tfrac{\gamma}{1-\gamma} \tfrac{\epsilon^2}{8\alpha + 16\beta} .

    (E4) :math:`\max_\pi J - J(\pi^\star) \le \frac{\alpha}{1-\gamma} E_{d^{o}} \sum_i \omega_i KL(o\|b_i)`
    for an optimal policy o of J.

    **Proof.** The three-point identity at q = p gives, with :math:`\delta` as for E1,

    .. math:: \delta - \beta KL(\pi_{k+1}\|\pi_k) = \langle p, Q_\alpha\rangle - \alpha KL(p\|\bar b) -
              V_\alpha^{\pi_k} - \beta KL(p\|\pi_k) + \tau KL(p\|\pi_{k+1}) ,

    and the first three terms average to :math:`(1-\gamma)\Delta_k` over a law that is stationary for p. As
    :math:`\delta \ge 0`, :math:`V_\alpha^{\pi_{k+1}} - V_\alpha^{\pi_k} \ge \delta`, so that
    :math:`\Delta_k - \Delta_{k+1} \ge (1-\gamma)\Delta_k - \beta D_k + \tau D_{k+1}`. For
    :math:`p = \pi^\star`, :math:`\Delta_k \ge 0` gives the factor. E3: the identity acquires
    :math:`-\langle\pi_{k+1} - p, e\rangle \ge -\epsilon`, and :math:`\delta \ge (2\alpha + 4\beta) T^2 -
    \epsilon T \ge -\epsilon^2/(8\alpha + 16\beta)`, T the total variation of the step. E4:
    :math:`J(\pi^\star) \ge J_\alpha(\pi^\star) \ge J_\alpha(o)`.

    **Numbers.** :math:`V^\star` is enclosed by its Bellman residual. For :math:`\nu^\star` stands a law
    :math:`\nu` that is nearly stationary; the proof leaves :math:`\gamma E_{\nu P - \nu}[V^\star - V_k]` for
    it on the right, which is counted. What rounding does to a step is an error of its critic, and is counted
    as in E3. Sides are in units of the largest value.

    **Source.** Theory notes, DRPO section 3.8; that the first inequality holds for every policy is added
    here.
    """

    id = "drpo.regularised-rate"
    mark = "ours"
    source = "theory notes, DRPO, Theorem E (E2, E3, E4)"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("garnet:S=12,A=3,b=2,seed=2", support="nested", draws=10, seed=1),
        Case("random-mdp:nS=6,nA=3,seed=2", beta=0.0, draws=10, seed=1),
        Case("random-mdp:seed=1", draws=2, rounds=25, alpha=0.3, beta=2.0, seed=2),
    )
    small = {"draws": 2}
    certified = (
        Case("textbook:three-state", draws=2, rounds=3),
        Case("random-mdp:nS=6,nA=3,seed=2", draws=2),
    )

    @hypothesis("alpha > 0, beta >= 0")
    def held(self, problem: FederatedCMDP, alpha: float | None, beta: float | None) -> bool:
        return (alpha is None or alpha > 0) and (beta is None or beta >= 0)

    @hypothesis("the data have the support of the first policy")
    def same_support(self, problem: FederatedCMDP, support: Support, wider: bool) -> bool:
        return support != "crossing" and not wider

    @hypothesis("the data cover an optimal policy", only=["bias"])
    def optimum_covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support == "full"

    def setup(
        self,
        problem: FederatedCMDP,
        alpha: float | None = None,
        beta: float | None = None,
        clients: int = 2,
        support: Support = "full",
        wider: bool = False,
        rounds: int = 2,
        draws: int = 30,
        seed: int = 0,
    ) -> list[Convergence]:
        rng = np.random.default_rng((seed, 1))
        drawn = starts(
            problem, draws, seed, not wider, alpha=alpha, beta=beta, clients=clients, support=support
        )
        return [converging(rng, x, rounds) for x in drawn]

    @upper(r"\Phi_{k+1} \le \lambda \Phi_k, \quad \lambda = \max\{\gamma, \tfrac{\beta}{\alpha+\beta}\}")
    def rate(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        return _over((s for c in x for s in c.exact), lambda s: (s.next_potential, s.shrunk(_rate(s))))

    @tight(
        r"E_\nu[V_\alpha^p - V_\alpha^{\pi_{k+1}}] + \tau E_\nu KL(p\|\pi_{k+1}) \le"
        r" \gamma E_\nu[V_\alpha^p - V_\alpha^{\pi_k}] + \beta E_\nu KL(p\|\pi_k) \text{ for every } p",
        attained=Case("textbook:two-arm", beta=0.0, draws=1),
    )
    def comparator(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        return _over((s for c in x for s in c.other), lambda s: (s.next_potential, s.contracted))

    @chain("comparator")
    def comparator_chain(self, x: list[Convergence]) -> Iterator[tuple[str, Measured]]:
        def link(value: Callable[[Seen], Measured]) -> Measured:
            return _over((s for c in x for s in c.other), lambda s: (value(s), Measured(0.0)))[0]

        def gained(s: Seen) -> Measured:
            delta = s.mean(s.move.blurred(s.move.gain, s.move.next))
            return s.gap - delta + s.next_divergence * s.x.tau + s.slack

        yield "the next potential", link(lambda s: s.next_potential)
        yield "every state gains at least delta", link(gained)
        yield (
            "three-point identity, nu stationary",
            link(lambda s: s.contracted - s.mean(kl(s.move.next, s.move.pi)) * s.x.beta),
        )
        yield "divergences are not negative", link(lambda s: s.contracted)

    @upper(
        r"\Phi_{k+1} \le \lambda \Phi_k + \epsilon + \tfrac{\gamma}{1-\gamma}"
        r"\tfrac{\epsilon^2}{8\alpha+16\beta}"
    )
    def errors(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        return _over((s for c in x for s in c.wrong), lambda s: (s.next_potential, s.shrunk(_rate(s))))

    @upper(r"\max_\pi J - J(\pi^\star) \le \tfrac{\alpha}{1-\gamma} E_{d^{o}} \sum_i \omega_i KL(o\|b_i)")
    def bias(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        return stacked(_bias(c.exact[0].target.objective) for c in x)

    @control("the square of beta/(alpha+beta)", Case("textbook:two-arm", draws=6, alpha=0.5, beta=5.0))
    def squared(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        def rate(s: Seen) -> Measured:
            return ((Measured(1.0) - s.x.w) ** 2).maximum(s.x.cmdp.gamma)

        return _over((s for c in x for s in c.exact), lambda s: (s.next_potential, s.shrunk(rate(s))))

    @control("gamma left out", Case("random-mdp:seed=1", draws=6, beta=0.01))
    def no_gamma(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        moves = (s for c in x for s in c.exact)
        return _over(moves, lambda s: (s.next_potential, s.shrunk(Measured(1.0) - s.x.w)))

    @control("plain evaluation", Case("random-mdp:seed=1", draws=6, alpha=0.3, beta=0.3))
    def plain_evaluation(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        seen = (Seen(c.exact[0].target, m) for c in x for m in _plainly(c.exact[0], 8))
        return _over(seen, lambda s: (s.next_potential, s.potential * _rate(s)))

    @control("critics that err, without epsilon", Case("random-mdp:seed=1", draws=6, rounds=4))
    def no_epsilon(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        return _over((s for c in x for s in c.wrong), lambda s: (s.next_potential, s.potential * _rate(s)))

    @control(
        "the first policy lacks actions of the data, the divergence counted where it is finite",
        Case("random-mdp:seed=1", draws=6, rounds=8, support="nested", wider=True, beta=0.1),
    )
    def lacking(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        def counted(s: Seen) -> Seen:
            t, support = s.target, s.move.pi.support
            part = replace(t, law=Law.normalised(t.law.log, support))
            # What is compared, and where, stays the optimum and its stationary law.
            part.__dict__.update(kernel=t.kernel, nu=t.nu)
            return Seen(part, s.move)

        seen = (counted(s) for c in x for s in c.exact)
        return _over(seen, lambda s: (s.next_potential, s.potential * _rate(s)))

    @control("three quarters of the bias", Case("textbook:two-arm", draws=1))
    def less_bias(self, x: list[Convergence]) -> tuple[Measured, Measured]:
        # The data hardly ever pull the arm that pays, and alpha is just large enough to leave it there.
        bandit = arms(x[0].exact[0].x.cmdp, alpha=0.06, beta=1.0, pi=(0.5, 0.5), b=(np.exp(-20), 1.0))
        left, right = _bias(Objective(bandit))
        return left, right * 0.75


def _over(
    rounds: Iterable[Seen], sides: Callable[[Seen], tuple[Measured, Measured]]
) -> tuple[Measured, Measured]:
    """Both sides for every round in which there is something to see, in the unit of the round."""
    visible = [s for s in rounds if abs(float(s.potential.value)) > SEEN * s.move.size]
    return stacked((left / s.move.size, right / s.move.size) for s in visible for left, right in [sides(s)])


def _rate(s: Seen) -> Measured:
    r""":math:`\lambda`"""
    return (Measured(1.0) - s.x.w).maximum(s.x.cmdp.gamma)


def _bias(f: Objective) -> tuple[Measured, Measured]:
    r"""Both sides of E4, for the policy that the solver returns; what it lacks in :math:`J_\alpha` counts."""
    best, found = solve(f.cmdp.only([])), f.optimum
    cost = f.discounted(best.log_policy, f.penalty(Law.of(best.log_policy)))
    lacking = dot(f.cmdp.rho, found.V) - f.values(found.log_policy).at_rho[0]
    reached = evaluate(f.cmdp, found.log_policy, f.cmdp.r[None]).at_rho[0]
    return best.value - reached, cost + lacking


def _plainly(s: Seen, rounds: int) -> list[Move]:
    """The rounds with the critic of the plain reward."""
    objective, moves, old = s.target.objective, [], s.move.old
    for _ in range(rounds):
        plain = evaluate(s.x.cmdp, old, s.x.cmdp.r[None]).Q[0]
        regularised = step(objective, old).critics
        moves.append(step(objective, old, (plain - regularised).plain))
        old = moves[-1].new
    return moves
