r"""DRPO and the offline baselines that go round after round, many problems side by side.

The rounds are those of ``algorithms/drpo.py`` and ``algorithms/offline_baselines.py``. A run is read off a
:class:`Reading`, the same for all problems of a batch; the weights, :math:`\alpha, \beta` and the others, are
each problem's own, so that a sweep over them is one batch. Where every client plans in the true problem, one
elimination serves all of them. Arrays are tables ``(R, A, W)`` as :mod:`tabular_fedrl.kernels.layout` has
them. An empirical MDP has one state more than the environment; the problems are then given that state too,
which nobody reaches, and policies are uniform in it.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.forward import entropy_step, forward_step
from tabular_fedrl.kernels.lanes import compiled, copy, expected, log_softmax
from tabular_fedrl.kernels.layout import at_start, backup, factor, solve
from tabular_fedrl.kernels.local_optimum import Scratch, clear, cql_optimum, regularised_optimum, scratch
from tabular_fedrl.kernels.offline import (
    abstain_where_lost,
    abstaining,
    add_divergence,
    confined,
    reverse_step,
    scale_rows,
    subtract_excess,
    subtract_from_rows,
)
from tabular_fedrl.kernels.packs import aligned
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.drpo_reading import (
    CAUTIOUS,
    CONFINED,
    CQL,
    ENTROPY,
    FIXED,
    FORWARD,
    OPTIMUM,
    PLAIN,
    REGULARISED,
    REVERSE,
    Block,
    Kept,
    Moving,
    Reading,
    Work,
)
from tabular_fedrl.loops.drpo_server import balance, copy_rows, inlined, merge
from tabular_fedrl.measured import Array


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
    truth = z.matrix if reading.shared else aligned(z.matrix.shape)
    V, pi = aligned((K, R, W)), aligned((R, A, W))
    y = Work(
        aligned((N, R, A, W)),
        aligned((N, R, A, W)),
        aligned((N, R, A, W)),
        aligned((N, R, A, W)),
        aligned((N, R, W)),
        aligned((N, R, W)),
        aligned((W,)),
        aligned((W,)),
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
                    copy_rows(now.multipliers[i], kept.multipliers[n, i, e])
                _criticise(x, reading, mask, now, i, e, z, y)
            if reading.theorem_c:
                balance(x, now.log_pi, pi, truth, y)
            for i in range(N):
                _step(x, reading, now, i, pi, z, y)
                if keeps and e == local_steps - 1:
                    copy(y.log_p[i], kept.local[n, i, local_steps])
        merge(x, reading, pi, truth, z, y, now.log_pi)


@inlined
def _begin(x: Block, reading: Reading, k: int, log_pi: Array, pi: Array, z: Scratch, y: Work) -> None:
    """Round k: its weights, and every client at the global policy."""
    for w in range(y.alpha.size):
        y.alpha[w] = x.alpha[min(k, x.alpha.shape[0] - 1), w]
        y.beta[w] = x.beta[min(k, x.beta.shape[0] - 1), w]
    for i in range(x.log_b.shape[0]):
        abstaining(x.log_b[i], x.seen[i], log_pi, y.log_b[i])
        copy_rows(x.seen[i], y.known[i])
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
