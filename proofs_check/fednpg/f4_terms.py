r"""The terms of F4's proof, round by round, as enclosures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.regularised import regularised_fednpg
from tabular_fedrl.algorithms.step_sizes import (
    cost_gaps,
    lagrangian_spans,
    number,
    per_constraint,
    positive_or,
)
from tabular_fedrl.arithmetic import array, concatenate, magnitude, seen, stack
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, evaluate_soft, visitation
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.measured import UNIT, Measured, dot
from tabular_fedrl.policies import enclosed, enclosed_kl
from tabular_fedrl.runner import Run
from tabular_fedrl.solvers import Saddle, saddle


@dataclass(frozen=True)
class Path:
    """What regularised FedNPG visited: global log-policies ``(K+1, S, A)``, the agents' after their step
    ``(K, N, S, A)``, multipliers ``(K+1, N, m)``, 0 where unseen; and the saddle point it is compared
    with."""

    problem: FederatedCMDP
    tau: float
    eta: Any
    cap: Any
    policies: Any
    local: Any
    multipliers: Any
    target: Saddle


@dataclass(frozen=True)
class Terms:
    r"""Enclosures of the terms of the proof, for each round.

    ``divergence (K+1,)``: :math:`\frac{1}{1-\gamma} E_{d} KL(\pi^\star_\tau\|\bar\pi_k)`; ``local_divergence
    (K,)``: the same, averaged over the agents after their step; ``distance (K+1,)``:
    :math:`\frac12\|\lambda^k - \lambda^\star_\tau\|^2`; ``ascent (K,)``:
    :math:`\frac{1}{1-\gamma} E_d \langle\pi^\star_\tau - \bar\pi_k, \sum_i \tilde Q_i\rangle`; ``slope
    (K,)``: :math:`\langle g, \lambda^k - \lambda^\star_\tau\rangle`,
    :math:`g_{ij} = V_{c_j} - d_j - \tau\lambda_{ij}`; ``ranges (K, N)``:
    :math:`E_d\,\mathrm{range}(\tilde Q_i)^2`; ``largest (K,)``: the largest range over agents and states;
    ``squares (K,)``: :math:`\|g\|^2`; ``gap``: the saddle point's duality gap; ``rounding``: how far a step
    in floats is from an exact one, in units of Phi.
    """

    path: Path
    divergence: Measured
    local_divergence: Measured
    distance: Measured
    ascent: Measured
    slope: Measured
    ranges: Measured
    largest: Measured
    squares: Measured
    gap: float
    rounding: float

    @property
    def potential(self) -> Measured:
        r""":math:`\Phi_k`, ``(K+1,)``"""
        return self.divergence + self.distance

    @property
    def per_agent(self) -> Measured:
        r""":math:`\eta/N`"""
        return Measured(self.path.eta) / float(self.path.problem.N)

    @property
    def noise(self) -> tuple[Measured, Measured]:
        """The primal and the dual part of the term in eta squared, ``(K,)`` each."""
        N, effective = float(self.path.problem.N), Measured(1.0) - self.path.problem.cmdp.gamma
        square = Measured(self.path.eta) ** 2
        return square * self.ranges.sum(-1) / (effective * (8.0 * N)), square * self.squares / (2.0 * N * N)

    def contracted(self, rate: float = 1.0) -> Measured:
        r""":math:`(1 - \mathrm{rate}\,\eta\tau/N)\,\Phi_k`, ``(K,)``"""
        return self.potential[:-1] * (1.0 - self.per_agent * (rate * self.path.tau))

    def loosened(self, right: Measured, steps: float = 1.0) -> Measured:
        """``right`` with what one round loses because the saddle point and the step are floats."""
        return right.widened(steps * float(self.per_agent.upper) * self.gap).rounded_by(steps * self.rounding)


def terms(path: Path) -> Terms:
    """Every term of the proof at every round of ``path``."""
    problem, target, tau, N = path.problem, path.target, path.tau, float(path.problem.N)
    cmdp, K = problem.cmdp, len(path.local)
    d = visitation(cmdp, target.log_policy)
    effective = Measured(1.0) - cmdp.gamma
    p = enclosed(target.log_policy)[1]
    wanted = seen(target.multipliers)
    offset = Measured(path.multipliers) - wanted
    ascent, ranges, largest, slope, squares = [], [], [], [], []
    for k in range(K):
        log_pi, pi = enclosed(path.policies[k])
        q = _soft_q(path, k) - log_pi * (tau / N)
        spread = q.max(-1) - q.min(-1)
        ascent.append(average(d, dot(p - pi, q)).sum() / effective)
        ranges.append(average(d, spread * spread))
        largest.append(spread.max())
        costs = evaluate(cmdp, path.policies[k]).at_rho[1:]
        g = costs - cmdp.d - Measured(path.multipliers[k]) * tau
        g = g * problem.mask.astype(np.float64)
        slope.append((g * offset[k]).sum())
        squares.append((g * g).sum())
    top = Measured.stack(largest)
    # A step in floats: eta times a Q with the evaluation's rounding, a log-softmax, a mean of N policies.
    eta, horizon = magnitude(Measured(path.eta)), magnitude(Measured(cmdp.horizon))
    reach = 1 + magnitude(path.policies) + eta * magnitude(top) * horizon
    rounding = 64 * (cmdp.S + cmdp.A + problem.N) * UNIT * reach * horizon
    off = 1 + float(np.sqrt(magnitude(Measured.stack(squares))))
    rounding += 16 * UNIT * (1 + eta) * (1 + magnitude(Measured(path.cap))) * off
    return Terms(
        path=path,
        divergence=average(d, enclosed_kl(target.log_policy, path.policies)) / effective,
        local_divergence=average(d, enclosed_kl(target.log_policy, path.local)).mean(-1) / effective,
        distance=(offset * offset).sum((-2, -1)) * 0.5,
        ascent=Measured.stack(ascent),
        slope=Measured.stack(slope),
        ranges=Measured.stack(ranges),
        largest=top,
        squares=Measured.stack(squares),
        gap=float(target.value.upper - target.value.lower),
        rounding=rounding,
    )


def _soft_q(path: Path, k: int) -> Measured:
    """Every agent's soft Q in round k, ``(N, S, A)``."""
    cmdp, N = path.problem.cmdp, float(path.problem.N)
    f = Measured(cmdp.r) / N - dot(path.multipliers[k][..., None, None], cmdp.c, axis=1)
    Q = evaluate_soft(cmdp, path.policies[k], f.plain, path.tau / Measured(N).plain).Q
    return Q.rounded_by(float(f.error.max()) * magnitude(Measured(cmdp.horizon)) * (1 + 1e-12))


def path_of(result: Run, tau: float) -> Path:
    """What a run with its iterates visited."""
    assert result.iterates is not None
    cap = number(array(result.parameters["dual_cap"]).max())
    multipliers = concatenate([result.multipliers[:, :, 0], result.final_multipliers[None]])
    return Path(
        problem=result.problem,
        tau=tau,
        eta=result.parameters["eta"],
        cap=cap,
        policies=result.iterates.log_policies,
        local=result.iterates.local[:, :, -1],
        multipliers=seen(multipliers),
        target=saddle(result.problem, tau, positive_or(cap, 1.0)),
    )


def with_exponent_of_f1(path: Path) -> Path:
    """The same rounds with the primal step eta/(1-gamma), everything else left as it was."""
    problem, m, K = path.problem, path.problem.cmdp.m, len(path.local)
    steps = PublicSteps(
        path.eta * problem.cmdp.horizon,
        per_constraint("eta_dual", path.eta / problem.N, m),
        per_constraint("dual_cap", path.cap, m),
    )
    rounds = list(islice(regularised_fednpg(federate(problem, steps), path.tau), K))
    multipliers = [r.multipliers[:, 0] for r in rounds] + [rounds[-1].next_multipliers]
    return replace(
        path,
        policies=stack([r.log_policy for r in rounds] + [rounds[-1].next_log_policy]),
        local=stack([r.local[:, -1] for r in rounds]),
        multipliers=seen(stack(multipliers)),
    )


def range_bound(path: Path) -> Measured:
    r""":math:`D = \max_i (B_i + \gamma\frac\tau N\log|A|)/(1-\gamma)`"""
    cmdp, N = path.problem.cmdp, float(path.problem.N)
    B = lagrangian_spans(path.problem, per_constraint("dual_cap", path.cap, cmdp.m)).max()
    entropy = Measured(float(cmdp.A)).log() * cmdp.gamma * path.tau / N
    reach = Measured(B).rounded_by(32 * UNIT * magnitude(B))
    return (entropy + reach) / (Measured(1.0) - cmdp.gamma)


def last_iterate_bound(x: Terms) -> tuple[Measured, float]:
    r"""The bound on :math:`\Phi_k` for k = 0..K, ``(K+1,)``, and how many steps' losses add up in it."""
    path = x.path
    problem, rate = path.problem, 1.0 - x.per_agent * path.tau
    G = (Measured(cost_gaps(problem.cmdp)) + path.cap * path.tau) ** 2
    dual = (G * problem.observers.astype(np.float64)).sum() / (2.0 * problem.N**2)
    primal = range_bound(path) ** 2 / ((Measured(1.0) - problem.cmdp.gamma) * 2.0)
    floor = (primal + dual) / (Measured(path.tau) / x.per_agent / float(problem.N) ** 2)
    decay = [Measured(1.0)]
    for _ in range(len(x.potential) - 1):
        decay.append(decay[-1] * rate)
    bound = Measured.stack(decay) * x.potential[0] + floor
    lost = float((Measured(1.0) / (x.per_agent * path.tau)).upper)
    return bound, lost


def farthest(path: Path) -> Measured:
    r"""What Phi cannot exceed along the iterates: :math:`-\log\bar\pi \le \log|A| + ND/\tau` bounds the
    divergence, the box the multipliers."""
    cmdp = path.problem.cmdp
    reach = Measured(float(cmdp.A)).log() + range_bound(path) * float(path.problem.N) / path.tau
    return reach * cmdp.horizon + Measured(path.cap) ** 2 * (path.problem.pairs / 2)
