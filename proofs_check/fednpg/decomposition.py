r"""The Lagrangian splits over the agents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Case, Kind, Theorem, control, identity
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import random_log_policy


@dataclass(frozen=True)
class Draws:
    """Values of policies ``(draws, 1+m)`` and private multipliers ``(draws, N, m)``, 0 where unseen."""

    problem: FederatedCMDP
    values: Measured
    multipliers: Measured


class Decomposition(Theorem):
    r"""The sum of the agents' Lagrangians is the global Lagrangian.

    **Setting.** N agents; agent i sees the constraints in :math:`\Gamma_i` and keeps multipliers
    :math:`\lambda_{ij} \ge 0`.

    .. math:: L_0(\pi, \lambda) &= V_r(\rho) - \textstyle\sum_j \lambda_j (V_{c_j}(\rho) - d_j), \\
              L_i(\pi, \lambda_i) &= \tfrac1N V_r(\rho) - \textstyle\sum_{j \in \Gamma_i} \lambda_{ij}
              (V_{c_j}(\rho) - d_j).

    **Statement.** :math:`\sum_i L_i(\pi, \lambda_i) = L_0(\pi, \lambda)` with :math:`\lambda_j = \sum_{i: j
    \in \Gamma_i} \lambda_{ij}`, for every overlap of the :math:`\Gamma_i`. The factor 1/N stands on the
    reward only.

    **Proof.** :math:`\sum_i V_r/N = V_r`, and :math:`\sum_i \sum_{j \in \Gamma_i} = \sum_j \sum_{i: j \in
    \Gamma_i}`.

    **Source.** The Lagrangians are those of the authors' public code (arXiv 2405.03236); the statement is
    ours.
    """

    id = "fednpg.decomposition"
    mark = "ours"
    source = "arXiv 2405.03236 (Lagrangians), theory notes (identity)"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=1,agents=6"),
        Case("random-mdp:seed=2,agents=2"),
        Case("random-mdp:seed=3,visible=0+1/1+2+3/0+3"),
        Case("windy-cliff:ncost=2"),
        Case("gym:FrozenLake-v1,agents=3"),
    )
    certified = (Case("textbook:three-state"), Case("random-mdp:seed=3,visible=0+1/1+2+3/0+3", draws=4))

    def setup(self, problem: FederatedCMDP, draws: int = 8, seed: int = 0) -> Draws:
        rng = np.random.default_rng(seed)
        cmdp = problem.cmdp
        policies = stack([random_log_policy(rng, cmdp.S, cmdp.A, 2.0) for _ in range(draws)])
        multipliers = rng.exponential(1.0, (draws, problem.N, cmdp.m)) * problem.mask
        return Draws(problem, evaluate(cmdp, policies).at_rho, Measured(multipliers))

    @identity(
        r"\sum_i L_i(\pi, \lambda_i) = L_0(\pi, \lambda), \quad "
        r"\lambda_j = \sum_{i: j \in \Gamma_i} \lambda_{ij}"
    )
    def split(self, x: Draws) -> tuple[Measured, Measured]:
        return _locals(x, x.problem.N), _global(x, x.multipliers.sum(1))

    @control(
        "without the factor 1/N the reward is counted N times", Case("random-mdp:seed=1"), kind=Kind.IDENTITY
    )
    def whole_reward(self, x: Draws) -> tuple[Measured, Measured]:
        return _locals(x, 1), _global(x, x.multipliers.sum(1))

    @control(
        "with overlapping sets the multipliers add up; their mean is wrong",
        Case("random-mdp:seed=3,visible=0+1/1+2+3/0+3"),
        kind=Kind.IDENTITY,
    )
    def mean_multiplier(self, x: Draws) -> tuple[Measured, Measured]:
        observers = x.problem.observers.astype(np.float64)
        return _locals(x, x.problem.N), _global(x, x.multipliers.sum(1) / observers)


def _locals(x: Draws, shares: int) -> Measured:
    """The sum of the agents' Lagrangians, each with one of so many shares of the reward."""
    reward, excess = x.values[:, :1], x.values[:, 1:] - x.problem.cmdp.d
    per_agent = reward / float(shares) - (x.multipliers * excess.reshape(len(excess), 1, -1)).sum(-1)
    return per_agent.sum(-1)


def _global(x: Draws, multipliers: Measured) -> Measured:
    excess = x.values[:, 1:] - x.problem.cmdp.d
    return x.values[:, 0] - (excess * multipliers).sum(-1)
