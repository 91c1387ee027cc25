"""CRPO, PMD-PD, OPG-PD and the accelerated dual method: one agent that sees everything and takes one step a
round, on one small problem, round after round without Python, with the radii of
:mod:`tabular_fedrl.loops.single_tables`. The iterations are those of ``algorithms/``; tables are ``(A, S)``.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.divergence import Target
from tabular_fedrl.kernels.lanes import compiled, copy, largest_move, log_softmax
from tabular_fedrl.kernels.local_optimum import Scratch as Regularised
from tabular_fedrl.kernels.local_optimum import regularised_optimum, scratch
from tabular_fedrl.kernels.offline import log_probability
from tabular_fedrl.kernels.projection import project
from tabular_fedrl.kernels.single import assign, is_finite, largest
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.single_steps import direction, dual_step, lagrangian
from tabular_fedrl.loops.single_tables import (
    Kept,
    Problem,
    Rows,
    Scratch,
    Steps,
    Values,
    evaluate,
    record_end,
    record_start,
    room,
)
from tabular_fedrl.loops.variants import OPTIMISTIC, PROXIMAL, RECTIFIED, Variant
from tabular_fedrl.measured import Array


@compiled
def advance_alone(
    x: Problem,
    steps: Steps,
    variant: Variant,
    target: Target,
    log_pi: Array,
    multipliers: Array,
    memory: Array,
    keep: Mask,
    rows: Rows,
    kept: Kept,
) -> int:
    """As :func:`tabular_fedrl.loops.single.advance`, of one agent; ``memory (n,)``, what its steps remember,
    moves along."""
    A, S = log_pi.shape[2:]
    m = multipliers.shape[1]
    z, regularised, lam = room(x, 1 + m), scratch(x.P.reshape(S, A, S, 1), 1, S, 1), multipliers[0]
    values = Values(np.empty((1 + m, S)), np.empty(1 + m), np.empty(1 + m), np.empty((1 + m, 2)))
    pi, before, after = np.empty((1, A, S)), np.empty((1, A, S)), np.empty((1, A, S))
    f, anchor, moved = np.empty((A, S)), np.full((A, S), -np.log(float(A))), np.empty(S)
    assign(log_pi[0, 0], after[0])
    log_softmax(after, pi, z.lines)
    r = -1
    for k in range(keep.size):
        r += keep[k]
        evaluate(x, x.P, variant, log_pi[0, 0], pi[0], z, values)
        for c in range(1 + m):
            rows.local[k, 0, 0, c, 0] = values.at_rho[c, 0]
            rows.local[k, 0, 0, c, 1] = values.at_rho[c, 1]
        if keep[k]:
            record_start(target, log_pi, r, kept, z.lines[0])
            for j in range(m):
                kept.multipliers[r, 0, 0, j] = lam[j]
            if kept.local.size > 0:
                assign(log_pi[0, 0], kept.local[r, 0, 0])
        assign(pi[0], before[0])
        if variant.step == RECTIFIED:
            _rectify(steps, values.at_rho, lam, z.weights)
            direction(x, x.P, steps.exponents[k], variant, values, pi[0], z, f)
            for a in range(A):
                for s in range(S):
                    after[0, a, s] = log_pi[0, 0, a, s] + f[a, s]
            log_softmax(after, pi, z.lines)
        elif variant.step == OPTIMISTIC:
            _optimistic(x, steps, k, variant, values, lam, memory, z, f, after, pi)
        else:
            if variant.step == PROXIMAL:
                _proximal_prices(x, steps, k, values.at_rho, lam, z.weights[1:])
                assign(log_pi[0, 0], anchor)
            else:
                _accelerate(x, steps, k, values.at_rho, lam, memory, z.weights[1:])
            _priced(x, z.weights[1:], f)
            _soft_optimum(x.P, f, x.gamma, anchor, steps.nearness, regularised, after, pi)
            if variant.step == PROXIMAL:
                evaluate(x, x.P, variant, after[0], pi[0], z, values)
                _proximal_dual(x, steps, values.at_rho, lam)
        assign(after[0], log_pi[0, 0])
        for s in range(S):
            moved[s] = 0.0
        largest_move(pi, before, z.lines, moved)
        rows.step[k, 0] = rows.drift[k] = largest(moved)
        if keep[k]:
            record_end(target, log_pi[0, 0], r, 0, kept, z.lines[0])
        # The logarithm of an intended 0 is no sign of anything.
        if not is_finite((pi if variant.step == OPTIMISTIC else log_pi[0]).reshape(A * S)):
            return k
    return keep.size


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
def _optimistic(
    x: Problem, steps: Steps, k: int, variant: Variant, values: Values, lam: Array, memory: Array, z: Scratch,
    ascent: Array, after: Array, pi: Array,
) -> None:  # fmt: skip
    """OPG-PD's step; ``memory (A*S + m,)``: policy and multipliers with hats. (It projects a step along the
    advantage: a number added to all actions of a state makes no difference.)"""
    A, S = ascent.shape
    hat, lam_hat = memory[: A * S].reshape(1, A, S), memory[A * S :]
    step, lines = ascent.reshape(1, A, S), np.empty((A + 3, S))
    if steps.first + k == 0:
        copy(pi, hat)
        for j in range(lam.size):
            lam_hat[j] = lam[j]
    lagrangian(variant, lam, z.weights)
    direction(x, x.P, steps.exponents[k], variant, values, pi[0], z, ascent)
    dual_step(x, steps, values.at_rho, 0, 1, 0.0, lam_hat)
    for j in range(lam.size):
        lam[j] = lam_hat[j]
    dual_step(x, steps, values.at_rho, 0, 1, 0.0, lam)
    project(hat, step, lines)
    copy(hat, pi)
    project(pi, step, lines)
    for a in range(A):
        for s in range(S):
            after[0, a, s] = log_probability(pi[0, a, s])


@compiled
def _proximal_prices(x: Problem, steps: Steps, k: int, at_rho: Array, lam: Array, w: Array) -> None:
    """PMD-PD's prices ``w (m,)`` of the costs; in the first round ``lam`` too."""
    for j in range(lam.size):
        excess = steps.eta_dual[j] * (at_rho[1 + j, 0] - x.d[j])
        if steps.first + k == 0:
            lam[j] = max(-excess, 0.0)
        w[j] = lam[j] + excess


@compiled
def _proximal_dual(x: Problem, steps: Steps, at_rho: Array, lam: Array) -> None:
    """PMD-PD's dual step, at the policy after the step."""
    for j in range(lam.size):
        excess = steps.eta_dual[j] * (at_rho[1 + j, 0] - x.d[j])
        lam[j] = max(lam[j] + excess, -excess)


@compiled
def _accelerate(x: Problem, steps: Steps, k: int, at_rho: Array, lam: Array, memory: Array, w: Array) -> None:
    """The accelerated method's dual step, and its prices ``w (m,)``; ``memory (m,)``: the multipliers a round
    ago."""
    ahead = max(steps.first + k - 1, 0) / (steps.first + k + 2)
    if steps.first + k > 0:
        dual_step(x, steps, at_rho, 0, 1, 0.0, lam)
    for j in range(lam.size):
        before = memory[j] if steps.first + k > 0 else lam[j]
        memory[j] = lam[j]
        lam[j] = min(max(lam[j] + (lam[j] - before) * ahead, 0.0), steps.dual_cap[j])
        w[j] = lam[j]


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
def _soft_optimum(
    P: Array, f: Array, gamma: float, anchor: Array, weight: float, room: Regularised, after: Array, pi: Array
) -> None:
    r"""``after``, ``pi (1, A, S)``: the policy that maximises
    :math:`V_f(\rho) - \frac{w}{1-\gamma} E_{d^\pi} KL(\pi\|\pi_0)`, :math:`\log\pi_0` the ``anchor (A, S)``.
    States are the lanes here."""
    A, S = f.shape
    V, table = np.full((1, S), largest(f.reshape(A * S)) / (1.0 - gamma)), anchor.reshape(1, A, S)
    regularised_optimum(
        P.reshape(S, A, S, 1), f.reshape(1, A, S), np.full(S, gamma), table, table, np.full(S, weight),
        np.zeros(S), V, after, pi, room,
    )  # fmt: skip
