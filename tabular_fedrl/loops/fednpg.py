r"""FedNPG and its relatives from the first round to the last, many problems side by side.

The iterations are those of ``algorithms/``; which one, says :mod:`tabular_fedrl.loops.variants`. With one
agent (:meth:`Batch.central`) FedNPG is NPG-PD. Plain floats, without bounds on their errors. Arrays inside
have the lanes of :mod:`tabular_fedrl.kernels.lanes` last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.lanes import (
    advantage,
    at_start,
    compiled,
    copy,
    largest_move,
    log_softmax,
    mean_logits,
    policy_values,
    solve_transposed,
)
from tabular_fedrl.kernels.packs import aligned
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.batch import Batch, Mask
from tabular_fedrl.loops.lanes import lanes, to_lanes
from tabular_fedrl.loops.totals import (
    Iterated,
    Totals,
    at_first,
    at_last,
    averaged,
    checked,
    numbers,
    shaped,
)
from tabular_fedrl.loops.variants import (
    ALONE,
    FAMILY,
    GEOMETRIC,
    RECTIFIED,
    TABLE,
    Variant,
    bare,
    variant,
)
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import mean_weights


class Block(NamedTuple):
    r"""W problems and their steps, as in :class:`Batch`, the lane last.

    f: the signals, reward first. exponent: what the direction is multiplied with, :math:`\eta/(1-\gamma)` or
    :math:`\eta` alone, ``(W,)``, and with ``growth (W,)`` after every round. tau: the entropy's weight,
    ``(W,)``. Of CRPO the ``scales (1+m, W)`` of the signals and the ``limits (m, W)`` of the costs.
    """

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array
    exponent: Array
    eta_dual: Array
    dual_cap: Array
    tau: Array
    growth: Array
    scales: Array
    limits: Array


def fednpg(
    batch: Batch,
    rounds: int,
    local_steps: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
    *,
    algorithm: str = "fednpg",
    geometric: bool = False,
    weights: ArrayLike | None = None,
    initial_multipliers: ArrayLike = 0.0,
    tau: ArrayLike = 0.0,
    growth: ArrayLike = 1.0,
    scales: ArrayLike = 1.0,
    limits: ArrayLike = 0.0,
    kernels: Callable[[int], Array] | None = None,
) -> Iterated:
    """FedNPG or a relative on every problem of the batch, with its own steps.

    Parameters
    ----------
    rounds: K. local_steps: E (the regularised algorithms have 1).
    eta: primal steps, ``(B,)`` or one number. eta_dual, dual_cap: ``(B, m)`` or what broadcasts to it.
    algorithm: one of :data:`tabular_fedrl.loops.variants.FAMILY`; centralised ones want
        :meth:`Batch.central`.
    geometric: the server takes the geometric mean of the policies; default the arithmetic one. weights: of
        that mean, ``(N,)``, default 1/N. initial_multipliers: ``(B, N, m)`` or what broadcasts to it.
    tau: weight of the entropy, ``(B,)`` or one number, for the regularised algorithms only. growth: what
        steps are multiplied with from round to round, alike.
    scales, limits: of CRPO, what it divides the signals by, ``(B, 1+m)``, and lets the costs reach,
        ``(B, m)``, or what broadcasts to it.
    kernels: from the number of a problem to its agents' own, ``(N, S, A, S)``, in which they step (default
        in the problem's, where everything is measured). Several threads call it, each for its block.

    Raises
    ------
    InvalidProblem: an unknown algorithm; a number is negative or of another shape, or no round or step is
        asked for.
    """
    B, S, A, m, N = batch.B, batch.S, batch.A, batch.m, batch.N
    if algorithm not in FAMILY:
        raise InvalidProblem(f"no loop in lockstep for {algorithm!r} here; there are {', '.join(FAMILY)}")
    eta, eta_dual, dual_cap = checked(batch, rounds, local_steps, eta, eta_dual, dual_cap)
    entropy = numbers("tau", tau, (B,))
    form = variant(algorithm, N, geometric, float(entropy.min()))
    with np.errstate(over="ignore"):  # such a step spoils its own lane only
        exponent = eta if bare(algorithm) else eta / (1.0 - batch.gamma)
    given = (
        *(batch.P, batch.signals, batch.d, batch.rho, batch.gamma, exponent, eta_dual, dual_cap, entropy),
        numbers("growth", growth, (B,)),
        numbers("scales", scales, (B, 1 + m)),
        shaped("limits", limits, (B, m)),
    )
    W, G = lanes(B, S * A * S), N if form.sharing == ALONE else 1
    blocks = [Block(*x) for x in zip(*(to_lanes(x, W) for x in given))]
    totals = at_first(batch, W, G, initial_multipliers)
    mean = np.array(mean_weights(N, weights), dtype=np.float64)

    def work(first: int, x: Block, total: Totals) -> None:
        own = np.zeros((0, S, A, S, W))
        if kernels is not None:
            own = to_lanes(np.stack([kernels(i) for i in range(first, min(first + W, B))]), W)[0]
        _rounds(x, total, own, form, batch.mask, mean, rounds, local_steps)

    in_parallel(work, list(zip(range(0, B, W), blocks, totals)))
    total = at_last(totals, B)
    if form.sharing != ALONE:
        total = total._replace(log_policy=total.log_policy[:, 0])
    return averaged(batch.mask, rounds, local_steps, total)


@compiled
def _rounds(
    x: Block, total: Totals, own: Array, form: Variant, mask: Mask, mean: Array, rounds: int, local_steps: int
) -> None:
    """All rounds of one block of W problems, added up in ``total``; ``own (N, S, A, S, W)``: the agents'
    kernels, or none where all live in the problem's."""
    G, S, A, W = total.log_policy.shape
    N, K = mask.shape[0], x.f.shape[0]
    n, private = K + 1 if form.tau > 0 else K, own.shape[0] > 0
    f = x.f if n == K else aligned((n, S, A, W))
    for k in range(K if n > K else 0):
        copy(x.f[k], f[k])
    scratch, matrix = aligned((max(2, S), W)), aligned((S, S, W))
    V_first, V_later, V_own = aligned((n, S, W)), aligned((n, S, W)), aligned((n, S, W))
    v_first, v_later, v_own = aligned((n, W)), aligned((n, W)), aligned((n, W))
    weights, direction, flow = aligned((n, W)), aligned((S, A, W)), aligned((1, S, W))
    pibar, before, after = aligned((G, S, A, W)), aligned((S, A, W)), aligned((S, A, W))
    log_pi, log_pibar = aligned((N, S, A, W)), total.log_policy
    everything = np.ones(K - 1, dtype=np.bool_)
    for g in range(G):
        log_softmax(log_pibar[g], pibar[g], scratch)
    for _ in range(rounds):
        for i in range(N):
            g = i if form.sharing == ALONE else 0
            lam, P = total.multipliers[i], own[i] if private else x.P
            if form.sharing == TABLE and i > 0:
                copy(log_pi[i - 1], log_pi[i])
            else:
                copy(log_pibar[g], log_pi[i])
                copy(pibar[g], before)
            for e in range(local_steps):
                V, v = (V_first, v_first) if e == 0 else (V_later, v_later)
                if e > 0 or i == 0 or form.sharing >= TABLE or form.vanilla:
                    if n > K:
                        minus_log(log_pi[i], f[K])
                    policy_values(x.P, f, before, x.gamma, matrix, V)
                    at_start(x.rho, V, v)
                if e == 0 and (i == 0 or form.sharing == ALONE):
                    add_seen(v, everything, 1.0 / G, total.shared)
                elif e > 0:
                    _raise_value_drift(v, v_first, e, total.value_drift[i])
                add_seen(v, mask[i], 1.0, total.local)
                if private:
                    policy_values(P, f, before, x.gamma, matrix, V_own)
                    at_start(x.rho, V_own, v_own)
                    V, v = V_own, v_own
                if form.dual_once and e == 0:
                    _dual_step(v, x, mask[i], local_steps, lam)
                if form.step == RECTIFIED:
                    _rectify(v, x, scratch[0], lam, weights)
                else:
                    _weigh(lam, form.reward_factor, x.tau, weights)
                advantage(P, f, V, weights, x.gamma, scratch, direction)
                if form.vanilla:
                    _visitation(matrix, x.rho, x.gamma, flow)
                    _gradient(flow[0], before, direction)
                _primal_step(direction, x.exponent, log_pi[i])
                if form.step != RECTIFIED and not form.dual_once:
                    _dual_step(v, x, mask[i], 1, lam)
                log_softmax(log_pi[i], after, scratch)
                largest_move(after, before, scratch, total.step[i])
                copy(after, before)
            largest_move(before, pibar[g], scratch, total.drift)
            if form.sharing == ALONE:
                copy(log_pi[i], log_pibar[i])
                copy(before, pibar[i])
        if form.sharing < TABLE and N > 1:
            mean_logits(log_pi, mean, form.sharing == GEOMETRIC, scratch, log_pibar[0])
            log_softmax(log_pibar[0], pibar[0], scratch)
        elif form.sharing != ALONE:
            copy(log_pi[N - 1], log_pibar[0])
            copy(before, pibar[0])
        for w in range(W):
            x.exponent[w] *= x.growth[w]


@compiled
def _rectify(v: Array, x: Block, unclaimed: Array, lam: Array, weights: Array) -> None:
    """Weights of CRPO's step, up the reward or down the first cost that exceeds its limit; ``lam (m, W)``
    says which; ``unclaimed``: scratch ``(W,)``."""
    m, W = lam.shape
    for w in range(W):
        unclaimed[w] = 1.0
    for j in range(m):
        for w in range(W):
            lam[j, w] = unclaimed[w] if v[1 + j, w] > x.limits[j, w] else 0.0
            weights[1 + j, w] = -lam[j, w] / x.scales[1 + j, w]
            unclaimed[w] -= lam[j, w]
    for w in range(W):
        weights[0, w] = unclaimed[w] / x.scales[0, w]


@compiled
def minus_log(log_pi: Array, out: Array) -> None:
    r"""The signal :math:`-\log\pi`, ``(S, A, W)``."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                out[s, a, w] = -log_pi[s, a, w]


@compiled
def _weigh(lam: Array, reward_factor: float, tau: Array, weights: Array) -> None:
    r"""Weights of the signals in agent i's Lagrangian: the reward's, :math:`-\lambda_{ij}` for the costs (0
    where unseen, where the multiplier never moves), and the entropy's if there is one."""
    m, W = lam.shape
    for w in range(W):
        weights[0, w] = reward_factor
    for j in range(m):
        for w in range(W):
            weights[1 + j, w] = -lam[j, w]
    if weights.shape[0] > 1 + m:
        for w in range(W):
            weights[1 + m, w] = reward_factor * tau[w]


@compiled
def _visitation(matrix: Array, rho: Array, gamma: Array, out: Array) -> None:
    r"""``out (1, S, W)``: :math:`d_\rho^\pi`, from the factors that the evaluation of pi left."""
    _, S, W = out.shape
    for s in range(S):
        for w in range(W):
            out[0, s, w] = (1.0 - gamma[w]) * rho[s, w]
    solve_transposed(matrix, out)
    for s in range(S):
        for w in range(W):
            out[0, s, w] = max(out[0, s, w], 0.0)


@compiled
def _gradient(d: Array, pi: Array, direction: Array) -> None:
    """Multiply the advantage by d(s) pi(a|s)."""
    S, A, W = direction.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                direction[s, a, w] *= d[s, w] * pi[s, a, w]


@compiled
def _primal_step(direction: Array, exponent: Array, logits: Array) -> None:
    """Add the direction times its exponent."""
    S, A, W = logits.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                logits[s, a, w] += exponent[w] * direction[s, a, w]


@compiled
def _dual_step(v: Array, x: Block, seen: Mask, times: int, lam: Array) -> None:
    r"""Move the multipliers of the seen constraints along :math:`V_c - d - \tau\lambda`, ``times`` steps at
    once, within the cap."""
    for j in range(seen.size):
        if seen[j]:
            for w in range(lam.shape[1]):
                violation = v[1 + j, w] - x.d[j, w] - x.tau[w] * lam[j, w]
                y = lam[j, w] + times * x.eta_dual[j, w] * violation
                y = 0.0 if y < 0.0 else y
                lam[j, w] = x.dual_cap[j, w] if y > x.dual_cap[j, w] else y


@compiled
def add_seen(v: Array, seen: Mask, share: float, total: Array) -> None:
    """Add a share of the values of the reward and the seen costs to ``total (1+m, W)``."""
    for k in range(total.shape[0]):
        if k == 0 or seen[k - 1]:
            for w in range(total.shape[1]):
                total[k, w] += share * v[k, w]


@compiled
def _raise_value_drift(v: Array, start: Array, e: int, worst: Array) -> None:
    """Raise ``worst (1+m, W)`` to ``|v - start|/e``."""
    for k in range(worst.shape[0]):
        for w in range(worst.shape[1]):
            x = abs(v[k, w] - start[k, w]) / e
            worst[k, w] = x if x > worst[k, w] else worst[k, w]
