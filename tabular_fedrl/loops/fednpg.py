r"""FedNPG from the first round to the last, many problems side by side.

The iteration is the one of ``algorithms/fednpg.py`` with its default start (uniform policy, multipliers 0)
and weights; with one agent (:meth:`Batch.central`) it is NPG-PD. Arrays inside have the lanes of
:mod:`tabular_fedrl.kernels.lanes` last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.lanes import (
    advantage,
    at_start,
    compiled,
    copy,
    exp,
    largest_move,
    log,
    log_softmax,
    policy_values,
)
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.batch import Batch, Mask
from tabular_fedrl.loops.lanes import from_lanes, to_lanes
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Iterated:
    r"""What K rounds of E local steps did to each of B problems; a run that overflowed has a NaN in
    ``log_policy``.

    value: mean of V_r over the global policies pibar_0..pibar_{K-1}, ``(B,)``; costs: of every V_c,
        ``(B, m)``.
    local_value: mean of V_r over the local policies before each step, ``(B,)``; local_costs: mean of V_{c_j}
        over those of the agents that see constraint j, ``(B, m)``.
    drift: :math:`\max_{k,i,s} \|\pi_i^{k,E} - \bar\pi_k\|_1`, ``(B,)``.
    step: :math:`\max_{k,e,s} \|\pi_i^{k,e+1} - \pi_i^{k,e}\|_1` of each agent, ``(B, N)``.
    value_drift: :math:`\max_{k, 1 \le e < E} |V_f(\pi_i^{k,e}) - V_f(\bar\pi_k)|/e` of each agent and signal,
        the reward first, ``(B, N, 1+m)``.
    log_policy: the last global log-policy, ``(B, S, A)``; multipliers: the last ones, ``(B, N, m)``, NaN
        where unseen.
    """

    value: Array
    costs: Array
    local_value: Array
    local_costs: Array
    drift: Array
    step: Array
    value_drift: Array
    log_policy: Array
    multipliers: Array


class Block(NamedTuple):
    """W problems and their steps, as in :class:`Batch` (f: the signals, reward first), the lane last."""

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array
    eta: Array
    eta_dual: Array
    dual_cap: Array


class Totals(NamedTuple):
    """What the loop sums or raises, all zero at the start: ``shared`` and ``local (1+m, W)`` sums of values,
    and the rest as in :class:`Iterated`, the lane last."""

    shared: Array
    local: Array
    drift: Array
    step: Array
    value_drift: Array
    log_policy: Array
    multipliers: Array


def fednpg(
    batch: Batch,
    rounds: int,
    local_steps: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
    *,
    geometric: bool = False,
) -> Iterated:
    """FedNPG on every problem of the batch, with its own steps.

    Parameters
    ----------
    rounds: K. local_steps: E.
    eta: primal steps, ``(B,)`` or one number. eta_dual, dual_cap: ``(B, m)`` or what broadcasts to it.
    geometric: the server takes the geometric mean of the policies; default the arithmetic one.

    Raises
    ------
    InvalidProblem: a step or cap is negative or of another shape, or no round or step is asked for.
    """
    B, S, A, m, N = batch.B, batch.S, batch.A, batch.m, batch.N
    steps = checked(batch, rounds, local_steps, eta, eta_dual, dual_cap)
    given = (batch.P, batch.signals, batch.d, batch.rho, batch.gamma, *steps)
    blocks = [Block(*x) for x in zip(*(to_lanes(x) for x in given))]
    W = blocks[0].gamma.size
    shapes = (1 + m,), (1 + m,), (), (N,), (N, 1 + m), (S, A), (N, m)
    totals = [Totals(*(np.zeros((*shape, W)) for shape in shapes)) for _ in blocks]
    in_parallel(_rounds, list(zip(blocks, totals)), batch.mask, rounds, local_steps, geometric)
    total = Totals(*(from_lanes(np.stack(x), B) for x in zip(*totals)))
    return averaged(batch, rounds, local_steps, total)


def checked(
    batch: Batch,
    rounds: int,
    local_steps: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
) -> tuple[Array, Array, Array]:
    """The steps of every problem, ``(B,)``, ``(B, m)`` and ``(B, m)``; errors as for :func:`fednpg`."""
    for name, count in (("rounds", rounds), ("local_steps", local_steps)):
        if count < 1:
            raise InvalidProblem(f"{name} = {count}: expected a whole number from 1 on")
    each = batch.B, batch.m
    return (
        _steps("eta", eta, each[:1]),
        _steps("eta_dual", eta_dual, each),
        _steps("dual_cap", dual_cap, each),
    )


def averaged(batch: Batch, rounds: int, local_steps: int, total: Totals) -> Iterated:
    """The means from the sums, the problem's index first."""
    T, observers = rounds * local_steps, batch.mask.sum(axis=0)
    return Iterated(
        value=total.shared[:, 0] / rounds,
        costs=total.shared[:, 1:] / rounds,
        local_value=total.local[:, 0] / (T * batch.N),
        local_costs=total.local[:, 1:] / (T * observers),
        drift=total.drift,
        step=total.step,
        value_drift=total.value_drift,
        log_policy=total.log_policy,
        multipliers=np.where(batch.mask, total.multipliers, np.nan),
    )


def _steps(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    x = np.asarray(value, dtype=np.float64)
    try:
        x = np.broadcast_to(x, shape)
    except ValueError:
        raise InvalidProblem(f"{name} has shape {x.shape}: expected {shape}") from None
    if not (x >= 0).all():
        place = tuple(int(i) for i in np.argwhere(~(x >= 0))[0])
        raise InvalidProblem(
            f"{name}[{', '.join(map(str, place))}] = {x[place]:g}: expected numbers from 0 on"
        )
    return x


@compiled
def _rounds(x: Block, total: Totals, mask: Mask, rounds: int, local_steps: int, geometric: bool) -> None:
    """All rounds of one block of W problems, added up in ``total``."""
    S, A, W = total.log_policy.shape
    N, K = mask.shape[0], x.f.shape[0]
    scratch, matrix = np.empty((max(2, S), W)), np.empty((S, S, W))
    V_shared, V_own = np.empty((K, S, W)), np.empty((K, S, W))
    v_shared, v_own = np.empty((K, W)), np.empty((K, W))
    weights, direction = np.empty((K, W)), np.empty((S, A, W))
    pibar, before, after = np.empty((S, A, W)), np.empty((S, A, W)), np.empty((S, A, W))
    log_pi, log_pibar = np.empty((N, S, A, W)), total.log_policy
    everything = np.ones(K - 1, dtype=np.bool_)
    log_softmax(log_pibar, pibar, scratch)
    for _ in range(rounds):
        policy_values(x.P, x.f, pibar, x.gamma, matrix, V_shared)
        at_start(x.rho, V_shared, v_shared)
        _add_seen(v_shared, everything, total.shared)
        for i in range(N):
            lam = total.multipliers[i]
            copy(log_pibar, log_pi[i])
            copy(pibar, before)
            for e in range(local_steps):
                V, v = V_shared, v_shared
                if e > 0:
                    V, v = V_own, v_own
                    policy_values(x.P, x.f, before, x.gamma, matrix, V)
                    at_start(x.rho, V, v)
                    _raise_value_drift(v, v_shared, e, total.value_drift[i])
                _add_seen(v, mask[i], total.local)
                _weigh(lam, N, weights)
                advantage(x.P, x.f, V, weights, x.gamma, scratch, direction)
                _primal_step(direction, x.eta, x.gamma, log_pi[i])
                _dual_step(v, x.d, mask[i], x.eta_dual, x.dual_cap, lam)
                log_softmax(log_pi[i], after, scratch)
                largest_move(after, before, scratch, total.step[i])
                copy(after, before)
            largest_move(before, pibar, scratch, total.drift)
        if N == 1:
            copy(log_pi[0], log_pibar)
            copy(before, pibar)
        else:
            _mean(log_pi, geometric, scratch, log_pibar)
            log_softmax(log_pibar, pibar, scratch)


@compiled
def _weigh(lam: Array, N: int, weights: Array) -> None:
    r"""Weights of the signals in agent i's Lagrangian: 1/N for the reward, :math:`-\lambda_{ij}` for the
    costs (0 where unseen, where the multiplier never moves)."""
    for w in range(weights.shape[1]):
        weights[0, w] = 1.0 / N
    for j in range(lam.shape[0]):
        for w in range(weights.shape[1]):
            weights[1 + j, w] = -lam[j, w]


@compiled
def _primal_step(direction: Array, eta: Array, gamma: Array, logits: Array) -> None:
    r"""Add :math:`\eta A_i/(1-\gamma)`."""
    S, A, W = logits.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                logits[s, a, w] += eta[w] / (1.0 - gamma[w]) * direction[s, a, w]


@compiled
def _dual_step(v: Array, d: Array, seen: Mask, eta_dual: Array, cap: Array, lam: Array) -> None:
    r"""Move the multipliers of the seen constraints along :math:`V_c - d`, within the cap."""
    for j in range(seen.size):
        if seen[j]:
            for w in range(lam.shape[1]):
                x = lam[j, w] + eta_dual[j, w] * (v[1 + j, w] - d[j, w])
                x = 0.0 if x < 0.0 else x
                lam[j, w] = cap[j, w] if x > cap[j, w] else x


@compiled
def _mean(log_pi: Array, geometric: bool, scratch: Array, logits: Array) -> None:
    """The mean of log-policies ``(N, S, A, W)``, up to a constant for each state."""
    N, S, A, W = log_pi.shape
    top, total = scratch[0], scratch[1]
    for s in range(S):
        for a in range(A):
            for w in range(W):
                top[w] = log_pi[0, s, a, w]
                total[w] = 0.0
            if geometric:
                for i in range(N):
                    for w in range(W):
                        total[w] += log_pi[i, s, a, w]
                for w in range(W):
                    logits[s, a, w] = total[w] / N
            else:
                for i in range(1, N):
                    for w in range(W):
                        x = log_pi[i, s, a, w]
                        top[w] = x if x > top[w] else top[w]
                for i in range(N):
                    for w in range(W):
                        total[w] += exp(log_pi[i, s, a, w] - top[w])
                for w in range(W):
                    logits[s, a, w] = top[w] + log(total[w])


@compiled
def _add_seen(v: Array, seen: Mask, total: Array) -> None:
    """Add the values ``(1+m, W)`` of the reward and the seen costs."""
    for k in range(v.shape[0]):
        if k == 0 or seen[k - 1]:
            for w in range(v.shape[1]):
                total[k, w] += v[k, w]


@compiled
def _raise_value_drift(v: Array, start: Array, e: int, worst: Array) -> None:
    """Raise ``worst (1+m, W)`` to ``|v - start|/e``."""
    for k in range(v.shape[0]):
        for w in range(v.shape[1]):
            x = abs(v[k, w] - start[k, w]) / e
            worst[k, w] = x if x > worst[k, w] else worst[k, w]
