r"""The constants of F1's bound, and the run they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.step_sizes import cost_gaps, federated_steps, number
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Bound:
    r"""The constants of the bound, enclosed, for T = ``rounds * local_steps``.

    ``gamma``; ``logs``: :math:`\log|A|`; ``N`` agents, ``observers (m,)``: how many see each constraint;
    ``span_r``, ``span_c (m,)``: the signals' spans; ``B (N,)``: :math:`B_i`; ``G (m,)``: :math:`G_j`, rounded
    up in floats; ``eta_dual (m,)``: the dual steps; ``dual_cap``: :math:`\Lambda`, the largest cap. For a
    batch of problems these are plain arrays with its axis in front, and ``number`` takes floats as they are.
    """

    gamma: Any
    logs: Any
    N: int
    observers: Array
    rounds: int
    local_steps: int
    eta: Any
    eta_dual: Any
    dual_cap: Any
    span_r: Any
    span_c: Any
    B: Any
    G: Any
    number: Callable[[Any], Any] = Measured

    @classmethod
    def of(
        cls, problem: FederatedCMDP, rounds: int, local_steps: int, eta: Any, eta_dual: Any, dual_cap: Any
    ) -> Bound:
        """With the given steps; None stands for the tuned ones."""
        given = {"local_steps": local_steps, "eta": eta, "eta_dual": eta_dual, "dual_cap": dual_cap}
        steps = federated_steps(problem, rounds, given)
        cmdp, cap = problem.cmdp, number(steps.dual_cap.max(initial=0.0))
        span_r = Measured(cmdp.r.max()) - cmdp.r.min()
        span_c = Measured(cmdp.c.max(axis=(1, 2))) - cmdp.c.min(axis=(1, 2))
        B = (span_c * problem.mask.astype(np.float64)).sum(-1) * cap + span_r / float(problem.N)
        logs, observers = Measured(float(cmdp.A)).log(), problem.observers.astype(np.float64)
        sizes = cmdp.gamma, logs, problem.N, observers
        spans = span_r, span_c, B
        return cls(*sizes, rounds, local_steps, steps.eta, steps.eta_dual, cap, *spans, cost_gaps(cmdp))

    @property
    def T(self) -> float:
        return float(self.rounds * self.local_steps)

    @property
    def b2(self) -> Any:
        return (self.B * self.B).sum(-1)

    @property
    def effective(self) -> Any:
        """``1 - gamma``"""
        return self.number(1.0) - self.gamma

    @property
    def primal(self) -> Any:
        r""":math:`N \log|A| / (\eta T)`"""
        return self.logs * float(self.N) / (self.number(self.eta) * self.T)

    @property
    def step(self) -> Any:
        r""":math:`\eta b_2 / (8 (1-\gamma)^4)`"""
        return self.b2 * self.eta / (self.effective**4 * 8.0)

    @property
    def dual(self) -> Any:
        r""":math:`(\eta_\lambda/2) \sum_{ij} G_j^2`"""
        return (self.number(self.G) * self.G * self.observers * self.eta_dual).sum(-1) / 2.0

    def rate(self, squares: Any = 0.0) -> Any:
        r""":math:`R(\lambda)` for a comparator with :math:`\sum_i \lambda_{ij}^2` = ``squares``: for each j,
        or the same for all."""
        rate = self.primal + self.step * float(self.local_steps) + self.dual
        return rate + (squares / (self.number(self.eta_dual) * (2.0 * self.T))).sum(-1)

    @property
    def tuned(self) -> Bound:
        """The same with enclosures of the tuned steps, which the algorithm has as floats."""
        share = self.logs * (8.0 * self.N) / (self.b2 * (self.local_steps * self.T))
        dual = Measured(self.dual_cap) / (self._largest_gap * Measured(self.T).sqrt())
        each = dual * np.ones(len(self.observers))
        return replace(self, eta=share.sqrt() * self.effective**2, eta_dual=each, number=Measured.of)

    @property
    def tuned_rate(self) -> Any:
        r""":math:`R(0)` for the tuned steps in one formula."""
        half = self.logs * self.b2 * float(self.N * self.local_steps) / (2.0 * self.T)
        squares = (Measured(self.G) * self.G * self.observers).sum(-1)
        dual = squares * self.dual_cap / (self._largest_gap * Measured(self.T).sqrt() * 2.0)
        return half.sqrt() / self.effective**2 + dual

    @property
    def _largest_gap(self) -> Measured:
        return Measured(self.G).max() if np.any(self.G > 0) else Measured(1.0)

    @property
    def trivial_gap(self) -> Any:
        return self.span_r / self.effective

    @property
    def violation(self) -> Any:
        r""":math:`\tfrac{2}{\Lambda} R(\Lambda 1)`"""
        square = self.number(self.dual_cap) ** 2
        return self.number(2.0) / self.dual_cap * self.rate(square.reshape(*square.shape, 1))


@dataclass(frozen=True)
class Checked:
    """A run and the bound with its steps."""

    run: Run
    bound: Bound


def checked(
    problem: FederatedCMDP, rounds: int, local_steps: int, aggregation: str = "arithmetic", **steps: Any
) -> Checked:
    """Run FedNPG and gather the bound for the steps it used."""
    result = run("fednpg", problem, rounds=rounds, local_steps=local_steps, aggregation=aggregation, **steps)
    eta, eta_dual, cap = (result.parameters[name] for name in ("eta", "eta_dual", "dual_cap"))
    return Checked(result, Bound.of(problem, rounds, local_steps, eta, eta_dual, cap))
