r"""F3: FedNPG from samples converges in expectation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.fednpg.estimators import SURE, reaches, squared_ranges
from tabular_fedrl.algorithms.step_sizes import cost_gaps
from tabular_fedrl.claims import Case, Theorem, confidence, control, hypothesis, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve, value_range


@dataclass(frozen=True)
class Seeds:
    """Runs with sampled evaluation that differ in their seed only: ``gaps (n,)``, ``violations (n,)``
    (summed over the constraints), the steps they used, and the rest of what the bound needs."""

    problem: FederatedCMDP
    T: float
    local_steps: int
    samples: int
    eta: float
    eta_dual: float
    cap: float
    gaps: Array
    gap_error: float
    violations: Array

    @property
    def mean_gap(self) -> Measured:
        """E gap, with confidence."""
        low, high = value_range(self.problem.cmdp, self.problem.cmdp.r)
        mean = confidence.bounded(self.gaps, float((high - low).upper), SURE)
        return Measured(mean.value, mean.error + self.gap_error)

    @property
    def mean_violation(self) -> Measured:
        """E of the summed violations, with confidence."""
        mean = confidence.bounded(self.violations, cost_gaps(self.problem.cmdp).sum(), SURE)
        return Measured(mean.value, mean.error + self.gap_error)

    @property
    def lengths(self) -> Measured:
        r""":math:`E l^2 = (1+\gamma)/(1-\gamma)^2`"""
        gamma = Measured(self.problem.cmdp.gamma)
        return (gamma + 1.0) / (1.0 - gamma) ** 2

    @property
    def start(self) -> Measured:
        r""":math:`N\log|A|/(\eta T)`"""
        logs = Measured(float(self.problem.cmdp.A)).log()
        return logs * float(self.problem.N) / (Measured(self.eta) * self.T)

    @property
    def later(self) -> Measured:
        r"""The other three terms of the gap bound: steps, drift, multipliers."""
        problem, effective = self.problem, Measured(1.0) - self.problem.cmdp.gamma
        B = reaches(problem, self.cap)
        r2 = squared_ranges(problem, B)
        step = r2.sum() * self.eta / (effective**2 * 8.0)
        drift = (B * r2.sqrt()).sum() * (self.eta * (self.local_steps - 1)) / (effective**3 * 8.0)
        # E(V^ - d)^2 <= (max|c| sqrt(E l^2) + |d|)^2: Jensen over states and rollouts, then Minkowski.
        g = Measured(np.abs(problem.cmdp.c).max(axis=(1, 2))) * self.lengths.sqrt() + np.abs(problem.cmdp.d)
        dual = (g * g * problem.observers.astype(np.float64)).sum() * (self.eta_dual / 2)
        return step + drift + dual

    @property
    def violation_bound(self) -> Measured:
        cmdp = self.problem.cmdp
        comparator = Measured(cmdp.m * self.cap**2) / (2.0 * self.eta_dual * self.T)
        # n independent rollouts from every state: Var V^_c(rho) <= sum_s rho(s)^2 max|c|^2 E l^2 / n.
        variance = Measured(cmdp.rho**2).sum() * self.lengths / float(self.samples)
        deviation = (variance / self.T).sqrt() * np.abs(cmdp.c).max(axis=(1, 2)).sum()
        return (self.start + self.later + comparator + deviation * self.cap) * (2.0 / self.cap)


class F3(Theorem):
    r"""FedNPG from samples converges in expectation.

    **Problem and algorithm.** As in F1, with values estimated from a generative simulator: undiscounted sums
    over n rollouts of geometric length from every state and every pair (``sampled-fednpg``), drawn anew in
    every local step.

    **Guarantee** (*upper*). With :math:`\mathrm{reach} f = \max(f, 0) - \min(f, 0)` (``max |f|`` for a
    signal of one sign), :math:`B_i = \mathrm{reach}(r)/N + \Lambda\sum_{j\in\Gamma_i} \mathrm{reach}(c_j)`,
    :math:`\hat r_i^2 = B_i^2 |A| (1+\gamma)/(1-\gamma)^2` and
    :math:`\hat g_j^2 \ge E(\hat V_{c_j}(\rho) - d_j)^2`,

    .. math:: E[\mathrm{gap}] \le \frac{N\log|A|}{\eta T} + \frac{\eta}{8(1-\gamma)^2} \sum_i \hat r_i^2 +
              \frac{(E-1)\eta}{8(1-\gamma)^3} \sum_i B_i \hat r_i + \frac{\eta_\lambda}2 \sum_{ij} \hat g_j^2
              =: R(0),

    and with :math:`\Lambda` at least twice every optimal multiplier

    .. math:: E \sum_j [\overline{V_{c_j}} - d_j]_+ \le
              \frac2\Lambda \Big(R(\Lambda 1) + \Lambda \sum_j \sqrt{\mathrm{Var}_j/T}\Big) ,

    :math:`\mathrm{Var}_j` a bound on the conditional variance of :math:`\hat V_{c_j}(\rho)`.

    Expectations are over the sampling; they are enclosed from ``seeds`` independent runs with probability
    0.99.

    **Proof.** F1's, conditionally on the past: L1 with :math:`\hat Q` in place of Q has the expectation of
    L1, because :math:`\hat Q` is unbiased given the policy; Hoeffding's lemma bounds log Z by the squared
    range of :math:`\eta\hat Q/(1-\gamma)`; a local step moves a policy by at most
    :math:`\eta\,\mathrm{range}/(2(1-\gamma))`, so e steps change :math:`L_i` by at most
    :math:`e\eta B_i \hat r_i/(4(1-\gamma)^3)` in expectation. The comparator of the violation bound depends
    on the run, so that :math:`\Lambda |\frac1T\sum_t (\hat V - V)|` is added, a martingale mean of standard
    deviation at most :math:`\sqrt{\mathrm{Var}_j/T}`. Range: :math:`\hat Q` of :math:`f` lies between
    :math:`\min(f,0)` and :math:`\max(f,0)` times its rollout's length, so the range is at most
    :math:`B_i \max_a l_a`, and :math:`E\max_a l_a^2 \le |A| E l^2`.

    **Source.** Theory notes, F3, where :math:`B_i` has ``max |f|``: that is enough for signals of one sign
    only (the controls of ``fednpg.estimators``).
    """

    id = "fednpg.f3"
    mark = "ours"
    source = "theory notes, F3"
    suite = (
        Case("textbook:two-arm", rounds=300, dual_cap=2.0),
        Case("textbook:running-b", rounds=50, seeds=300, dual_cap=0.2),
        Case("textbook:two-arm", rounds=60, local_steps=5, dual_cap=2.0),
        Case("textbook:heterogeneous-bandit", rounds=200, dual_cap=0.5, aggregation="geometric"),
        Case("textbook:three-state", rounds=100, seeds=40),
        Case("random-mdp:seed=1,gamma=0.5", rounds=20, samples=2, seeds=20),
        Case("gym:FrozenLake-v1,gamma=0.5,agents=2", rounds=10, local_steps=2, seeds=20),
    )
    small = {"rounds": 5, "seeds": 10}

    @hypothesis("positive steps and a positive cap where there are constraints")
    def positive(
        self, problem: FederatedCMDP, eta: float | None, eta_dual: float | None, dual_cap: float | None
    ) -> bool:
        given = [eta, *((eta_dual, dual_cap) if problem.cmdp.m else ())]
        return all(x is None or x > 0 for x in given) and problem.cmdp.A > 1

    @hypothesis("constraints, and a cap of at least twice every optimal multiplier", only=["violation"])
    def wide_cap(self, problem: FederatedCMDP, dual_cap: float | None) -> bool:
        if problem.cmdp.m == 0:
            return False
        best = solve(problem.cmdp)
        if dual_cap is None:
            return (best.slater_slack or 0.0) > 0
        return dual_cap >= 2 * best.multipliers.max(initial=0.0)

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 100,
        local_steps: int = 1,
        samples: int = 1,
        seeds: int = 120,
        aggregation: str = "arithmetic",
        eta: float | None = None,
        eta_dual: float | None = None,
        dual_cap: float | None = None,
    ) -> Seeds:
        runs = [
            run(
                "sampled-fednpg",
                problem,
                rounds=rounds,
                seed=seed,
                local_steps=local_steps,
                samples=samples,
                aggregation=aggregation,
                eta=eta,
                eta_dual=eta_dual,
                dual_cap=dual_cap,
            )
            for seed in range(seeds)
        ]
        used = runs[0].parameters
        return Seeds(
            problem=problem,
            T=float(rounds * local_steps),
            local_steps=local_steps,
            samples=samples,
            eta=float(used["eta"]),
            eta_dual=float(np.max(used["eta_dual"])),
            cap=float(np.max(used["dual_cap"])),
            gaps=np.array([float(r.gap) for r in runs]),
            gap_error=float(max(r.gap.error + r.violations.error.sum() for r in runs)),
            violations=np.array([float(r.violations.sum()) for r in runs]),
        )

    @upper(
        r"E[\mathrm{gap}] \le \tfrac{N\log|A|}{\eta T} + \tfrac{\eta}{8(1-\gamma)^2}\sum_i \hat r_i^2 + "
        r"\tfrac{(E-1)\eta}{8(1-\gamma)^3}\sum_i B_i\hat r_i + \tfrac{\eta_\lambda}2\sum_{ij}\hat g_j^2",
        confidence=SURE,
    )
    def gap(self, x: Seeds) -> tuple[Measured, Measured, float]:
        return x.mean_gap, x.start + x.later, np.ptp(x.problem.cmdp.r) * x.problem.cmdp.horizon

    @upper(
        r"E\sum_j[\overline{V_{c_j}} - d_j]_+ \le \tfrac2\Lambda(R(\Lambda 1)"
        r" + \Lambda\sum_j\sqrt{\mathrm{Var}_j/T})",
        confidence=SURE,
    )
    def violation(self, x: Seeds) -> tuple[Measured, Measured, float]:
        return x.mean_violation, x.violation_bound, float(cost_gaps(x.problem.cmdp).sum())

    @control(
        "without the start's divergence: short runs with small steps are still where they began",
        Case("textbook:running-b", rounds=50, eta=0.001, eta_dual=0.001, dual_cap=1.0),
    )
    def no_start(self, x: Seeds) -> tuple[Measured, Measured]:
        return x.mean_gap, x.later
