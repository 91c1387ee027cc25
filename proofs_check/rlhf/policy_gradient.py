r"""The gradient of the value of a finite-horizon softmax policy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from proofs_check.rlhf.landscape import points, policies
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.episodic import (
    EpisodicMDP,
    action_values,
    gradient,
    occupancy,
    repeated,
    start_value,
    stationary_gradient,
)
from tabular_fedrl.measured import Measured

MOST_EPISODES = 5_000


@dataclass(frozen=True)
class Episodes:
    """Every sequence of states and actions, ``(M, H)`` each, of a problem under policies ``pi`` and
    ``other (n, H, S, A)``; ``fixed (n, S, A)``: stationary ones."""

    mdp: EpisodicMDP
    states: Any
    actions: Any
    pi: Any
    other: Any
    fixed: Any

    @property
    def returns(self) -> Any:
        """``(M,)``"""
        reward = self.mdp.r[np.arange(self.mdp.H), self.states, self.actions]
        return Measured.of(reward).sum(-1)

    def probabilities(self, pi: Any) -> Any:
        """``(n, M)``"""
        mdp, s, a = self.mdp, self.states, self.actions
        p = Measured.of(mdp.rho)[s[:, 0]] * pi[:, 0, s[:, 0], a[:, 0]]
        for h in range(1, mdp.H):
            p = p * Measured.of(mdp.P[h - 1][s[:, h - 1], a[:, h - 1], s[:, h]]) * pi[:, h, s[:, h], a[:, h]]
        return p

    def scores(self, pi: Any) -> Any:
        r""":math:`E[r(\tau)\,\partial\log p(\tau)/\partial\theta_h(s,a)]`, ``(n, H, S, A)``."""
        mdp = self.mdp
        weights = self.probabilities(pi) * self.returns
        out = []
        for h in range(mdp.H):
            here = (self.states[:, h, None] == np.arange(mdp.S)).astype(np.float64)
            acted = (self.actions[:, h, None] == np.arange(mdp.A)).astype(np.float64)
            mass = (weights[:, :, None, None] * (here[:, :, None] * acted[:, None, :])).sum(1)
            out.append((mass - mass.sum(-1)[..., None] * pi[:, h])[:, None])
        return concatenate(out, 1)


class PolicyGradient(Theorem):
    r"""The gradient in the logits is occupancy times policy times advantage.

    **Statement.** For a softmax policy with logits :math:`\theta_h(s,a)` and
    :math:`A_h(s,a) = Q_h(s,a) - V_h(s)`,

    .. math:: \frac{\partial V(\rho)}{\partial \theta_h(s,a)} = d_h(s)\, \pi_h(a|s)\, A_h(s,a)
              = E\Big[r(\tau)\, \frac{\partial \log p(\tau)}{\partial \theta_h(s,a)}\Big] ,

    summed over h where the logits are the same at every step; and for any two policies

    .. math:: V^{p}(\rho) - V^{\pi}(\rho)
              = \sum_h E_{s \sim d_h^{p}} \langle p_h(\cdot|s), A_h^\pi(s, \cdot)\rangle .

    The left sides come from dynamic programming, the expectations from all episodes, enumerated.

    **Proof.** :math:`\nabla \log p(\tau) = \sum_h \nabla \log \pi_h(a_h|s_h)`, whose entry at (h, s, a) is
    :math:`1\{s_h = s\}(1\{a_h = a\} - \pi_h(a|s))`, of mean 0 given :math:`s_h` and what was before. So the
    rewards before h drop out, and those from h on have mean :math:`Q_h(s_h, a_h)`. For the second identity
    add and subtract :math:`V_h^\pi(s_h)` along an episode of p.

    **Source.** Sutton et al. (1999) for the gradient, Kakade and Langford (2002) for the difference;
    recalled, elementary.
    """

    id = "rlhf.policy-gradient"
    mark = "recalled"
    source = "Sutton et al. 1999; Kakade, Langford 2002"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=4"),
        Case("episodic-chain:H=5"),
        Case("episodic-tree:H=3", count=2),
        Case("episodic-garnet:S=3,A=2,H=3"),
        Case("episodic-garnet:S=2,A=3,H=4,varying=false"),
        Case("episodic-garnet:S=8,A=8,H=2", count=2),
    )
    certified = (Case("episodic-bandit:A=2"), Case("episodic-garnet:S=2,A=2,H=3", count=1))
    small = {"count": 2}

    @hypothesis(f"at most {MOST_EPISODES} episodes to enumerate")
    def few(self, problem: EpisodicMDP) -> bool:
        return (problem.S * problem.A) ** problem.H <= MOST_EPISODES

    def setup(self, problem: EpisodicMDP, count: int = 4, spread: float = 1.0, seed: int = 0) -> Episodes:
        pairs = product(range(problem.S * problem.A), repeat=problem.H)
        states, actions = np.divmod(np.array(list(pairs)), problem.A)
        pi, other = (policies(points(problem, count, spread, seed + k)) for k in (0, 1))
        return Episodes(problem, states, actions, pi, other, pi[:, 0])

    @identity(
        r"\partial V(\rho)/\partial\theta_h(s,a) = E[r(\tau)\,\partial\log p(\tau)/\partial\theta_h(s,a)]"
    )
    def time_dependent(self, x: Episodes) -> tuple[Measured, Measured]:
        return gradient(x.mdp, x.pi), x.scores(x.pi)

    @identity(r"\partial V(\rho)/\partial\theta(s,a) = \sum_h d_h(s)\pi(a|s)A_h(s,a)")
    def stationary(self, x: Episodes) -> tuple[Measured, Measured]:
        return stationary_gradient(x.mdp, x.fixed), x.scores(repeated(x.fixed, x.mdp.H)).sum(1)

    @identity(r"\sum_a \partial V(\rho)/\partial\theta_h(s,a) = 0")
    def shift(self, x: Episodes) -> tuple[Measured, Measured]:
        return gradient(x.mdp, x.pi).sum(-1), Measured(0.0)

    @identity(r"V^p(\rho) - V^\pi(\rho) = \sum_h E_{d_h^p} \langle p_h, A_h^\pi\rangle")
    def difference(self, x: Episodes) -> tuple[Measured, Measured]:
        return start_value(x.mdp, x.other) - start_value(x.mdp, x.pi), _expected(x, x.other)

    @control(
        "Q does not do in place of the advantage", Case("episodic-garnet:S=3,A=2,H=3"), kind=Kind.IDENTITY
    )
    def without_baseline(self, x: Episodes) -> tuple[Measured, Measured]:
        Q = action_values(x.mdp, x.pi)[0]
        return occupancy(x.mdp, x.pi)[..., None] * x.pi * Q, x.scores(x.pi)

    @control(
        "the visits are those of the new policy", Case("episodic-garnet:S=3,A=2,H=3"), kind=Kind.IDENTITY
    )
    def visits_of_the_other(self, x: Episodes) -> tuple[Measured, Measured]:
        return start_value(x.mdp, x.other) - start_value(x.mdp, x.pi), _expected(x, x.pi)


def _expected(x: Episodes, visiting: Any) -> Any:
    Q, V = action_values(x.mdp, x.pi)
    return (occupancy(x.mdp, visiting)[..., None] * x.other * (Q - V[..., :-1, :, None])).sum((-3, -2, -1))
