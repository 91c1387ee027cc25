"""Local steps of agents on one small problem; which one, says :mod:`tabular_fedrl.loops.variants`. Tables are
``(A, S)``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled, exp, log_softmax
from tabular_fedrl.kernels.rollouts import rollouts
from tabular_fedrl.kernels.single import INFLATE, advantage, assign, visitation
from tabular_fedrl.loops.single_tables import Problem, Scratch, Steps, Values
from tabular_fedrl.loops.variants import Variant
from tabular_fedrl.measured import UNIT, Array


@compiled
def dual_step(x: Problem, steps: Steps, at_rho: Array, i: int, times: int, tau: float, lam: Array) -> None:
    r"""Move agent i's multipliers along :math:`V_c - d - \tau\lambda`, ``times`` steps at once, within the
    cap."""
    for j in range(lam.size):
        if x.mask[i, j]:
            violation = at_rho[1 + j, 0] - x.d[j] - tau * lam[j]
            lam[j] = min(max(lam[j] + times * steps.eta_dual[j] * violation, 0.0), steps.dual_cap[j])


@compiled
def lagrangian(variant: Variant, lam: Array, w: Array) -> None:
    r"""Weights of the signals in :math:`f_i = r/N - \sum_j \lambda_{ij} c_j`, and of entropy, the last."""
    w[0] = variant.reward_factor
    for j in range(lam.size):
        w[1 + j] = -lam[j]  # 0 where unseen: there it never moves
    if variant.tau > 0:
        w[w.size - 1] = variant.reward_factor * variant.tau


@compiled
def direction(
    x: Problem, P: Array, exponent: float, variant: Variant, values: Values, pi: Array, z: Scratch, out: Array
) -> float:
    r"""``out (A, S)``: what is added to the logits, of the signals as weighted in ``z``, in the kernel P
    ``(S, A, S)``; returns a bound on its error where that is :math:`\eta A_i/(1-\gamma)`."""
    A, S = out.shape
    w, n, d = z.weights, z.weights.size, z.lines[1]
    off = 0.0
    for k in range(n):
        noise = (x.slack + n * UNIT) * values.size[k]
        off += abs(w[k]) * ((1.0 + x.gamma) * values.error[k] + noise)
    _weighted_advantage(P, x.gamma, values.V, z, out)
    if variant.vanilla:
        visitation(z.operator, x.rho, x.gamma, z.flow, d)
        for a in range(A):
            for s in range(S):
                out[a, s] *= d[s] * pi[a, s]
    for a in range(A):
        for s in range(S):
            out[a, s] *= exponent
    return INFLATE * exponent * off


@compiled
def _weighted_advantage(P: Array, gamma: float, values: Array, z: Scratch, out: Array) -> None:
    """``out (A, S)``: the advantage of the signals as weighted in ``z``, of ``values (n, S)``."""
    A, S = out.shape
    V = z.lines[0]
    for s in range(S):
        V[s] = 0.0
        for a in range(A):
            out[a, s] = 0.0
    for k in range(z.weights.size):
        for s in range(S):
            V[s] += z.weights[k] * values[k, s]
        for a in range(A):
            for s in range(S):
                out[a, s] += z.weights[k] * z.f[k, a, s]
    advantage(P, V, gamma, out)


@compiled
def clipped(
    x: Problem, steps: Steps, k: int, variant: Variant, values: Values, log_pi: Array, lam: Array, z: Scratch,
    gain: Array, after: Array, pi: Array,
) -> None:  # fmt: skip
    """FedPPO's update from ``log_pi`` with multipliers after the dual step: gradient steps on the clipped
    surrogate."""
    A, S = gain.shape
    eta, clipping = steps.exponents[k], steps.clipping
    price, weight, d = np.empty((A, S)), np.empty((A, S)), np.empty(S)
    visitation(z.operator, x.rho, x.gamma, z.flow, d)
    lagrangian(variant, lam, z.weights)
    scale = variant.reward_factor
    for j in range(lam.size):
        scale += lam[j]
    z.weights[0] = 0.0
    _weighted_advantage(x.P, x.gamma, values.V, z, price)
    z.weights[:] = 0.0
    z.weights[0] = variant.reward_factor
    _weighted_advantage(x.P, x.gamma, values.V, z, gain)
    assign(log_pi, after[0])
    for _ in range(clipping.epochs):
        far = 0.0
        for s in range(S):
            mean = 0.0
            for a in range(A):
                q = exp(after[0, a, s] - log_pi[a, s])
                idle = q > 1.0 + clipping.clip if gain[a, s] >= 0 else q < 1.0 - clipping.clip
                weight[a, s] = (price[a, s] + (0.0 if idle else gain[a, s])) / scale
                mean += pi[0, a, s] * weight[a, s]
            for a in range(A):
                after[0, a, s] += eta * d[s] * pi[0, a, s] * (weight[a, s] - mean)
        log_softmax(after, pi, z.lines)
        for s in range(S):
            for a in range(A):
                far += d[s] * pi[0, a, s] * (after[0, a, s] - log_pi[a, s])
        if far > clipping.target:
            return


@compiled
def sampled(
    x: Problem, steps: Steps, k: int, w: Array, pi: Array, stream: NDArray[np.uint64], out: Array,
    at_rho: Array,
) -> int:  # fmt: skip
    r"""``out (A, S)``: the step along the estimated advantage of the signals with weights ``w``, from
    rollouts of ``pi (A, S)``; ``at_rho (1+m, 2)``: the estimated values. Returns the simulated transitions.
    """
    A, S = pi.shape
    policy = np.empty((S, A))
    for s in range(S):
        total = 0.0
        for a in range(A):
            total += pi[a, s]
            policy[s, a] = total
    y = steps.simulator
    means, transitions = rollouts(
        y.indptr, y.successors, y.cumulative, y.signals, policy, x.gamma, y.states, y.actions, y.samples,
        stream,
    )  # fmt: skip
    for c in range(at_rho.shape[0]):
        at_rho[c, 0] = 0.0
        for s in range(S):
            at_rho[c, 0] += x.rho[s] * means[s, c]
    for s in range(S):
        for a in range(A):
            out[a, s] = 0.0
            for c in range(at_rho.shape[0]):
                out[a, s] += w[c] * (means[S + s * A + a, c] - means[s, c])
            out[a, s] *= steps.exponents[k]
    return transitions
