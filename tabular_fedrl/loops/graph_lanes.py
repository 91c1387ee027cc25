r"""Decentralised FedNPG from the first round to the last, many problems side by side.

The iteration is that of ``algorithms/decentralised.py``, in plain floats without bounds on their errors.
Arrays inside have the lanes of :mod:`tabular_fedrl.kernels.lanes` last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.kernels.lanes import (
    add_backup,
    at_start,
    compiled,
    copy,
    largest_move,
    log_softmax,
    policy_values,
)
from tabular_fedrl.kernels.packs import PACK, aligned, load, spread, store
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.batch import Batch, Mask
from tabular_fedrl.loops.fednpg import add_seen, minus_log
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
from tabular_fedrl.measured import Array


class Block(NamedTuple):
    r"""W problems, as in :class:`Batch`, the lane last; f: the signals, reward first; exponent:
    :math:`\eta/(1-\gamma)`, ``(W,)``; tau: the entropy's weight, ``(W,)``; mixing: ``(N, N, W)``."""

    P: Array
    f: Array
    rho: Array
    gamma: Array
    exponent: Array
    tau: Array
    mixing: Array


def on_graph(
    batch: Batch,
    rounds: int,
    eta: ArrayLike,
    mixing: ArrayLike,
    *,
    tau: ArrayLike = 0.0,
    initial_multipliers: ArrayLike = 0.0,
) -> Iterated:
    """Decentralised FedNPG on every problem of the batch, with its own steps.

    Parameters
    ----------
    rounds: K. eta: steps, ``(B,)`` or one number. mixing: the matrix of the graph, ``(B, N, N)`` or what
        broadcasts to it. tau: weight of the entropy, ``(B,)`` or one number.
    initial_multipliers: ``(B, N, m)`` or what broadcasts to it; they never move.

    Raises
    ------
    InvalidProblem: a number is negative or of another shape, or no round is asked for.
    """
    B, S, A, N = batch.B, batch.S, batch.A, batch.N
    eta, _, _ = checked(batch, rounds, 1, eta, 0.0, 0.0)
    weight = numbers("tau", tau, (B,))
    with np.errstate(over="ignore"):  # such a step spoils its own lane only
        exponent = eta / (1.0 - batch.gamma)
    given = (
        batch.P,
        batch.signals,
        batch.rho,
        batch.gamma,
        exponent,
        weight,
        shaped("mixing", mixing, (B, N, N)),
    )
    W = lanes(B, S * A * S)
    blocks = [Block(*x) for x in zip(*(to_lanes(x, W) for x in given))]
    totals = at_first(batch, W, N, initial_multipliers)
    in_parallel(_rounds, list(zip(blocks, totals)), bool(weight.any()), batch.mask, rounds)
    total = at_last(totals, B)
    return averaged(batch.mask, rounds, 1, total._replace(drift=total.step.max(axis=1)))


@compiled
def _rounds(x: Block, total: Totals, soft: bool, mask: Mask, rounds: int) -> None:
    """All rounds of one block of W problems, added up in ``total``; ``soft``: some ``tau`` is not 0.

    A tracker is mixed when the next Q functions are known: in the next round.
    """
    N, S, A, W = total.log_policy.shape
    K = x.f.shape[0]
    n = K + 1 if soft else K
    f = x.f if n == K else aligned((n, S, A, W))
    for k in range(K if n > K else 0):
        copy(x.f[k], f[k])
    scratch, matrix = aligned((max(2, S), W)), aligned((S, S, W))
    V, v, new_q = aligned((n, S, W)), aligned((n, W)), aligned((S, A, W))
    pi, after = aligned((N, S, A, W)), aligned((S, A, W))
    tracker, Q = np.zeros((N, S, A, W)), np.zeros((N, S, A, W))
    changed, log_pi = aligned((N, S, A, W)), total.log_policy
    everything = np.ones(K - 1, dtype=np.bool_)
    for i in range(N):
        log_softmax(log_pi[i], pi[i], scratch)
    for k in range(rounds):
        for i in range(N):
            if soft:
                minus_log(log_pi[i], f[K])
            policy_values(x.P, f, pi[i], x.gamma, matrix, V)
            at_start(x.rho, V, v)
            add_seen(v, everything, 1.0 / N, total.shared)
            add_seen(v, mask[i], 1.0, total.local)
            _own_q(x, mask[i], V, scratch, new_q)
            _changed(tracker[i], Q[i], new_q, changed[i])
        if k == 0:
            for i in range(N):
                copy(changed[i], tracker[i])
        else:
            _mix(x.mixing, changed, tracker)
        for i in range(N):
            _step(x, log_pi[i], tracker[i], changed[i])
        _mix(x.mixing, changed, log_pi)
        for i in range(N):
            log_softmax(log_pi[i], after, scratch)
            largest_move(after, pi[i], scratch, total.step[i])
            copy(after, pi[i])


@compiled
def _own_q(x: Block, seen: Mask, V: Array, scratch: Array, Q: Array) -> None:
    r"""``Q (S, A, W)``: the soft Q of :math:`r - \sum_{j \in \Gamma} c_j`, from the values ``V (n, S, W)`` of
    all signals, entropy's the last if it is there; ``scratch``: ``(S, W)`` or more."""
    S, A, W = Q.shape
    K = x.f.shape[0]
    for s in range(S):
        for w in range(W):
            scratch[s, w] = V[0, s, w] + (x.tau[w] * V[K, s, w] if V.shape[0] > K else 0.0)
        for a in range(A):
            for w in range(W):
                Q[s, a, w] = x.f[0, s, a, w]
        for j in range(seen.size):
            if seen[j]:
                for w in range(W):
                    scratch[s, w] -= V[1 + j, s, w]
                for a in range(A):
                    for w in range(W):
                        Q[s, a, w] -= x.f[1 + j, s, a, w]
    add_backup(x.P, scratch, x.gamma, Q)


@compiled
def _changed(tracker: Array, Q: Array, new: Array, out: Array) -> None:
    """``out (S, A, W)``: an agent's tracker with what its Q function has changed by since ``Q``, which
    becomes the ``new`` one."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                out[s, a, w] = tracker[s, a, w] + new[s, a, w] - Q[s, a, w]
                Q[s, a, w] = new[s, a, w]


@compiled
def _step(x: Block, log_pi: Array, tracker: Array, out: Array) -> None:
    """``out (S, A, W)``: the logits of an agent's step along its tracker."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                kept = (1.0 - x.exponent[w] * x.tau[w]) * log_pi[s, a, w]
                out[s, a, w] = kept + x.exponent[w] * tracker[s, a, w]


@compiled
def _mix(mixing: Array, tables: Array, out: Array) -> None:
    """``out (N, S, A, W)``: of every agent, the mean of its neighbours' ``tables``."""
    N, S, A, W = tables.shape
    for i in range(N):
        for s in range(S):
            for a in range(A):
                for w in range(0, W, PACK):
                    x = spread(0.0)
                    for j in range(N):
                        x = x + load(mixing, (i, j, w)) * load(tables, (j, s, a, w))
                    store(x, out, (i, s, a, w))
