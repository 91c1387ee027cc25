r"""What goes wrong with adaptive multipliers: every agent is content, and the averaged policy violates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from proofs_check.fednpg.f1_bound import Bound
from proofs_check.fednpg.named import is_named
from tabular_fedrl.arithmetic import seen
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import solve
from tabular_fedrl.solvers.region import achievable_region

BANDIT = "textbook:heterogeneous-bandit"
STEP, CAP = 0.05, 10.0


@dataclass(frozen=True)
class Sweep:
    """Runs of FedNPG with growing E, with one step for policy and multipliers and one cap."""

    runs: tuple[Run, ...]
    step: float
    cap: float

    @property
    def excess(self) -> Measured:
        """Average of V_c - d of the global policies over the second half of the rounds, ``(runs, m)``."""
        return Measured.stack([r.costs[r.rounds // 2 :].mean(0) - r.problem.cmdp.d for r in self.runs])

    @property
    def local_excess(self) -> Measured:
        """The same of every agent's local policies and its own constraint (agent i sees constraint i),
        ``(runs, N)``."""
        out = []
        for r in self.runs:
            average = r.local_costs[r.rounds // 2 :].mean((0, 2)) - r.problem.cmdp.d
            own = np.arange(r.problem.N)
            out.append(average[own, own])
        return Measured.stack(out)

    @property
    def window(self) -> Array:
        """Local steps of each agent in the second half, ``(runs, 1)``."""
        return np.array([[(r.rounds - r.rounds // 2) * float(r.local_steps)] for r in self.runs])


class HeterogeneousDuals(Theorem):
    r"""With adaptive multipliers FedNPG's violation grows with E although every agent meets its own
    constraint.

    **Setting.** A bandit with r = (1, 1, 0.9) and two agents; agent 1 must keep arm 2, agent 2 arm 1 at or
    below probability 0.2. The optimum (LP: 0.94) plays (0.2, 0.2, 0.6). FedNPG with
    :math:`\eta = \eta_\lambda`, :math:`\Lambda = 10`; averages over the second half of the rounds, T' local
    steps.

    **Statement.**

    * While the cap is not reached, each agent's *local* policies meet its own constraint on average, up to
      :math:`\Lambda/(\eta_\lambda T')`, for every E: its multiplier sees nothing to correct.
    * With the arithmetic mean the violation of the *averaged* policy grows with E, and for large E it is
      :math:`\tfrac1N - d = 0.3` to two digits: each agent collapses to the arm that only the other one
      dislikes (*measured* at the E of the cases). The averaged policy then earns 1, more than any feasible
      policy.
    * Theorem F1 is not contradicted: its bound contains :math:`E \eta b_2/8`, the drift of the local
      policies.

    For the geometric mean the symmetric point is unstable to rounding; nothing is claimed at large E, and the
    study reports average and last iterate.

    **Proof of the first part.** A multiplier below its cap satisfies
    :math:`\lambda^{t+1} \ge \lambda^t + \eta_\lambda (V_c - d)`; sum over the T' steps and divide. Between
    rounds the multipliers are not reset.

    **Source.** The algorithm: the authors' public code (arXiv 2405.03236); the counterexample: theory notes,
    fednpg section 6.
    """

    id = "fednpg.heterogeneous-duals"
    mark = "ours"
    source = "theory notes, fednpg section 6; algorithm: code of arXiv 2405.03236"
    suite = (
        Case(BANDIT),
        Case(BANDIT, aggregation="geometric", local_steps=(1, 10, 100), steps=(10000, 20000, 40000)),
    )
    certified = (Case(BANDIT, local_steps=(100, 1000), steps=(1000, 4000)),)
    small = None

    @hypothesis("the bandit of the setting")
    def the_bandit(self, problem: FederatedCMDP) -> bool:
        return is_named(problem, BANDIT)

    @hypothesis(
        f"the step {STEP} and the cap {CAP:g} (small caps are reached)",
        only=["below_cap", "own_constraint", "growth", "collapse"],
    )
    def the_steps(self, problem: FederatedCMDP, step: float, dual_cap: float) -> bool:
        return step == STEP and dual_cap == CAP

    @hypothesis(
        "growing E, T of at least 1000 and 4E, E up to 100 for the geometric mean",
        only=["growth", "collapse"],
    )
    def settled(
        self, problem: FederatedCMDP, aggregation: str, local_steps: tuple[int, ...], steps: tuple[int, ...]
    ) -> bool:
        growing = all(a < b for a, b in pairwise(local_steps))
        long = all(max(1000, 4 * E) <= T for E, T in zip(local_steps, steps, strict=True))
        return growing and long and (aggregation == "arithmetic" or max(local_steps) <= 100)

    @hypothesis("the arithmetic mean of E up to 1000", only=["collapse"])
    def arithmetic_mean(self, problem: FederatedCMDP, aggregation: str, local_steps: tuple[int, ...]) -> bool:
        return aggregation == "arithmetic" and local_steps[-1] >= 1000

    @hypothesis("a positive step and a cap of at least twice every optimal multiplier", only=["f1"])
    def wide_cap(self, problem: FederatedCMDP, step: float, dual_cap: float) -> bool:
        return step > 0 and dual_cap > 0 and dual_cap >= 2 * solve(problem.cmdp).multipliers.max()

    def setup(
        self,
        problem: FederatedCMDP,
        local_steps: tuple[int, ...] = (1, 10, 100, 1000),
        steps: tuple[int, ...] = (10000, 20000, 40000, 200000),
        aggregation: str = "arithmetic",
        step: float = STEP,
        dual_cap: float = CAP,
    ) -> Sweep:
        runs = [
            run(
                "fednpg",
                problem,
                rounds=T // E,
                local_steps=E,
                aggregation=aggregation,
                eta=step,
                eta_dual=step,
                dual_cap=dual_cap,
                compare=False,
            )
            for E, T in zip(local_steps, steps, strict=True)
        ]
        return Sweep(tuple(runs), step, dual_cap)

    @upper(r"\max_t \lambda_{ij}^t \le \Lambda/2: \text{ the cap is not reached}")
    def below_cap(self, x: Sweep) -> tuple[Measured, float]:
        return Measured.stack([Measured(seen(r.multipliers).max()) for r in x.runs]), x.cap / 2

    @upper(r"\mathrm{avg}\, V_{c_i}(\pi_i^{k,e}) - d_i \le \Lambda/(\eta_\lambda T')")
    def own_constraint(self, x: Sweep) -> tuple[Measured, Measured, float]:
        return x.local_excess, _allowance(x), 0.8

    @upper(r"\text{the violation of the averaged policy grows with E}")
    def growth(self, x: Sweep) -> tuple[Measured, Measured]:
        total = x.excess.sum(-1)
        return total[:-1], total[1:]

    @upper(r"\tfrac1N - d_j \le [\mathrm{avg}\, V_{c_j}(\bar\pi_k) - d_j]_+ + 0.01 \text{ at the largest E}")
    def collapse(self, x: Sweep) -> tuple[Measured, Measured]:
        return _collapsed(x.runs[-1].problem), x.excess[-1].positive() + 0.01

    @upper(r"\sum_j [\overline{V_{c_j}} - d_j]_+ \le \tfrac2\Lambda R(\Lambda 1) \text{ (F1, all K rounds)}")
    def f1(self, x: Sweep) -> tuple[Measured, Measured, Measured]:
        bounds = [Bound.of(r.problem, r.rounds, r.local_steps, x.step, x.step, x.cap) for r in x.runs]
        violations = Measured.stack([r.violations.sum() for r in x.runs])
        return violations, Measured.stack([b.violation for b in bounds]), Measured(bounds[0].G).sum()

    @control(
        "that every agent meets its own constraint does not make the averaged policy feasible",
        Case(BANDIT, local_steps=(1000,), steps=(40000,)),
    )
    def averaged_policy(self, x: Sweep) -> tuple[Measured, Measured]:
        return x.excess, _allowance(x)

    @control(
        "once its multiplier stands at a small cap an agent violates its own constraint",
        Case(BANDIT, local_steps=(10,), steps=(2000,), dual_cap=0.1),
    )
    def small_cap(self, x: Sweep) -> tuple[Measured, Measured]:
        return x.local_excess, _allowance(x)

    @control(
        "without heterogeneity (both agents see both constraints) local steps do no such harm",
        Case(BANDIT + ",visible=0+1/0+1", local_steps=(1000,), steps=(40000,)),
    )
    def homogeneous(self, x: Sweep) -> tuple[Measured, Measured]:
        return _collapsed(x.runs[-1].problem), x.excess[-1].positive() + 0.01

    @study("plane")
    def plane(self) -> StudyData:
        return _plane("windy-cliff:ncost=2", 20, 200, 2000, eta=0.02, eta_dual=0.2, dual_cap=20.0)

    @study("plane")
    def bandit_plane(self) -> StudyData:
        return _plane(BANDIT, 1000, 60, 4000, eta=STEP, eta_dual=STEP, dual_cap=CAP)


def _allowance(x: Sweep) -> Measured:
    return Measured(x.cap) / (Measured(x.step) * x.window)


def _collapsed(problem: FederatedCMDP) -> Measured:
    """By how much the policy that plays the arms of N agents in turn violates each constraint, ``(m,)``."""
    return Measured(1.0) / float(problem.N) - problem.cmdp.d


def _plane(source: str, E: int, rounds: int, rounds_of_one: int, **steps: Any) -> StudyData:
    """FedNPG's path in the plane of the first cost and the reward for E = 1 (``rounds_of_one`` rounds) and a
    large E; in the summary, for both means at the large one too, what the second half of the rounds averages
    to and where the last round stands."""
    problem = load(source)
    optimum = solve(problem.cmdp)
    runs = {
        (how, e): run("fednpg", problem, rounds=K, local_steps=e, aggregation=how, compare=False, **steps)
        for how, e, K in (
            ("arithmetic", 1, rounds_of_one),
            ("arithmetic", E, rounds),
            ("geometric", E, rounds),
        )
    }
    paths = {key: np.stack([r.costs.value[:, 0], r.value.value], axis=1) for key, r in runs.items()}
    summary: dict[str, Any] = {"instance": source, "optimum": float(optimum.value), **steps}
    for (how, e), r in runs.items():
        half = r.rounds // 2
        summary[f"{how}, E={e}"] = {
            "average violations": [float(v) for v in (r.costs.value[half:].mean(0) - problem.cmdp.d).clip(0)],
            "violations of the last policy": [float(v) for v in (r.costs.value[-1] - problem.cmdp.d).clip(0)],
            "average value": float(r.value.value[half:].mean()),
        }
    return StudyData(
        {
            "region": achievable_region(problem.cmdp, 0, 400),
            "threshold": np.array(problem.cmdp.d[0]),
            "optimum": np.array([optimum.costs.value[0], float(optimum.value)]),
            "path_small": paths["arithmetic", 1],
            "label_small": np.array("E = 1"),
            "path_large": paths["arithmetic", E],
            "label_large": np.array(f"E = {E}"),
            "name": np.array(source),
            "cost_label": np.array(
                f"$V_{{c_1}}(\\rho)$, first of {problem.cmdp.m} constraints (units of value)"
            ),
        },
        summary,
    )
