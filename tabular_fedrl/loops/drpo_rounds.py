r"""DRPO and the offline baselines that go round after round, many problems side by side.

The rounds are those of ``algorithms/drpo.py`` and ``algorithms/offline_baselines.py``. A run is read off a
:class:`Reading`, the same for all problems of a batch; the weights, :math:`\alpha, \beta` and the others, are
each problem's own, so that a sweep over them is one batch. Where every client plans in the true problem, one
elimination serves all of them. Arrays are tables ``(R, A, W)`` as :mod:`tabular_fedrl.kernels.layout` has
them. An empirical MDP has one state more than the environment; the problems are then given that state too,
which nobody reaches, and policies are uniform in it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from tabular_fedrl.kernels.forward import entropy_step, forward_step
from tabular_fedrl.kernels.lanes import compiled, copy, exp, expected, log_softmax
from tabular_fedrl.kernels.layout import at_start, backup, factor, solve, solve_transposed
from tabular_fedrl.kernels.local_optimum import Scratch, clear, cql_optimum, regularised_optimum, scratch
from tabular_fedrl.kernels.offline import (
    abstain_where_lost,
    abstaining,
    add_divergence,
    confined,
    mean_policy,
    recommended,
    reverse_step,
    scale_rows,
    subtract_excess,
    subtract_from_rows,
)
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.measured import Array

REVERSE, FORWARD, ENTROPY, OPTIMUM, CONFINED, CAUTIOUS, FIXED = range(7)
PLAIN, REGULARISED, CQL = range(3)
ARITHMETIC, GEOMETRIC, MIXTURE, WORTH = range(4)


inlined: Any = numba.njit(inline="always")
"""Part of the one loop that is compiled: to compile it apart as well would take as long again."""


class Reading(NamedTuple):
    """What a round does.

    step: ``REVERSE``, ``FORWARD``, ``ENTROPY`` (forward, with entropy), ``OPTIMUM`` (of the critic's model);
        ``CONFINED`` (from the policy confined to the behaviour's support: fedavg-cql), ``CAUTIOUS`` (reverse,
        abstaining where the global policy has lost all of the client's actions: fedora), ``FIXED`` (the
        behaviours as they are: behaviour-cloning and what else is computed once).
    critic: ``PLAIN``, ``REGULARISED`` or ``CQL``. mean: ``ARITHMETIC``, ``GEOMETRIC``, ``MIXTURE`` of
        episodes, or ``WORTH`` (arithmetic, in favour of policies that look good to their clients: fedora).
    theorem_c: the weights of Theorem C. shared: all clients plan in the true problem.
    """

    step: int
    critic: int
    mean: int
    theorem_c: bool
    shared: bool


class Block(NamedTuple):
    """W problems in lanes, or one.

    ``P (S, A, S, W)`` (one: ``(S, A, S, 1)``), ``f (1+m, R, A, W)``, ``d (m, W)``, ``rho (R, W)``,
    ``gamma (W,)``: the problems; ``models (M, *P.shape)`` and ``signals (M, 1+m, R, A, W)``: what the clients
    plan in, one for all of them or one for each; ``log_b (N, R, A, W)``, ``seen (N, R, W)`` (1 or 0),
    ``omega (N, R, W)``: the clients and their weights; ``alpha``, ``beta (rounds or 1, W)``; ``cql``,
    ``entropy``, ``temperature (W,)``; ``eta_dual``, ``dual_cap (m, W)``.
    """

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array
    models: Array
    signals: Array
    log_b: Array
    seen: Array
    omega: Array
    alpha: Array
    beta: Array
    cql: Array
    entropy: Array
    temperature: Array
    eta_dual: Array
    dual_cap: Array


class Moving(NamedTuple):
    """What a round changes: ``log_pi (R, A, W)``, ``multipliers (N, m, W)``; ``V (N, R, W)``: where the next
    search for the clients' optima starts."""

    log_pi: Array
    multipliers: Array
    V: Array


class Kept(NamedTuple):
    """What is kept of every round (or nothing: n = 0): ``log_pi (n, R, A, W)``,
    ``local (n, N, E+1, R, A, W)``, ``multipliers (n, N, E, m, W)``."""

    log_pi: Array
    local: Array
    multipliers: Array


class Work(NamedTuple):
    """The clients' side of a round: policies ``log_p``, ``p``, behaviours ``log_b``, critics ``Q``
    ``(N, R, A, W)``; the states they ``know`` something of and their ``omega`` ``(N, R, W)``; the round's
    ``alpha``, ``beta (W,)``."""

    log_p: Array
    p: Array
    log_b: Array
    Q: Array
    known: Array
    omega: Array
    alpha: Array
    beta: Array


@compiled
def rounds(
    x: Block,
    reading: Reading,
    mask: Mask,
    now: Moving,
    first: int,
    count: int,
    local_steps: int,
    recorded: Array,
    values: Array,
    kept: Kept,
) -> None:
    """``count`` rounds from round ``first`` on; ``values (r, 1+m, W)`` of the global policies of the
    ``recorded (r,)`` rounds (ascending; round ``first + count`` is what the last one leaves)."""
    N, R, A, W = x.log_b.shape
    K = x.f.shape[0]
    z = scratch(x.P, R, W, K)
    truth = z.matrix if reading.shared else np.empty(z.matrix.shape)
    V, pi = np.empty((K, R, W)), np.empty((R, A, W))
    y = Work(
        np.empty((N, R, A, W)),
        np.empty((N, R, A, W)),
        np.empty((N, R, A, W)),
        np.empty((N, R, A, W)),
        np.empty((N, R, W)),
        np.empty((N, R, W)),
        np.empty(W),
        np.empty(W),
    )
    log_softmax(now.log_pi, pi, z.rows)
    place, keeps = 0, kept.log_pi.shape[0] > 0
    for n in range(count + 1):
        due = place < recorded.size and recorded[place] == first + n
        evaluates = reading.theorem_c or (reading.shared and reading.step != FIXED)
        if due or (evaluates and n < count):
            factor(x.P, pi, x.gamma, truth)
        if due:
            expected(pi, x.f, V)
            solve(truth, V)
            at_start(x.P.shape[0], x.rho, V, values[place])
            place += 1
        if n == count:
            return
        if keeps:
            copy(now.log_pi, kept.log_pi[n])
        _begin(x, reading, first + n, now.log_pi, pi, z, y)
        for e in range(local_steps):
            for i in range(N):
                if keeps:
                    copy(now.log_pi if e == 0 else y.log_p[i], kept.local[n, i, e])
                    _copy_rows(now.multipliers[i], kept.multipliers[n, i, e])
                _criticise(x, reading, mask, now, i, e, z, y)
            if reading.theorem_c:
                _balance(x, now.log_pi, pi, truth, y)
            for i in range(N):
                _step(x, reading, now, i, pi, z, y)
                if keeps and e == local_steps - 1:
                    copy(y.log_p[i], kept.local[n, i, local_steps])
        _merge(x, reading, pi, truth, z, y, now.log_pi)


@inlined
def _begin(x: Block, reading: Reading, k: int, log_pi: Array, pi: Array, z: Scratch, y: Work) -> None:
    """Round k: its weights, and every client at the global policy."""
    for w in range(y.alpha.size):
        y.alpha[w] = x.alpha[min(k, x.alpha.shape[0] - 1), w]
        y.beta[w] = x.beta[min(k, x.beta.shape[0] - 1), w]
    for i in range(x.log_b.shape[0]):
        abstaining(x.log_b[i], x.seen[i], log_pi, y.log_b[i])
        _copy_rows(x.seen[i], y.known[i])
        copy(log_pi, y.log_p[i])
        copy(pi, y.p[i])
        if reading.step == CAUTIOUS:
            abstain_where_lost(log_pi, y.log_b[i], y.known[i])
        elif reading.step == CONFINED:
            confined(log_pi, y.log_b[i], z.rows, y.log_p[i], y.p[i])


@inlined
def _criticise(
    x: Block, reading: Reading, mask: Mask, now: Moving, i: int, e: int, z: Scratch, y: Work
) -> None:
    """Client i's critic of its Lagrangian at its present policy, and its multipliers' step there; where it
    goes to an optimum, the Lagrangian's reward in place of the critic."""
    K = x.f.shape[0]
    if reading.step == FIXED:
        return
    alike = reading.shared and reading.critic == PLAIN and K == 1 and reading.step != CAUTIOUS
    if i > 0 and e == 0 and alike:
        copy(y.Q[0], y.Q[i])
        return
    j = 0 if reading.shared else i
    f, lam, Q = x.signals[j], now.multipliers[i], y.Q[i]
    copy(f[0], Q)
    for k in range(1, K):
        copy(f[k], z.signals[k])
        _subtract_cost(lam[k - 1], f[k], Q)
    copy(Q, z.signals[0])
    if reading.step == OPTIMUM and K == 1:
        return
    if reading.critic != PLAIN and reading.step != OPTIMUM:
        abstaining(x.log_b[i], x.seen[i], y.log_p[i], z.Q)
        if reading.critic == REGULARISED:
            clear(z.penalty)
            add_divergence(y.p[i], y.log_p[i], z.Q, y.alpha, z.penalty)
            subtract_from_rows(z.penalty, z.signals[0])
        else:
            subtract_excess(y.log_p[i], z.Q, x.cql, z.signals[0])
            copy(z.signals[0], Q)
    if e > 0 or not reading.shared or reading.step == CONFINED:
        factor(x.models[j], y.p[i], x.gamma, z.matrix)
    expected(y.p[i], z.signals, z.V)
    solve(z.matrix, z.V)
    _dual_step(x, z.V, mask[i], lam)
    if reading.step != OPTIMUM:
        backup(x.models[j], z.V[0], x.gamma, Q)
        scale_rows(y.known[i], Q)


@inlined
def _step(x: Block, reading: Reading, now: Moving, i: int, pi: Array, z: Scratch, y: Work) -> None:
    """Client i's step from the global policy."""
    log_pi, log_b, Q, log_p, p = now.log_pi, y.log_b[i], y.Q[i], y.log_p[i], y.p[i]
    P = x.models[0 if reading.shared else i]
    if reading.step == REVERSE or reading.step == CAUTIOUS:
        reverse_step(log_pi, log_b, Q, y.alpha, y.beta, z.rows, log_p, p)
    elif reading.step == FORWARD:
        forward_step(pi, log_b, Q, y.alpha, y.beta, log_p, p)
    elif reading.step == ENTROPY:
        entropy_step(pi, log_b, Q, y.alpha, y.beta, x.entropy, log_p, p)
    elif reading.step == OPTIMUM and reading.critic == CQL:
        cql_optimum(P, Q, x.gamma, log_b, log_pi, x.cql, y.beta, log_p, p, z)
    elif reading.step == OPTIMUM:
        regularised_optimum(P, Q, x.gamma, log_b, log_pi, y.alpha, y.beta, now.V[i], log_p, p, z)
    elif reading.step == CONFINED:
        reverse_step(log_p, log_p, Q, y.alpha, y.beta, z.rows, log_p, p)
    else:
        copy(log_b, log_p)


@inlined
def _balance(x: Block, log_pi: Array, pi: Array, truth: Array, y: Work) -> None:
    """Theorem C's weights in place of the given ones, where it recommends any."""
    R, A, W = pi.shape
    visits, V, q = np.empty((R, W)), np.empty((1, R, W)), np.empty((R, A, W))
    factor(x.P, pi, x.gamma, truth)
    _visit(x.rho, x.gamma, truth, visits)
    expected(pi, x.f[:1], V)
    solve(truth, V)
    copy(x.f[0], q)
    backup(x.P, V[0], x.gamma, q)
    apart = x.P.shape[0] == R
    recommended(q, pi, log_pi, visits, y.Q, y.log_b, x.omega, x.gamma, apart, y.alpha, y.beta)


@inlined
def _merge(x: Block, reading: Reading, pi: Array, truth: Array, z: Scratch, y: Work, log_pi: Array) -> None:
    """The next global policy."""
    N, R, _, W = x.log_b.shape
    worth, visits = np.zeros((N, 1, W)), np.empty((R, W))
    for i in range(N):
        _copy_rows(x.omega[i], y.omega[i])
        if reading.mean == MIXTURE:
            factor(x.P, y.p[i], x.gamma, truth)
            _visit(x.rho, x.gamma, truth, visits)
            _weigh_visits(visits, y.omega[i])
        elif reading.mean == WORTH:
            j = 0 if reading.shared else i
            factor(x.models[j], y.p[i], x.gamma, z.matrix)
            expected(y.p[i], x.signals[j][:1], z.V[:1])
            solve(z.matrix, z.V[:1])
            at_start(x.P.shape[0], x.rho, z.V[:1], worth[i])
    if reading.mean == WORTH:
        _weigh_worth(worth, x.temperature, y.omega)
    if reading.mean == WORTH or reading.mean == MIXTURE:
        _normalise(y.omega)
    mean_policy(y.log_p, y.omega, reading.mean == GEOMETRIC, z.rows, log_pi, pi)


@compiled
def _visit(rho: Array, gamma: Array, factors: Array, visits: Array) -> None:
    r"""``visits (R, W)``: :math:`d = (1-\gamma)(I - \gamma P_\pi)^{-T}\rho`."""
    R, W = visits.shape
    for s in range(R):
        for w in range(W):
            visits[s, w] = (1.0 - gamma[w]) * rho[s, w]
    solve_transposed(factors, visits)


@compiled
def _weigh_visits(visits: Array, omega: Array) -> None:
    """The mixture's share of a client: its weight times its visits; any where nobody ever comes."""
    S, W = visits.shape
    for s in range(S):
        for w in range(W):
            omega[s, w] *= visits[s, w] + 1e-300


@compiled
def _weigh_worth(worth: Array, temperature: Array, omega: Array) -> None:
    r"""Multiply ``omega (N, R, W)`` by :math:`e^{J_i/T}`, ``worth (N, 1, W)``."""
    N, R, W = omega.shape
    top = np.full(W, -np.inf)
    for i in range(N):
        for w in range(W):
            top[w] = max(top[w], worth[i, 0, w])
    for i in range(N):
        for w in range(W):
            worth[i, 0, w] = exp((worth[i, 0, w] - top[w]) / temperature[w])
        for s in range(R):
            for w in range(W):
                omega[i, s, w] *= worth[i, 0, w]


@compiled
def _normalise(omega: Array) -> None:
    """Weights ``(N, R, W)`` that sum to 1 over the clients."""
    N, R, W = omega.shape
    for s in range(R):
        for w in range(W):
            total = 0.0
            for i in range(N):
                total += omega[i, s, w]
            for i in range(N):
                omega[i, s, w] /= total


@compiled
def _dual_step(x: Block, V: Array, seen: Mask, lam: Array) -> None:
    r"""Move the multipliers ``(m, W)`` of the seen constraints along :math:`V_c - d`, within the cap."""
    m, W = lam.shape
    v = np.empty((1 + m, W))
    at_start(x.P.shape[0], x.rho, V, v)
    for j in range(m):
        if seen[j]:
            for w in range(W):
                y = max(lam[j, w] + x.eta_dual[j, w] * (v[1 + j, w] - x.d[j, w]), 0.0)
                lam[j, w] = min(y, x.dual_cap[j, w])


@compiled
def _subtract_cost(lam: Array, c: Array, out: Array) -> None:
    """Subtract a multiplier ``(W,)`` times a cost from a reward ``(R, A, W)``."""
    R, A, W = out.shape
    for s in range(R):
        for a in range(A):
            for w in range(W):
                out[s, a, w] -= lam[w] * c[s, a, w]


@compiled
def _copy_rows(x: Array, out: Array) -> None:
    for s in range(out.shape[0]):
        for w in range(out.shape[1]):
            out[s, w] = x[s, w]
