r"""How smooth the value of a finite-horizon softmax policy is in its logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.rlhf.landscape import points, policies
from tabular_fedrl.claims import Case, Theorem, chain, control, identity, upper
from tabular_fedrl.episodic import (
    EpisodicMDP,
    action_values,
    curvature,
    extreme_returns,
    gradient,
    occupancy,
    repeated,
    start_value,
)
from tabular_fedrl.measured import Measured

AXES = (-3, -2, -1)


@dataclass(frozen=True)
class Directions:
    """Policies ``pi`` and directions ``u`` of their logits, ``(n, H, S, A)`` both; ``square (n,)``: the
    squared norm of the direction in the logits that are free."""

    mdp: EpisodicMDP
    pi: Any
    u: Any
    square: Any

    @property
    def R(self) -> Any:
        """The largest difference of two returns."""
        low, high = extreme_returns(self.mdp)
        return Measured.of(high - low)

    @property
    def curvature(self) -> Any:
        r""":math:`|u^T \nabla^2 V u|`, ``(n,)``"""
        return curvature(self.mdp, self.pi, self.u).abs()

    @property
    def visited(self) -> Any:
        """Laws of the states ``(n, H, S)``."""
        return occupancy(self.mdp, self.pi)

    @property
    def omega(self) -> Any:
        r""":math:`u - E_\pi u`: what an action adds to the score along u."""
        return self.u - (self.pi * self.u).sum(-1)[..., None]

    @property
    def fisher(self) -> Any:
        r""":math:`u^T F u = \sum_{h,s} d_h(s) \mathrm{Var}_{\pi_h(s)}(u_h(s))`, ``(n,)``"""
        return (self.visited[..., None] * self.pi * self.omega * self.omega).sum(AXES)

    @property
    def squared_score(self) -> Any:
        r""":math:`E(u^T \nabla\log p(\tau))^2`, ``(n,)``: the second moment of the sum of :math:`\omega`
        over an episode, backwards in time."""
        later = action_values(self.mdp, self.pi, self.omega)[0] - self.omega
        return start_value(self.mdp, self.pi, self.omega * (self.omega + later * 2.0))

    @property
    def halved(self) -> Any:
        r""":math:`\tfrac12 \sum_{h,s} d_h(s) \|u_h(s)\|^2`, ``(n,)``"""
        return (self.visited * (self.u * self.u).sum(-1)).sum((-2, -1)) / 2.0

    def proof(self, last: str, bound: Any) -> Iterator[tuple[str, Any]]:
        """The chain of both claims."""
        yield "the left side", self.curvature
        yield (
            "returns are within R/2 of their middle, which adds nothing; u'H u is minus the variances",
            self.R * (self.squared_score + self.fisher) / 2.0,
        )
        yield "the second moment of the score is u'Fu", self.R * self.fisher
        yield "a variance is at most half the squared norm", self.R * self.halved
        yield last, bound


@dataclass(frozen=True)
class Curved:
    """Directions of time-dependent and of stationary logits, and how far gradients move along the former."""

    timed: Directions
    stationary: Directions
    moved: Any


class Smoothness(Theorem):
    r"""The value is smooth in the logits, with half the range of returns as constant.

    **Statement.** Let returns lie in an interval of length R. For every direction u of the logits of a
    softmax policy,

    .. math:: |u^T \nabla^2 V u| \le \tfrac{R}{2} \|u\|_2^2 \quad\text{(time-dependent)}, \qquad
              |u^T \nabla^2 V u| \le \tfrac{R H}{2} \|u\|_2^2 \quad\text{(stationary)},

    and so :math:`\|\nabla V(\theta + u) - \nabla V(\theta)\|_2 \le \tfrac{R}{2}\|u\|_2` for time-dependent
    logits. Checked at ``count`` random logits along random directions, R the largest difference of two
    returns.

    **Proof.** Let :math:`g = \nabla \log p(\tau)` and :math:`H_\tau = \nabla^2 \log p(\tau)`. Differentiating
    twice, :math:`u^T \nabla^2 V u = E[(r(\tau) - c)((u^T g)^2 + u^T H_\tau u)]` for every constant c, because
    :math:`E[(u^T g)^2 + u^T H_\tau u] = 0`; take for c the middle of the interval. The Hessian
    :math:`H_\tau` is negative: :math:`-u^T H_\tau u` is the sum over the steps of the variances of
    :math:`u_h(s_h, \cdot)` under :math:`\pi_h(\cdot|s_h)`. So

    .. math:: |u^T \nabla^2 V u| \le \tfrac{R}{2} \big(E(u^T g)^2 + E[-u^T H_\tau u]\big) = R\, u^T F u,
              \qquad u^T F u = \sum_{h,s} d_h(s)\, \mathrm{Var}_{\pi_h(s)}(u_h(s)) .

    A variance is at most half the squared norm, and :math:`d_h(s) \le 1`; for stationary logits
    :math:`\sum_h d_h(s) \le H`.

    **Source.** Theory notes, federated RLHF, section 5.
    """

    id = "rlhf.smoothness"
    mark = "ours"
    source = "theory notes, federated RLHF, section 5"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=5", spread=2.0),
        Case("episodic-chain:H=8", spread=2.0),
        Case("episodic-tree:H=3"),
        Case("episodic-garnet:S=3,A=2,H=4"),
        Case("episodic-garnet:S=6,A=4,H=10,b=3,seed=2"),
        Case("episodic:gym:FrozenLake-v1,H=12"),
    )
    certified = (
        Case("episodic-bandit:A=2", count=2),
        Case("episodic-chain:H=4", count=2),
        Case("episodic-garnet:S=3,A=2,H=3", count=1),
    )
    small = {"count": 2}

    def setup(self, problem: EpisodicMDP, count: int = 6, spread: float = 1.0, seed: int = 0) -> Curved:
        theta, u = points(problem, count, spread, seed), points(problem, count, 1.0, seed + 1)
        fixed, turn = (repeated(x[:, 0], problem.H) for x in (theta, u))
        here, there = (gradient(problem, policies(x)) for x in (theta, theta + u))
        return Curved(
            Directions(problem, policies(theta), u, (u * u).sum(AXES)),
            Directions(problem, policies(fixed), turn, (u[:, 0] * u[:, 0]).sum((-2, -1))),
            ((there - here) * (there - here)).sum(AXES).sqrt(),
        )

    @upper(r"|u^T \nabla^2 V u| \le \frac{R}{2}\|u\|_2^2", constant=1 / 2)
    def time_dependent(self, x: Curved) -> tuple[Measured, Measured]:
        return x.timed.curvature, x.timed.R * x.timed.square / 2.0

    @chain("time_dependent")
    def proof(self, x: Curved) -> Iterator[tuple[str, Measured]]:
        yield from x.timed.proof("the law of a state is at most 1", x.timed.R * x.timed.square / 2.0)

    @upper(r"|u^T \nabla^2 V u| \le \frac{RH}{2}\|u\|_2^2", constant=1 / 2)
    def stationary(self, x: Curved) -> tuple[Measured, Measured]:
        return x.stationary.curvature, _stationary(x)

    @chain("stationary")
    def stationary_proof(self, x: Curved) -> Iterator[tuple[str, Measured]]:
        yield from x.stationary.proof("a state is visited at most H times", _stationary(x))

    @upper(r"\|\nabla V(\theta+u) - \nabla V(\theta)\|_2 \le \frac{R}{2}\|u\|_2")
    def gradients(self, x: Curved) -> tuple[Measured, Measured]:
        return x.moved, x.timed.R * x.timed.square.sqrt() / 2.0

    @identity(r"E(u^T \nabla\log p(\tau))^2 = \sum_{h,s} d_h(s) \mathrm{Var}_{\pi_h(s)}(u_h(s))")
    def fisher(self, x: Curved) -> tuple[Measured, Measured]:
        return x.timed.squared_score, x.timed.fisher

    @control(
        "R/8 is not enough: two arms where the logistic function bends most", Case("episodic-bandit:A=2")
    )
    def eighth(self, x: Curved) -> tuple[Measured, Measured]:
        bent = _along_first(x.timed.mdp, float(np.log(2 + np.sqrt(3))))
        return bent.curvature, bent.R * bent.square / 8.0

    @control("R/2 is not enough for stationary logits: staying on a long path", Case("episodic-chain:H=20"))
    def without_H(self, x: Curved) -> tuple[Measured, Measured]:
        bent = _along_first(x.timed.mdp, 1.893)
        return bent.curvature, bent.R * bent.square / 2.0


def _stationary(x: Curved) -> Measured:
    return x.stationary.R * x.stationary.square * x.stationary.mdp.H / 2.0


def _along_first(mdp: EpisodicMDP, logit: float) -> Directions:
    """Stationary logits that prefer the first action by ``logit`` in the first state, and the direction that
    raises it against the second."""
    theta, u = np.zeros((2, 1, mdp.S, mdp.A))
    theta[0, 0, 0], u[0, 0, :2] = logit, (1.0, -1.0)
    pi, turn = (repeated(Measured(x), mdp.H) for x in (theta, u))
    return Directions(mdp, policies(pi), turn, Measured(2.0))
