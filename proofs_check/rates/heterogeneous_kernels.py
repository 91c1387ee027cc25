r"""How much a policy's value differs between kernels that are close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.averaging import mean_kernel, own_kernels
from tabular_fedrl.algorithms.step_sizes import span
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.measured import UNIT, Measured
from tabular_fedrl.policies import random_log_policy, uniform
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve


@dataclass(frozen=True)
class Kernels:
    r"""``mean``: the problem in :math:`\bar P`; ``own``: the agents' problems; ``policies``: log-policies
    ``(n, S, A)``, the last one that of federated policy averaging; ``kappa``: the distance of the kernels."""

    mean: CMDP
    own: list[CMDP]
    policies: Any
    kappa: Measured

    @property
    def spread(self) -> Measured:
        r""":math:`R/(1-\gamma)`, R the span of r."""
        return Measured(span(self.mean.r)) / (Measured(1.0) - self.mean.gamma)

    def bound(self, constant: float = 0.5) -> Measured:
        r""":math:`\gamma\kappa R/(2(1-\gamma)^2)`, R the span of r, with ``constant`` for 1/2."""
        near = Measured(1.0) - self.mean.gamma
        return self.kappa * self.mean.gamma * span(self.mean.r) / near**2 * constant


def distance(own: list[CMDP], mean: CMDP) -> Measured:
    r""":math:`\max_{i,s,a} \|P_i - \bar P\|_1`"""
    away = Measured.stack([(Measured(x.P) - mean.P).abs().sum(-1).max() for x in own])
    # In floats a row stands for the one that is normalised exactly.
    return away.max().rounded_by(4 * mean.S * UNIT)


class HeterogeneousKernels(Theorem):
    r"""A policy is worth almost the same in kernels that are close.

    **Statement.** For kernels with :math:`\|P_i(\cdot|s,a) - \bar P(\cdot|s,a)\|_1 \le \kappa` and a reward
    of span R, for every policy,

    .. math:: |V^\pi_{P_i}(\rho) - V^\pi_{\bar P}(\rho)| \le \frac{\gamma\kappa R}{2(1-\gamma)^2} .

    Hence a policy that is optimal in :math:`\bar P` misses at most twice that in any of them.

    **Proof.** :math:`V_{P_i} - V_{\bar P} = \gamma (I - \gamma P_i^\pi)^{-1} (P_i^\pi - \bar P^\pi)
    V_{\bar P}`; a difference of laws, of 1-norm at most :math:`\kappa`, changes the mean of a function of
    span :math:`R/(1-\gamma)` by at most half the product; the resolvent has norm :math:`1/(1-\gamma)`.

    **Source.** After Jin, Peng, Yang, Wang, Zhang (2022), who bound policy averaging by the heterogeneity
    of kernels; constant ours.
    """

    id = "rates.heterogeneous-kernels"
    mark = "ours"
    source = "theory notes, rates; after Jin, Peng, Yang, Wang, Zhang 2022"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=1", spread=0.5),
        Case("random-mdp:seed=2,gamma=0.99", spread=0.01),
        Case("garnet:S=20,A=4,b=5,m=3,seed=2"),
        Case("windy-cliff:ncost=2"),
        Case("textbook:three-state,agents=3"),
        Case("textbook:stay-or-leave,agents=2"),
    )
    certified = (Case("textbook:three-state,agents=2", rounds=3, draws=1),)
    small = {"rounds": 3, "draws": 1}

    @hypothesis("gamma > 0 and several states (else the kernel plays no part)")
    def matters(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.gamma > 0 and problem.cmdp.S > 1

    def setup(
        self, problem: FederatedCMDP, spread: float = 0.1, draws: int = 20, rounds: int = 50, seed: int = 0
    ) -> Kernels:
        mean = mean_kernel(problem, {"spread": spread, "kernel_seed": seed})
        own = own_kernels(mean.cmdp, problem.N, spread, seed)
        averaged = run(
            "policy-averaging", problem, rounds, local_steps=2, spread=spread, kernel_seed=seed, compare=False
        )
        rng = np.random.default_rng(seed)
        S, A = mean.cmdp.S, mean.cmdp.A
        policies = [
            random_log_policy(rng, S, A, sharpness) for sharpness in (1.0, 10.0) for _ in range(draws)
        ]
        return Kernels(mean.cmdp, own, [*policies, averaged.final_log_policy], distance(own, mean.cmdp))

    @upper(r"|V^\pi_{P_i} - V^\pi_{\bar P}| \le \frac{\gamma\kappa R}{2(1-\gamma)^2}", constant=0.5)
    def values(self, x: Kernels) -> tuple[Measured, Measured, Measured]:
        return _apart(x), x.bound(), x.spread * x.mean.gamma

    @upper(r"V^\star_{P_i} - V^{\bar\pi^\star}_{P_i} \le \frac{\gamma\kappa R}{(1-\gamma)^2}")
    def optimal_in_the_mean(self, x: Kernels) -> tuple[Measured, Measured, Measured]:
        best = solve(x.mean).log_policy
        missed = [solve(p).value - evaluate(p, best).at_rho[0] for p in x.own]
        return Measured.stack(missed), x.bound(1.0), x.spread

    @study("power_rate")
    def curve(self) -> StudyData:
        """The largest difference of a policy's values between an agent's kernel and the mean one, over random
        policies and that of policy averaging, against the distance of the kernels, beside the bound; and the
        kernels that attain the bound as they come together."""
        curves, ylabel = [], r"$\max_{i,\pi} |V^\pi_{P_i} - V^\pi_{\bar P}|$ (units of value)"
        for gamma in (0.5, 0.9, 0.99):
            source = f"random-mdp:seed=1,gamma={gamma}"
            cases = [
                self.setup(load(source), spread=float(spread), draws=5, rounds=10)
                for spread in np.geomspace(1e-3, 1.0, 13)
            ]
            curves.append(_beside_bound(Panel("random-mdp:seed=1", ylabel), f"gamma={gamma}", cases))
        for gamma in (0.5, 0.9, 0.99):
            cases = [_stay_or_leave(q, gamma) for q in np.geomspace(1e-4, 1e-1, 13)]
            curves.append(_beside_bound(Panel("stay or leave", ylabel), f"gamma={gamma}", cases))
        return power_study("Kernels at distance kappa", self.mark, r"$\kappa$ (dimensionless)", curves)

    @control(
        "nine tenths of the constant are too small: one kernel stays where the reward is, one leaves",
        Case("textbook:stay-or-leave,agents=2"),
    )
    def nine_tenths(self, x: Kernels) -> tuple[Measured, Measured]:
        x = _stay_or_leave(1e-4, 0.9)
        return _apart(x), x.bound(0.45)

    @control(
        "nine tenths of twice that: what is just best in the mean is the worse action in one of the kernels",
        Case("textbook:stay-or-leave,agents=2"),
    )
    def nine_tenths_of_twice(self, x: Kernels) -> tuple[Measured, Measured]:
        q = 1e-4
        x = _leaving([2 * q, 0.0], [q, 1.01 * q], 0.9)
        return self.optimal_in_the_mean.function(self, x)[0], x.bound(0.9)


def _apart(x: Kernels) -> Measured:
    means = [evaluate(x.mean, pi).at_rho[0] for pi in x.policies]
    return Measured.stack(
        [(evaluate(p, pi).at_rho[0] - v).abs() for p in x.own for pi, v in zip(x.policies, means)]
    )


def _beside_bound(panel: Panel, label: str, cases: list[Kernels]) -> Curve:
    """The largest difference of values for each of the cases, against its kappa."""
    apart = Measured.stack([_apart(x).max() for x in cases])
    kappa = np.array([float(x.kappa) for x in cases])
    return Curve(panel, label, kappa, apart, Measured.stack([x.bound() for x in cases]))


def _stay_or_leave(q: float, gamma: float) -> Kernels:
    """The state with the reward is left with probability q or never."""
    return _leaving([q], [0.0], gamma)


def _leaving(own: list[float], mean: list[float], gamma: float) -> Kernels:
    """A state with the reward that action a leaves with probability ``own[a]`` in an agent's kernel and
    ``mean[a]`` in the mean one, and a state in which nothing happens."""
    A = len(own)
    r, none = np.array([[1.0] * A, [0.0] * A]), np.zeros((0, 2, A))
    kernels = [np.array([[[1 - p, p] for p in leave], [[0.0, 1.0]] * A]) for leave in (mean, own)]
    centre, agent = (CMDP(P, r, none, [], [1.0, 0.0], gamma) for P in kernels)
    return Kernels(centre, [agent], [uniform(2, A)], distance([agent], centre))
