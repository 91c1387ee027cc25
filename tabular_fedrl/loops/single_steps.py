"""The local steps of FedNPG's relatives on one small problem; which one, says
:mod:`tabular_fedrl.loops.variants`. Tables are ``(A, S)``.

Where a step takes ``pi (1, A, S)`` and ``after (1, A, S)``, ``after`` becomes the log-policy it ends with and
``pi``, before it that of the policy at hand, its probabilities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled, exp, log_softmax
from tabular_fedrl.kernels.projection import project
from tabular_fedrl.kernels.rollouts import rollouts
from tabular_fedrl.kernels.single import INFLATE, advantage, visitation
from tabular_fedrl.loops.single_tables import Problem, Scratch, Steps, Values, evaluate
from tabular_fedrl.loops.soft import soft_optimum
from tabular_fedrl.loops.variants import (
    CLIPPED,
    DUAL,
    OPTIMISTIC,
    PROXIMAL,
    RECTIFIED,
    SAMPLED,
    Variant,
)
from tabular_fedrl.measured import UNIT, Array


@compiled
def local_step(
    x: Problem, P: Array, steps: Steps, variant: Variant, i: int, k: int, values: Values, spare: Array,
    log_pi: Array, pi: Array, lam: Array, memory: Array, stream: NDArray[np.uint64], z: Scratch, step: Array,
    logits: Array, after: Array,
) -> tuple[float, int]:  # fmt: skip
    r"""Agent i's step of the k-th round here from ``log_pi (A, S)``, of known ``values``, in the kernel P,
    with multipliers ``lam (m,)``; scratch: ``step (A, S)``, ``spare (1+m, 2)``.

    Returns a bound on the error of the exponents, where those are :math:`\eta A_i/(1-\gamma)` and
    ``logits (A, S)`` the sum of them and ``log_pi``; and the simulated transitions.
    """
    if variant.step == PROXIMAL:
        _proximal(x, steps, variant, k, values, log_pi, lam, z, step, after, pi)
    elif variant.step == DUAL:
        _accelerated(x, steps, k, values.at_rho, lam, memory, z, step, after, pi)
    elif variant.step == OPTIMISTIC:
        _optimistic(x, steps, k, variant, values, lam, memory, z, step, after, pi)
    elif variant.step == CLIPPED:
        dual_step(x, steps, values.at_rho, i, 1, 0.0, lam)
        _clipped(x, steps, k, variant, values, log_pi, lam, z, step, after, pi)
    else:
        at_rho, off, transitions = values.at_rho, 0.0, 0
        if variant.step == RECTIFIED:
            _rectify(steps, at_rho, lam, z.weights)
        else:
            _lagrangian(variant, lam, z.weights)
        if variant.step == SAMPLED:
            transitions = _sampled(x, steps, k, z.weights, pi[0], stream, step, spare)
            at_rho = spare
        else:
            off = _direction(x, P, steps.exponents[k], variant, values, pi[0], z, step)
        if variant.step != RECTIFIED and not variant.dual_once:
            dual_step(x, steps, at_rho, i, 1, variant.tau, lam)
        for a in range(step.shape[0]):
            for s in range(step.shape[1]):
                logits[a, s] = log_pi[a, s] + step[a, s]
                after[0, a, s] = logits[a, s]
        log_softmax(after, pi, z.lines)
        return off, transitions
    return 0.0, 0


@compiled
def dual_step(x: Problem, steps: Steps, at_rho: Array, i: int, times: int, tau: float, lam: Array) -> None:
    r"""Move agent i's multipliers along :math:`V_c - d - \tau\lambda`, ``times`` steps at once, within the
    cap."""
    for j in range(lam.size):
        if x.mask[i, j]:
            violation = at_rho[1 + j, 0] - x.d[j] - tau * lam[j]
            lam[j] = min(max(lam[j] + times * steps.eta_dual[j] * violation, 0.0), steps.dual_cap[j])


@compiled
def _lagrangian(variant: Variant, lam: Array, w: Array) -> None:
    r"""Weights of the signals in :math:`f_i = r/N - \sum_j \lambda_{ij} c_j`, and of entropy, the last."""
    w[0] = variant.reward_factor
    for j in range(lam.size):
        w[1 + j] = -lam[j]  # 0 where unseen: there it never moves
    if variant.tau > 0:
        w[w.size - 1] = variant.reward_factor * variant.tau


@compiled
def _rectify(steps: Steps, at_rho: Array, lam: Array, w: Array) -> None:
    """Weights of CRPO's step, up the reward or down the first cost that exceeds its limit; ``lam`` says
    which."""
    w[0], chosen = 1.0 / steps.scales[0], False
    for j in range(lam.size):
        w[1 + j], lam[j] = 0.0, 0.0
        if not chosen and at_rho[1 + j, 0] > steps.limits[j]:
            w[0], w[1 + j], lam[j], chosen = 0.0, -1.0 / steps.scales[1 + j], 1.0, True


@compiled
def _direction(
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
def _priced(x: Problem, w: Array, out: Array) -> None:
    r""":math:`r - \sum_j w_j c_j`, ``out (A, S)``."""
    A, S = out.shape
    for a in range(A):
        for s in range(S):
            out[a, s] = x.f[0, a, s]
            for j in range(w.size):
                out[a, s] -= w[j] * x.f[1 + j, a, s]


@compiled
def _proximal(
    x: Problem, steps: Steps, variant: Variant, k: int, values: Values, log_pi: Array, lam: Array, z: Scratch,
    f: Array, after: Array, pi: Array,
) -> None:  # fmt: skip
    """PMD-PD's step from ``log_pi``; ``values``, once of the one policy, are then of the other."""
    m = lam.size
    w = np.empty(m)
    for j in range(m):
        excess = steps.eta_dual[j] * (values.at_rho[1 + j, 0] - x.d[j])
        if steps.first + k == 0:
            lam[j] = max(-excess, 0.0)
        w[j] = lam[j] + excess
    _priced(x, w, f)
    soft_optimum(x.P, f, x.gamma, log_pi, steps.nearness, z.operator, z.flow, z.lines[:2], after, pi)
    evaluate(x, x.P, variant, after[0], pi[0], z, values)
    for j in range(m):
        excess = steps.eta_dual[j] * (values.at_rho[1 + j, 0] - x.d[j])
        lam[j] = max(lam[j] + excess, -excess)


@compiled
def _accelerated(
    x: Problem, steps: Steps, k: int, at_rho: Array, lam: Array, memory: Array, z: Scratch, f: Array,
    after: Array, pi: Array,
) -> None:  # fmt: skip
    """The accelerated dual method's step; ``memory (m,)``: the multipliers a round ago."""
    A, S = f.shape
    fair, ahead = np.full((A, S), -np.log(float(A))), max(steps.first + k - 1, 0) / (steps.first + k + 2)
    if steps.first + k > 0:
        dual_step(x, steps, at_rho, 0, 1, 0.0, lam)
    for j in range(lam.size):
        before = memory[j] if steps.first + k > 0 else lam[j]
        memory[j] = lam[j]
        lam[j] = min(max(lam[j] + (lam[j] - before) * ahead, 0.0), steps.dual_cap[j])
    _priced(x, lam, f)
    soft_optimum(x.P, f, x.gamma, fair, steps.nearness, z.operator, z.flow, z.lines[:2], after, pi)


@compiled
def _optimistic(
    x: Problem, steps: Steps, k: int, variant: Variant, values: Values, lam: Array, memory: Array, z: Scratch,
    ascent: Array, after: Array, pi: Array,
) -> None:  # fmt: skip
    """OPG-PD's step; ``memory (A*S + m,)``: policy and multipliers with hats. (It projects a step along the
    advantage: a number added to all actions of a state makes no difference.)"""
    A, S = ascent.shape
    hat, lam_hat = memory[: A * S].reshape(A, S), memory[A * S :]
    if steps.first + k == 0:
        hat[:], lam_hat[:] = pi[0], lam
    _lagrangian(variant, lam, z.weights)
    _direction(x, x.P, steps.exponents[k], variant, values, pi[0], z, ascent)
    order = np.empty(A)
    dual_step(x, steps, values.at_rho, 0, 1, 0.0, lam_hat)
    lam[:] = lam_hat
    dual_step(x, steps, values.at_rho, 0, 1, 0.0, lam)
    hat += ascent
    project(hat, order)
    pi[0] = hat + ascent
    project(pi[0], order)
    after[0] = np.log(pi[0])


@compiled
def _clipped(
    x: Problem, steps: Steps, k: int, variant: Variant, values: Values, log_pi: Array, lam: Array, z: Scratch,
    gain: Array, after: Array, pi: Array,
) -> None:  # fmt: skip
    """FedPPO's update from ``log_pi`` with multipliers after the dual step: gradient steps on the clipped
    surrogate."""
    A, S = gain.shape
    eta, clipping = steps.exponents[k], steps.clipping
    price, weight, d = np.empty((A, S)), np.empty((A, S)), np.empty(S)
    visitation(z.operator, x.rho, x.gamma, z.flow, d)
    _lagrangian(variant, lam, z.weights)
    scale = variant.reward_factor
    for j in range(lam.size):
        scale += lam[j]
    z.weights[0] = 0.0
    _weighted_advantage(x.P, x.gamma, values.V, z, price)
    z.weights[:] = 0.0
    z.weights[0] = variant.reward_factor
    _weighted_advantage(x.P, x.gamma, values.V, z, gain)
    after[0] = log_pi
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
def _sampled(
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
