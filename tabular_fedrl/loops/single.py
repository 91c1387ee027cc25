r"""FedNPG and its relatives on one small problem, round after round without Python, with rigorous radii.

The iterations are those of ``algorithms/``; tables are ``(A, S)``, as in
:mod:`tabular_fedrl.kernels.single`. Every policy an agent steps from is evaluated with the bound of
:mod:`tabular_fedrl.evaluation`,

.. math:: \|V_f - \hat V\|_\infty \le \frac{\rho + \sigma\,(\max|f| + 2\max|\hat V|)}{1-\gamma} ,

:math:`\rho` the residual and :math:`\sigma` the :func:`slack`. Here the residual is taken with a rounded
:math:`I - \gamma P_\pi`; the A products in each of its entries join the slack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tabular_fedrl.kernels.divergence import Target, divergence, normaliser
from tabular_fedrl.kernels.lanes import compiled, largest_move, log_softmax, mean_logits
from tabular_fedrl.kernels.single import (
    INFLATE,
    advantage,
    assign,
    enclosed_averages,
    is_finite,
    largest,
    policy_values,
    visitation,
)
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.soft import soft_optimum
from tabular_fedrl.loops.variants import (
    ALONE,
    DUAL,
    GEOMETRIC,
    LAGRANGIAN,
    PROXIMAL,
    RECTIFIED,
    TABLE,
    Variant,
)
from tabular_fedrl.measured import UNIT, Array


class Problem(NamedTuple):
    """``P (S, A, S)``; signals ``f (1+m, A, S)``, the reward first, and their largest sizes ``(1+m,)``;
    ``d (m,)``, ``rho (S,)``, ``mask (N, m)``; the :func:`slack`; how far rows of P are from summing to 1."""

    P: Array
    f: Array
    f_size: Array
    d: Array
    rho: Array
    gamma: float
    mask: Mask
    slack: float
    row_error: float


class Steps(NamedTuple):
    r"""``exponents (n,)``: :math:`\eta/(1-\gamma)`, or :math:`\eta` alone, in each round; ``eta_dual``,
    ``dual_cap (m,)``; the agents' ``weights (N,)`` in the mean; ``first``: the round of the first exponent;
    of CRPO the ``scales (1+m,)`` of the signals and the ``limits (m,)`` that a cost is not to exceed;
    ``nearness``: of steps to an optimum the weight of the divergence."""

    exponents: Array
    eta_dual: Array
    dual_cap: Array
    weights: Array
    first: int
    scales: Array
    limits: Array
    nearness: float


class Rows(NamedTuple):
    """What is measured in each of n rounds: values at rho before each local step with their radii last,
    ``local (n, N, E, 1+m, 2)``; ``drift (n,)``; ``step (n, N)``: of each agent's local steps the largest."""

    local: Array
    drift: Array
    step: Array


class Kept(NamedTuple):
    """What is measured in each of r recorded rounds, or nothing (r = 0) where it is not wanted.

    ``multipliers (r, N, E, m)``; with radii last, ``kl (r, G, 2)`` (G = 1, or N without communication),
    ``kl_end (r, N, 2)``, ``log_z (r, N, E, 2)``; log-policies ``start (r, G, A, S)`` and
    ``local (r, N, E+1, A, S)``.
    """

    multipliers: Array
    kl: Array
    kl_end: Array
    log_z: Array
    start: Array
    local: Array


class Values(NamedTuple):
    """One policy: ``V (n, S)``, their ``error`` and ``max|f| + 2 max|V|`` ``(n,)``; ``at_rho (1+m, 2)`` with
    radii. With entropy that is the last of the n signals."""

    V: Array
    error: Array
    size: Array
    at_rho: Array


class Scratch(NamedTuple):
    """``f (n, A, S)`` and ``f_size (n,)``: the signals, the entropy included; ``weights (n,)``,
    ``operator (S, S)``, ``system (S, S + n)``, ``flow (S, S + 1)``, ``lines (3, S)``."""

    f: Array
    f_size: Array
    weights: Array
    operator: Array
    system: Array
    flow: Array
    lines: Array


def slack(S: int, A: int, row_error: float) -> float:
    r"""Relative error of a residual: sums of S + 2A + 8 terms; rows of P off by ``row_error``; a policy in
    floats off in the 1-norm by :math:`(8 \log A + 2A + 40) u` from the one that its log-policy stands for.

    (An exponential errs relatively by u times the size of its exponent, of mean at most log A, and by 4u; so
    does the rounding of the log-policy; and the weights are normalised twice.)
    """
    return float((S + 4 * A + 8 * np.log(A) + 48) * UNIT + 2 * row_error)


@compiled
def advance(
    x: Problem,
    steps: Steps,
    variant: Variant,
    target: Target,
    log_pibar: Array,
    multipliers: Array,
    memory: Array,
    keep: Mask,
    rows: Rows,
    kept: Kept,
) -> int:
    """As many rounds as ``keep (n,)`` is long, recording those it marks; returns how many left only finite
    policies behind, having stopped after the first that did not.

    ``log_pibar (G, 1, A, S)``, ``multipliers (N, m)`` and ``memory (m,)``, the dual method's multipliers a
    round ago, move along.
    """
    G, _, A, S = log_pibar.shape
    N, m = multipliers.shape
    E, K = rows.local.shape[2], 1 + m
    n = K + 1 if variant.tau > 0 else K
    z = room(x, n)
    shared = Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    own = Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    log_pi, pi, pibar = np.empty((N, 1, A, S)), np.empty((1, A, S)), np.empty((G, 1, A, S))
    direction, logits, after = np.empty((A, S)), np.empty((A, S)), np.empty((1, A, S))
    moved, before, stepped = np.empty(S), np.empty((1, A, S)), np.empty(S)
    for g in range(G):
        assign(log_pibar[g, 0], after[0])
        log_softmax(after, pibar[g], z.lines)
    r = -1
    for k in range(keep.size):
        r += keep[k]
        if keep[k]:
            record_start(target, log_pibar, r, kept, z.lines[0])
        for s in range(S):
            moved[s] = 0.0
        for i in range(N):
            g = i if variant.sharing == ALONE else 0
            if variant.sharing == TABLE and i > 0:
                assign(log_pi[i - 1, 0], log_pi[i, 0])
            else:
                assign(log_pibar[g, 0], log_pi[i, 0])
                assign(pibar[g, 0], pi[0])
            lam = multipliers[i]
            stepped[:] = 0.0
            for e in range(E):
                assign(pi[0], before[0])
                values = shared if e == 0 else own
                if e > 0 or i == 0 or variant.sharing >= TABLE or variant.vanilla:
                    evaluate(x, variant, log_pi[i, 0], pi[0], z, values)
                for c in range(K):
                    rows.local[k, i, e, c, 0] = values.at_rho[c, 0]
                    rows.local[k, i, e, c, 1] = values.at_rho[c, 1]
                if variant.dual_once and e == 0:
                    _dual_step(x, steps, values.at_rho, i, E, 0.0, lam)
                if keep[k]:
                    for j in range(m):
                        kept.multipliers[r, i, e, j] = lam[j] if x.mask[i, j] else np.nan
                if keep[k] and kept.local.size > 0:
                    assign(log_pi[i, 0], kept.local[r, i, e])
                off = 0.0
                if variant.step == PROXIMAL:
                    _proximal(x, steps, variant, k, values, log_pi[i, 0], lam, z, direction, after, pi)
                elif variant.step == DUAL:
                    _dual(x, steps, k, values.at_rho, lam, memory, z, direction, after, pi)
                else:
                    if variant.step == RECTIFIED:
                        _rectify(steps, values.at_rho, lam, z.weights)
                    else:
                        _lagrangian(variant, lam, z.weights)
                    off = _direction(x, steps.exponents[k], variant, values, pi[0], z, direction)
                    if variant.step == LAGRANGIAN and not variant.dual_once:
                        _dual_step(x, steps, values.at_rho, i, 1, variant.tau, lam)
                    for a in range(A):
                        for s in range(S):
                            logits[a, s] = log_pi[i, 0, a, s] + direction[a, s]
                            after[0, a, s] = logits[a, s]
                    log_softmax(after, pi, z.lines)
                if keep[k] and kept.log_z.size > 0:
                    found = normaliser(target, log_pi[i, 0], logits, after[0], off, z.lines)
                    kept.log_z[r, i, e, 0], kept.log_z[r, i, e, 1] = found
                assign(after[0], log_pi[i, 0])
                largest_move(pi, before, z.lines, stepped)
            rows.step[k, i] = largest(stepped)
            largest_move(pi, pibar[g], z.lines, moved)
            if keep[k]:
                record_end(target, log_pi[i, 0], r, i, kept, z.lines[0])
            if variant.sharing == ALONE:
                assign(log_pi[i, 0], log_pibar[i, 0])
                assign(pi[0], pibar[i, 0])
        rows.drift[k] = largest(moved)
        if variant.sharing < TABLE and N > 1:
            mean_logits(log_pi, steps.weights, variant.sharing == GEOMETRIC, z.lines, log_pibar[0])
            log_softmax(log_pibar[0], pibar[0], z.lines)
        elif variant.sharing != ALONE:
            assign(log_pi[N - 1, 0], log_pibar[0, 0])
            assign(pi[0], pibar[0, 0])
        if not (is_finite(log_pi.reshape(N * A * S)) and is_finite(log_pibar.reshape(G * A * S))):
            return k
    return keep.size


@compiled
def room(x: Problem, n: int) -> Scratch:
    """For n signals, the problem's own in their places."""
    A, S = x.f.shape[1:]
    f, f_size = np.empty((n, A, S)), np.empty(n)
    for k in range(x.f.shape[0]):
        assign(x.f[k], f[k])
        f_size[k] = x.f_size[k]
    return Scratch(
        f,
        f_size,
        np.empty(n),
        np.empty((S, S)),
        np.empty((S, S + n)),
        np.empty((S, S + 1)),
        np.empty((3, S)),
    )


@compiled
def evaluate(x: Problem, variant: Variant, log_pi: Array, pi: Array, z: Scratch, out: Values) -> None:
    """Values of a policy ``(A, S)``, all with their bounds."""
    A, S = pi.shape
    K = x.f.shape[0]
    if variant.tau > 0:
        for a in range(A):
            for s in range(S):
                z.f[K, a, s] = -log_pi[a, s]
        z.f_size[K] = largest(z.f[K].reshape(A * S))
    policy_values(x.P, z.f, pi, x.gamma, z.operator, z.system, out.V, out.error)
    for k in range(z.f_size.size):
        out.size[k] = z.f_size[k] + 2.0 * largest(out.V[k])
        out.error[k] = INFLATE * (out.error[k] + x.slack * out.size[k]) / (1.0 - x.gamma)
    enclosed_averages(x.rho, out.V, out.error, x.row_error, out.at_rho)


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
    """PMD-PD's step from ``log_pi`` to ``after``; ``values``, once of the one, are then of the other."""
    m = lam.size
    w = np.empty(m)
    for j in range(m):
        excess = steps.eta_dual[j] * (values.at_rho[1 + j, 0] - x.d[j])
        if steps.first + k == 0:
            lam[j] = max(-excess, 0.0)
        w[j] = lam[j] + excess
    _priced(x, w, f)
    soft_optimum(x.P, f, x.gamma, log_pi, steps.nearness, z.operator, z.flow, z.lines[:2], after, pi)
    evaluate(x, variant, after[0], pi[0], z, values)
    for j in range(m):
        excess = steps.eta_dual[j] * (values.at_rho[1 + j, 0] - x.d[j])
        lam[j] = max(lam[j] + excess, -excess)


@compiled
def _dual(
    x: Problem, steps: Steps, k: int, at_rho: Array, lam: Array, memory: Array, z: Scratch, f: Array,
    after: Array, pi: Array,
) -> None:  # fmt: skip
    """The accelerated dual method's step."""
    A, S = f.shape
    fair, ahead = np.full((A, S), -np.log(float(A))), max(steps.first + k - 1, 0) / (steps.first + k + 2)
    if steps.first + k > 0:
        _dual_step(x, steps, at_rho, 0, 1, 0.0, lam)
    for j in range(lam.size):
        before = memory[j] if steps.first + k > 0 else lam[j]
        memory[j] = lam[j]
        lam[j] = min(max(lam[j] + (lam[j] - before) * ahead, 0.0), steps.dual_cap[j])
    _priced(x, lam, f)
    soft_optimum(x.P, f, x.gamma, fair, steps.nearness, z.operator, z.flow, z.lines[:2], after, pi)


@compiled
def _direction(
    x: Problem, exponent: float, variant: Variant, values: Values, pi: Array, z: Scratch, out: Array
) -> float:
    r"""``out (A, S)``: what is added to the logits, of the signals as weighted in ``z``; returns a bound on
    its error where that is :math:`\eta A_i/(1-\gamma)`."""
    A, S = out.shape
    w, n = z.weights, z.weights.size
    V, d = z.lines[0], z.lines[1]
    off = 0.0
    for s in range(S):
        V[s] = 0.0
        for a in range(A):
            out[a, s] = 0.0
    for k in range(n):
        for s in range(S):
            V[s] += w[k] * values.V[k, s]
        for a in range(A):
            for s in range(S):
                out[a, s] += w[k] * z.f[k, a, s]
        noise = (x.slack + n * UNIT) * values.size[k]
        off += abs(w[k]) * ((1.0 + x.gamma) * values.error[k] + noise)
    advantage(x.P, V, x.gamma, out)
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
def _dual_step(x: Problem, steps: Steps, at_rho: Array, i: int, times: int, tau: float, lam: Array) -> None:
    r"""Move agent i's multipliers along :math:`V_c - d - \tau\lambda`, ``times`` steps at once, within the
    cap."""
    for j in range(lam.size):
        if x.mask[i, j]:
            violation = at_rho[1 + j, 0] - x.d[j] - tau * lam[j]
            lam[j] = min(max(lam[j] + times * steps.eta_dual[j] * violation, 0.0), steps.dual_cap[j])


@compiled
def record_start(target: Target, log_pibar: Array, r: int, kept: Kept, line: Array) -> None:
    """What is recorded of the policies that a round starts from, ``(G, 1, A, S)``."""
    for g in range(log_pibar.shape[0]):
        if kept.start.size > 0:
            assign(log_pibar[g, 0], kept.start[r, g])
        if kept.kl.size > 0:
            kept.kl[r, g, 0], kept.kl[r, g, 1] = divergence(target, log_pibar[g, 0], line)


@compiled
def record_end(target: Target, log_pi: Array, r: int, i: int, kept: Kept, line: Array) -> None:
    """What is recorded of the policy that agent i ends with, ``(A, S)``."""
    if kept.local.size > 0:
        assign(log_pi, kept.local[r, i, kept.local.shape[2] - 1])
    if kept.kl_end.size > 0:
        kept.kl_end[r, i, 0], kept.kl_end[r, i, 1] = divergence(target, log_pi, line)
