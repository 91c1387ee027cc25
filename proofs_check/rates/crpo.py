r"""CRPO: a rate without multipliers, and without a Slater point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.step_sizes import log_actions, positive_or, span
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.claims import Case, StudyData, Theorem, chain, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Rectified:
    r"""A run; ``moved (T, m)``: 1 where step t went down cost j; ``scales (1+m,)``: the spans."""

    run: Run
    moved: np.ndarray[Any, Any]
    scales: list[Any]

    @property
    def upward(self) -> np.ndarray[Any, Any]:
        r"""Indicator of :math:`N_0`, the steps up the reward, ``(T,)``."""
        return (self.moved.sum(axis=1) == 0).astype(np.float64)

    def epsilon(self, constant: float = 1.0) -> Measured:
        r""":math:`\sqrt{\log|A|/(2T)}/(1-\gamma)^2`, times a constant."""
        cmdp = self.run.problem.cmdp
        root = (Measured(log_actions(cmdp)) / (2.0 * self.run.rounds)).sqrt()
        return root / (Measured(1.0) - cmdp.gamma) ** 2 * constant

    def mean(self, x: Measured) -> Measured:
        r"""The mean over :math:`N_0` of ``x (T, ...)``."""
        chosen = np.flatnonzero(self.upward)
        return x[chosen].mean(axis=0)


class CRPO(Theorem):
    r"""CRPO is nearly optimal and nearly feasible on average over the steps along the reward.

    **Problem.** A feasible CMDP; no policy need be strictly feasible. R, :math:`C_j` are the spans of r,
    :math:`c_j`.

    **Algorithm.** T natural-gradient steps of length :math:`\alpha = (1-\gamma)^2\sqrt{8\log|A|/T}` on
    signals divided by their spans: up the reward if all :math:`V_{c_j} \le d_j + \epsilon C_j`, else down a
    cost that exceeds this; :math:`\epsilon = \sqrt{\log|A|/(2T)}/(1-\gamma)^2`.

    **Guarantee** (*upper*). Some step goes along the reward; averaged over these, the set :math:`N_0`,

    .. math:: V_r^\star - \overline{V_r} \le \epsilon R, \qquad \overline{V_{c_j}} - d_j \le \epsilon C_j .

    **Proof.** L1 and L2 along whichever signal f a step follows: :math:`E_{d^\star}[KL_{t+1} - KL_t] \le
    \mp\frac\alpha{\mathrm{span} f} (V_f^\star - V_f^t) + \frac{\alpha^2}{8(1-\gamma)^4}`. A step down a cost
    starts where :math:`V_{c_j} - V_{c_j}^\star > \epsilon C_j`, so that
    :math:`\sum_{N_0} \frac{V_r^\star - V_r^t}{R} + \epsilon (T - |N_0|) \le
    \frac{\log|A|}\alpha + \frac{T\alpha}{8(1-\gamma)^4} = \epsilon T`, strictly unless every step goes along
    the reward: :math:`N_0` is not empty, and the mean gap over it is at most :math:`\epsilon R`. The
    violation is the rule that defines :math:`N_0`.

    **Source.** Xu, Liang, Lan (2021), theorem 1 with exact evaluation; constants ours.
    """

    id = "rates.crpo"
    mark = "ours"
    source = "theory notes, rates; after Xu, Liang, Lan 2021"
    about = "crpo"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=3,gamma=0.5"),
        Case("garnet:S=20,A=5,b=2,m=1,seed=3"),
        Case("windy-cliff:ncost=2"),
        Case("textbook:two-arm"),
        Case("textbook:two-arm", rounds=20000),
        Case("textbook:scaled-arms", rounds=5000),
        Case("textbook:heterogeneous-bandit"),
        Case("textbook:three-state"),
        Case("textbook:machine-repair"),
        Case("gym:CliffWalking-v1,gamma=0.9"),
    )
    certified = (Case("textbook:three-state", rounds=20), Case("textbook:scaled-arms", rounds=100))
    small = {"rounds": 20}
    family = "cmdp:S=1..3,A=2..3,m=1..2,N=1,gamma=0..0.9"
    space = {"rounds": (1, 100)}
    effort = 300

    @hypothesis("at least two actions, a constraint, a reward that is not constant")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1 and problem.cmdp.m > 0 and bool(span(problem.cmdp.r) > 0)

    @hypothesis("the tolerance is the theory's")
    def balanced(self, problem: FederatedCMDP, tolerance: float | None) -> bool:
        return tolerance is None

    def setup(self, problem: FederatedCMDP, rounds: int = 500, tolerance: float | None = None) -> Rectified:
        result = run("crpo", problem, rounds, tolerance=tolerance)
        cmdp = result.problem.cmdp
        # What stands for the multipliers after a step says along which signal it went.
        moved = concatenate([result.multipliers[1:, 0, 0], result.final_multipliers])
        scales = [positive_or(span(f), 1.0) for f in cmdp.signals]
        return Rectified(result, np.asarray(Measured.of(moved).value), scales)

    @upper(r"1 \le |N_0|")
    def some_step(self, x: Rectified) -> tuple[float, float]:
        return 1.0, float(x.upward.sum())

    @upper(r"V_r^\star - \overline{V_r} \le \epsilon R")
    def gap(self, x: Rectified) -> tuple[Measured, Measured, Measured]:
        assert x.run.solution is not None
        trivial = Measured(x.scales[0]) * x.run.problem.cmdp.horizon
        return x.run.solution.value - x.mean(x.run.value), x.epsilon() * x.scales[0], trivial

    @chain("gap")
    def proof(self, x: Rectified) -> Iterator[tuple[str, Measured]]:
        assert x.run.solution is not None
        assert x.run.kl is not None
        gaps = (x.run.solution.value - x.run.value) / x.scales[0]
        down = float(x.run.rounds - x.upward.sum())
        upward = float(x.upward.sum())
        total = dot(x.upward, gaps)
        yield "the mean gap over the steps along the reward", total / upward * x.scales[0]
        alpha = Measured(x.run.parameters["eta"])
        near = Measured(1.0) - x.run.problem.cmdp.gamma
        lost = (x.run.kl[0] - x.run.kl[-1]) / alpha + alpha * float(x.run.rounds) / (near**4 * 8.0)
        paid = lost - x.epsilon() * down
        yield (
            "L1 and L2 over all steps; those down a cost gain more than epsilon each",
            paid / upward * x.scales[0],
        )
        yield "the divergence is at most log|A|; the step balances the terms", x.epsilon() * x.scales[0]

    @upper(r"\overline{V_{c_j}} - d_j \le \epsilon C_j")
    def violation(self, x: Rectified) -> tuple[Measured, Measured, Measured]:
        cmdp, scales = x.run.problem.cmdp, Measured.stack([Measured(s) for s in x.scales[1:]])
        return x.mean(x.run.costs) - cmdp.d, x.epsilon() * scales, scales * cmdp.horizon

    @study("power_rate")
    def curve(self) -> StudyData:
        """Gap and largest violation of CRPO's averages over its steps along the reward, with the step and the
        tolerance for each T, beside the bound."""
        T, curves = np.geomspace(30, 3000, 9).astype(int), []
        panels = (
            Panel("gap", r"$V_r^\star - \overline{V_r}$ (units of value)"),
            Panel("violation", r"$\max_j (\overline{V_{c_j}} - d_j)$ (units of value)"),
        )
        for source in ("textbook:running-b", "textbook:two-arm", "textbook:three-state"):
            runs = [self.setup(load(source), rounds=int(t)) for t in T]
            for panel, claim in zip(panels, (self.gap, self.violation)):
                sides = [claim.function(self, x) for x in runs]
                left = Measured.stack([one[0].max() for one in sides])
                right = Measured.stack([one[1].max() for one in sides])
                curves.append(Curve(panel, source, T, left, right))
        return power_study("CRPO", self.mark, "rounds T", curves)

    @control("half the tolerance is too small for the violation", Case("textbook:scaled-arms", rounds=5000))
    def half(self, x: Rectified) -> tuple[Measured, Measured]:
        return x.mean(x.run.costs) - x.run.problem.cmdp.d, x.epsilon(0.5) * x.scales[1]

    @control(
        "without a tolerance no step need go along the reward: only one policy is feasible",
        Case("textbook:two-arm,d=0", tolerance=0.0),
    )
    def no_tolerance(self, x: Rectified) -> tuple[float, float]:
        return 1.0, float(x.upward.sum())
