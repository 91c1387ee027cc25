r"""PMD-PD: rates 1/T for gap and violation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tabular_fedrl.algorithms.pmd_pd import proximal_weight
from tabular_fedrl.algorithms.step_sizes import cost_gaps, log_actions, span
from tabular_fedrl.arithmetic import array, seen
from tabular_fedrl.claims import Case, StudyData, Theorem, chain, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.claims.relatives import Contender, relatives
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import solve


@dataclass(frozen=True)
class Proximal:
    r"""A run of K+1 rounds; ``gaps (K,)``: :math:`V_r^\star - V_r^k`, k = 1..K; ``f (K+1, m)``:
    :math:`V_{c_j} - d_j`, k = 0..K; ``multipliers (K+1, m)``: :math:`\lambda_0..\lambda_K`; ``eta (m,)``:
    :math:`\eta'`; ``alpha``."""

    run: Run
    gaps: Measured
    f: Measured
    multipliers: Measured
    eta: Measured
    alpha: Measured

    @property
    def K(self) -> float:
        return float(len(self.gaps))

    @property
    def near(self) -> Measured:
        r""":math:`1-\gamma`"""
        return Measured(1.0) - self.run.problem.cmdp.gamma

    def bound(self) -> Measured:
        r""":math:`\alpha\log|A|/((1-\gamma)K)`"""
        return self.alpha * log_actions(self.run.problem.cmdp) / (self.near * self.K)

    def violation_bound(self) -> Measured:
        r""":math:`\frac1K (2\|\lambda^\star\|_2/\eta' + \sqrt{2C/\eta'})`"""
        assert self.run.solution is not None
        eta, G = self.eta[0], Measured(cost_gaps(self.run.problem.cmdp))
        C = self.bound() * self.K + eta * (G * G).sum() * 0.5
        optimal = Measured(self.run.solution.multipliers)
        return ((optimal * optimal).sum().sqrt() * 2.0 / eta + (C * 2.0 / eta).sqrt()) / self.K


class PMDPD(Theorem):
    r"""PMD-PD converges like 1/T, gap and violation.

    **Problem.** A CMDP with optimal multipliers :math:`\lambda^\star`; :math:`f_j = V_{c_j}(\rho) - d_j`.

    **Algorithm.** :math:`\pi_{k+1}` maximises :math:`V_r - \sum_j (\lambda_{k,j} + \eta' f_j(\pi_k)) f_j(\pi)
    - \frac{\alpha}{1-\gamma} E_{d^\pi} KL(\pi\|\pi_k)`, then :math:`\lambda_{k+1} = \max(-\eta' f(\pi_{k+1}),
    \lambda_k + \eta' f(\pi_{k+1}))`; uniform start, :math:`\lambda_0 = \max(0, -\eta' f(\pi_0))`,
    :math:`\alpha = \eta' \sum_j C_j^2/(4(1-\gamma)^3)`, :math:`C_j` the span of :math:`c_j`.

    **Guarantee** (*upper*). Averages over k = 1..K, :math:`G_j = \max_\pi |f_j(\pi)|`,

    .. math:: V_r^\star - \overline{V_r} &\le \frac{\alpha\log|A|}{(1-\gamma) K}, \\
              \max_j \overline{f_j} &\le \frac1K
              \Big(\frac{2\|\lambda^\star\|_2}{\eta'} + \sqrt{\frac{2C}{\eta'}}\Big), \qquad
              C = \frac{\alpha\log|A|}{1-\gamma} + \frac{\eta'}2 \sum_j G_j^2 .

    **Proof.** Write :math:`f^k = f(\pi_k)`, :math:`D_k = E_{d^\star} KL(\pi^\star\|\pi_k)`. The maximiser of
    a value with divergence is better than :math:`\pi^\star` by exactly
    :math:`\frac{\alpha}{1-\gamma} D_{k+1}`; :math:`\lambda_k + \eta' f^k \ge 0` and
    :math:`f(\pi^\star) \le 0`, so that

    .. math:: V_r^\star - V_r^{k+1} \le -\langle\lambda_k + \eta' f^k, f^{k+1}\rangle
              + \tfrac{\alpha}{1-\gamma} (D_k - D_{k+1})
              - \tfrac{\alpha}{1-\gamma} E_{d^{\pi_{k+1}}} KL(\pi_{k+1}\|\pi_k) .

    By performance difference and Pinsker :math:`(f_j^{k+1} - f_j^k)^2 \le \frac{C_j^2}{2(1-\gamma)^4}
    E_{d^{\pi_{k+1}}} KL(\pi_{k+1}\|\pi_k)`, so that the last term pays for
    :math:`\frac{\eta'}2\|f^{k+1} - f^k\|^2` in :math:`-\eta'\langle f^k, f^{k+1}\rangle`. Either branch of
    the maximum gives :math:`\frac12\|\lambda_{k+1}\|^2 \le \frac12\|\lambda_k\|^2 + \eta'\langle\lambda_k,
    f^{k+1}\rangle + \eta'^2\|f^{k+1}\|^2`. Summed,

    .. math:: \sum_{k=1}^K (V_r^\star - V_r^k) \le \tfrac{1}{2\eta'}(\|\lambda_0\|^2 - \|\lambda_K\|^2)
              + \tfrac{\eta'}2(\|f^K\|^2 - \|f^0\|^2) + \tfrac{\alpha}{1-\gamma} D_0 ,

    and :math:`|\lambda_0| \le \eta'|f^0|`, :math:`\lambda_K \ge \eta'|f^K|` leave the last term: the first
    claim. For the second :math:`\sum_k f_j^k \le \lambda_{K,j}/\eta'`, hence by duality the left side is at
    least :math:`-\|\lambda^\star\|\|\lambda_K\|/\eta'`: a quadratic inequality for :math:`\|\lambda_K\|`.

    **Source.** Liu, Zhou, Kalathil, Kumar, Tian (2021), with exact proximal steps; constants ours.
    """

    id = "rates.pmd-pd"
    mark = "ours"
    source = "theory notes, rates; after Liu, Zhou, Kalathil, Kumar, Tian 2021"
    about = "pmd-pd"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=1", eta=10.0),
        Case("random-mdp:seed=3,gamma=0.5"),
        Case("garnet:S=20,A=5,b=2,m=1,seed=3"),
        Case("windy-cliff:ncost=1", rounds=40),
        Case("textbook:two-arm"),
        Case("textbook:scaled-arms"),
        Case("textbook:heterogeneous-bandit"),
        Case("textbook:three-state"),
        Case("textbook:machine-repair"),
    )
    certified = (Case("textbook:three-state", rounds=6),)
    small = {"rounds": 6}
    family = "cmdp:S=1..2,A=2..3,m=1..2,N=1,gamma=0..0.9"
    space = {"rounds": (1, 30), "eta": (1e-3, 1e2)}
    effort = 100

    @hypothesis("at least two actions, and a cost that is not constant")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1 and any(span(c) > 0 for c in problem.cmdp.c)

    @hypothesis("some policy is strictly feasible", only=["violation"])
    def slater(self, problem: FederatedCMDP) -> bool:
        return (solve(problem.cmdp).slater_slack or 0.0) > 0

    def setup(self, problem: FederatedCMDP, rounds: int = 100, eta: float | None = None) -> Proximal:
        result = run("pmd-pd", problem, rounds + 1, eta_dual=eta)
        assert result.solution is not None
        cmdp = result.problem.cmdp
        f = result.costs - cmdp.d
        step = array(result.parameters["eta_dual"]) + array(np.zeros(cmdp.m))
        first = (Measured(0.0) - f[0] * step).positive()
        rest = Measured(seen(result.multipliers[1:, 0, 0]))
        return Proximal(
            run=result,
            gaps=result.solution.value - result.value[1:],
            f=f,
            multipliers=Measured.concatenate([first.reshape(1, cmdp.m), rest]),
            eta=Measured(step),
            alpha=Measured(proximal_weight(cmdp, step)),
        )

    @upper(r"V_r^\star - \overline{V_r} \le \frac{\alpha\log|A|}{(1-\gamma) K}")
    def gap(self, x: Proximal) -> tuple[Measured, Measured, Measured]:
        return x.gaps.mean(), x.bound(), Measured(span(x.run.problem.cmdp.r)) / x.near

    @chain("gap")
    def proof(self, x: Proximal) -> Iterator[tuple[str, Measured]]:
        assert x.run.kl is not None
        yield "the mean gap", x.gaps.mean()
        divergence = (x.run.kl[0] - x.run.kl[-2]) * x.alpha / x.near
        weights = x.multipliers[:-1] + x.f[:-1] * x.eta
        moved = (x.f[1:] - x.f[:-1]) ** 2 * x.eta * 0.5
        yield (
            "the step is optimal with divergence, and its divergence pays for the change of f",
            (divergence - (weights * x.f[1:]).sum() - moved.sum()) / x.K,
        )
        ends = x.multipliers[0] ** 2 / (x.eta * 2.0) - x.multipliers[-1] ** 2 / (x.eta * 2.0)
        squares = (x.f[-1] ** 2 - x.f[0] ** 2) * x.eta * 0.5
        yield "the multipliers' squares telescope", (divergence + (ends + squares).sum()) / x.K
        yield "the last multiplier covers the last f; the divergence is at most log|A|", x.bound()

    @upper(
        r"\max_j \overline{f_j} \le \frac1K (\frac{2\|\lambda^\star\|_2}{\eta'} + \sqrt{\frac{2C}{\eta'}})"
    )
    def violation(self, x: Proximal) -> tuple[Measured, Measured, Measured]:
        return x.f[1:].mean(axis=0), x.violation_bound(), Measured(cost_gaps(x.run.problem.cmdp))

    @study("power_rate")
    def curve(self) -> StudyData:
        """Averages over k = 1..K of gap and largest violation beside their bounds, and what goes wrong in the
        first rounds when the average starts at k = 0: the gap is above the bound."""
        K = 150
        at, few, curves = np.unique(np.geomspace(1, K, 25).astype(int)), np.arange(1, 9), []
        before, ylabel = np.tri(K), r"$V_r^\star - \overline{V_r}$ (units of value)"
        panels = Panel("gap", ylabel), Panel("violation", r"$\max_j \overline{f_j}$ (units of value)")
        for source in ("textbook:three-state", "textbook:two-arm"):
            x = self.setup(load(source), rounds=K)
            costs = dot(before[at - 1, :, None], x.f[1:], axis=1) / at[:, None]
            means = dot(before[at - 1], x.gaps) / at, costs.max(axis=1)
            for panel, y, bound in zip(panels, means, (x.bound(), x.violation_bound())):
                curves.append(Curve(panel, source, at, y, bound * x.K / at))
        x = self.setup(load("textbook:three-state"), rounds=8, eta=1e-2)
        assert x.run.solution is not None
        wrong = dot(np.tri(8), x.run.solution.value - x.run.value[:-1]) / few
        panel = Panel("gap, averaged from k = 0", ylabel)
        curves.append(Curve(panel, "three-state, eta=0.01", few, wrong, x.bound() * x.K / few))
        return power_study("PMD-PD", self.mark, "rounds K", curves)

    @study("relatives")
    def relatives(self) -> StudyData:
        """PMD-PD among its relatives, each with the steps that theory gives it for these rounds: only FedNPG
        leaves the constraints with the agents, and only it communicates."""
        source, rounds = "random-mdp:seed=1,agents=2,gamma=0.5", 300
        names = ("npg-pd", "pmd-pd", "crpo", "rpg-pd", "fednpg")
        data = relatives([Contender(name, name, {}) for name in names], load(source), rounds)
        return StudyData({**data.arrays, "name": np.array(source)}, {"instance": source, **data.summary})

    @control(
        "averaged from k = 0 the bound on the gap is false", Case("textbook:three-state", rounds=3, eta=1e-2)
    )
    def from_the_start(self, x: Proximal) -> tuple[Measured, Measured]:
        assert x.run.solution is not None
        return (x.run.solution.value - x.run.value[:-1]).mean(), x.bound()

    @control("1/T squared is too fast", Case("textbook:scaled-arms"))
    def faster(self, x: Proximal) -> tuple[Measured, Measured]:
        return x.f[1:].mean(axis=0), x.violation_bound() / x.K
