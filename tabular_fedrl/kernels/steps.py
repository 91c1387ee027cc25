r"""Building blocks of an iteration on one large problem: tables ``(S, A)``, states over threads.

Every kernel does the chunks ``first..last`` of the states
(:func:`~tabular_fedrl.kernels.threads.over_chunks`), in blocks of :data:`BLOCK` states: a block is transposed
in the cache, so that its states are the lanes of :mod:`tabular_fedrl.kernels.lanes` and the exponential
compiles to vector instructions for any number of actions. What is summed or raised over states goes into one
row of ``partials`` for each chunk; the rows are combined in their order, so that no result depends on the
number of threads.

Log-policies are plain float64. ``-inf`` and NaN are carried along and reported by ``partials``, never
branched on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.kernels.lanes import compiled, exp, log, log_softmax
from tabular_fedrl.kernels.threads import CHUNK
from tabular_fedrl.measured import Array

BLOCK = 256
"""States side by side: a block of ten actions with its probabilities stays in the first-level cache."""


@compiled
def load(table: Array, first: int, block: Array) -> None:
    """Rows ``first..`` of ``table (S, A)`` into ``block (1, A, W)``; lanes past the end hold zeros."""
    _, A, W = block.shape
    n = min(W, table.shape[0] - first)
    for a in range(A):
        for w in range(n):
            block[0, a, w] = table[first + w, a]
        for w in range(n, W):
            block[0, a, w] = 0.0


@compiled
def store(block: Array, first: int, table: Array) -> None:
    """The inverse of :func:`load`."""
    _, A, W = block.shape
    n = min(W, table.shape[0] - first)
    for a in range(A):
        for w in range(n):
            table[first + w, a] = block[0, a, w]


@compiled
def mix(first: int, last: int, weights: Array, parts: Array, out: Array) -> None:
    r"""``out = sum_k w_k f_k``: tables ``f (k, S, A)``, ``out (S, A)``."""
    S, A = out.shape
    total = out.reshape(-1)
    for k in range(weights.size):
        part = parts[k].reshape(-1)
        for e in range(first * CHUNK * A, min(last * CHUNK, S) * A):
            total[e] = weights[k] * part[e] + (total[e] if k else 0.0)


@compiled
def add_values(first: int, last: int, weights: Array, V: Array, out: Array) -> None:
    r"""``out (S,) += sum_k w_k V_k`` of interleaved values ``V (S, k)``."""
    for s in range(first * CHUNK, min(last * CHUNK, out.size)):
        total = 0.0
        for k in range(weights.size):
            total += weights[k] * V[s, k]
        out[s] += total


@compiled
def add_table(first: int, last: int, factor: float, table: Array, out: Array) -> None:
    """``out += factor * table``, both ``(S, A)``."""
    S, A = out.shape
    x, total = table.reshape(-1), out.reshape(-1)
    for e in range(first * CHUNK * A, min(last * CHUNK, S) * A):
        total[e] += factor * x[e]


@compiled
def primal_step(
    first: int,
    last: int,
    log_pi: Array,
    Q: Array,
    V: Array,
    visits: Array,
    step: float,
    out: Array,
    partials: Array,
) -> None:
    r"""``out (S, A)``: the log-policy of :math:`\log\pi + \text{step} \cdot A`, :math:`A = Q - V`, or with
    ``visits (S,)`` of :math:`\log\pi + \text{step} \cdot d \pi A`.

    Q: ``(S, A)``; V: ``(S,)``; visits: d, or empty. ``out`` may be ``log_pi`` or Q. partials: ``(chunks,
    1)``, NaN where an entry of ``out`` is not finite, else 0.
    """
    S, A = log_pi.shape
    x, p = np.empty((1, A, BLOCK)), np.empty((1, A, BLOCK))
    scratch, flaw = np.empty((2, BLOCK)), np.empty(BLOCK)
    for s0 in range(first * CHUNK, min(last * CHUNK, S), BLOCK):
        load(log_pi, s0, x)
        load(Q, s0, p)
        n = min(BLOCK, S - s0)
        for a in range(A):
            for w in range(n):
                p[0, a, w] -= V[s0 + w]
            if visits.size:
                for w in range(n):
                    p[0, a, w] *= visits[s0 + w] * exp(x[0, a, w])
            for w in range(n):
                x[0, a, w] += step * p[0, a, w]
        log_softmax(x, p, scratch)
        store(x, s0, out)
        _flaws(x, s0, flaw, partials)


@compiled
def normalise(first: int, last: int, logits: Array, partials: Array) -> None:
    """Turn ``logits (S, A)`` into their log-policy, in place; ``partials`` as in :func:`primal_step`."""
    S, A = logits.shape
    x, p = np.empty((1, A, BLOCK)), np.empty((1, A, BLOCK))
    scratch, flaw = np.empty((2, BLOCK)), np.empty(BLOCK)
    for s0 in range(first * CHUNK, min(last * CHUNK, S), BLOCK):
        load(logits, s0, x)
        log_softmax(x, p, scratch)
        store(x, s0, logits)
        _flaws(x, s0, flaw, partials)


@compiled
def probabilities(first: int, last: int, log_pi: Array, pi: Array) -> None:
    """``pi (S, A)``: the policy for which a log-policy stands, its rows normalised; may be ``log_pi``."""
    S, A = log_pi.shape
    x, p, scratch = np.empty((1, A, BLOCK)), np.empty((1, A, BLOCK)), np.empty((2, BLOCK))
    for s0 in range(first * CHUNK, min(last * CHUNK, S), BLOCK):
        load(log_pi, s0, x)
        log_softmax(x, p, scratch)
        store(p, s0, pi)


@compiled
def _flaws(x: Array, s0: int, flaw: Array, partials: Array) -> None:
    """Put NaN in the partial of a chunk with an entry that is not finite: ``y - y`` is 0 for all others."""
    if s0 % CHUNK == 0:
        partials[s0 // CHUNK, 0] = 0.0
    _, A, W = x.shape
    for w in range(W):
        flaw[w] = 0.0
    for a in range(A):
        for w in range(W):
            flaw[w] += x[0, a, w] - x[0, a, w]
    for w in range(W):
        partials[s0 // CHUNK, 0] += flaw[w]


@compiled
def add_policy(
    first: int, last: int, log_pi: Array, weight: float, geometric: bool, opening: bool, logits: Array
) -> None:
    r"""Add one agent's policy to the logits ``(S, A)`` of a mean: :math:`\log\sum_i w_i \pi_i`, or
    :math:`\sum_i w_i \log\pi_i` if ``geometric``. The ``opening`` one overwrites what was there."""
    S, A = log_pi.shape
    start, end = first * CHUNK * A, min(last * CHUNK, S) * A
    x, total = log_pi.reshape(-1), logits.reshape(-1)
    if geometric:
        if opening:
            for e in range(start, end):
                total[e] = weight * x[e]
        else:
            for e in range(start, end):
                total[e] += weight * x[e]
    else:
        shift = np.log(weight)
        if opening:
            for e in range(start, end):
                total[e] = x[e] + shift
        else:
            high, low = np.empty(BLOCK), np.empty(BLOCK)
            for e0 in range(start, end, BLOCK):
                n = min(BLOCK, end - e0)
                for w in range(n):
                    y, z = x[e0 + w] + shift, total[e0 + w]
                    high[w], low[w] = (y, z) if y > z else (z, y)
                # In two loops over full blocks the compiler finds its vectors.
                for w in range(BLOCK):
                    low[w] = exp(low[w] - high[w])
                for w in range(BLOCK):
                    high[w] += log(1.0 + low[w])
                for w in range(n):
                    total[e0 + w] = high[w]


@compiled
def largest_move(first: int, last: int, log_p: Array, log_q: Array, partials: Array) -> None:
    r"""``partials (chunks, 1)``: :math:`\max_s \|p(\cdot|s) - q(\cdot|s)\|_1` of log-policies ``(S, A)``."""
    S, A = log_p.shape
    p, q = np.empty((1, A, BLOCK)), np.empty((1, A, BLOCK))
    total = np.empty(BLOCK)
    for s0 in range(first * CHUNK, min(last * CHUNK, S), BLOCK):
        load(log_p, s0, p)
        load(log_q, s0, q)
        for w in range(BLOCK):
            total[w] = 0.0
        for a in range(A):
            for w in range(BLOCK):
                total[w] += abs(exp(p[0, a, w]) - exp(q[0, a, w]))
        worst = 0.0 if s0 % CHUNK == 0 else partials[s0 // CHUNK, 0]
        for w in range(BLOCK):
            worst = total[w] if total[w] > worst else worst
        partials[s0 // CHUNK, 0] = worst


@compiled
def load_compact(actions: Any, mixed: Any, rows: Array, first: int, block: Array) -> None:
    """:func:`load` from the fields of a :class:`~tabular_fedrl.policies.CompactPolicy`; lanes past the end
    hold one of its rows."""
    _, A, W = block.shape
    n = min(W, actions.size - first)
    for a in range(A):
        for w in range(W):
            block[0, a, w] = -np.inf
    for w in range(W):
        block[0, actions[first + min(w, n - 1)], w] = 0.0
    i = np.searchsorted(mixed, first)
    while i < mixed.size and mixed[i] < first + n:
        for a in range(A):
            block[0, a, mixed[i] - first] = rows[i, a]
        i += 1


@compiled
def divergence(
    first: int, last: int, d: Array, actions: Any, mixed: Any, rows: Array, log_q: Array, partials: Array
) -> None:
    r"""``partials (chunks, 3)``: sums of :math:`d(s)\,KL(p\|q)(s)` and of :math:`d(s) M(s)`, and
    :math:`\max_s M(s)`, with :math:`M(s) = \sum_a p(a|s) (|\log p| + |\log q| + 1)`, of the policies for
    which the log-policies ``(S, A)`` stand (rows normalised exactly): p in its compact form.

    :math:`M(s)` bounds what rounding does to :math:`KL(p\|q)(s)`: with the exponential and the logarithm
    within two units in the last place it errs by at most :math:`(2A + 40) u M(s)`. p may be 0; where q is 0
    and p is not, everything is infinite.
    """
    S, A = log_q.shape
    p, q = np.empty((1, A, BLOCK)), np.empty((1, A, BLOCK))
    total, moment, mass, shift = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for s0 in range(first * CHUNK, min(last * CHUNK, S), BLOCK):
        load_compact(actions, mixed, rows, s0, p)
        load(log_q, s0, q)
        for w in range(BLOCK):
            total[w] = moment[w] = mass[w] = shift[w] = 0.0
        for a in range(A):
            for w in range(BLOCK):
                mass[w] += exp(p[0, a, w])
                shift[w] += exp(q[0, a, w])
        for w in range(BLOCK):
            shift[w] = log(shift[w]) - log(mass[w])
        for a in range(A):
            for w in range(BLOCK):
                share = exp(p[0, a, w]) / mass[w]
                total[w] += share * (p[0, a, w] - q[0, a, w] + shift[w]) if share > 0.0 else 0.0
                moment[w] += share * (abs(p[0, a, w]) + abs(q[0, a, w]) + 1.0) if share > 0.0 else 0.0
        row = partials[s0 // CHUNK]
        if s0 % CHUNK == 0:
            row[0] = row[1] = row[2] = 0.0
        for w in range(min(BLOCK, S - s0)):
            row[0] += d[s0 + w] * total[w]
            row[1] += d[s0 + w] * moment[w]
            row[2] = max(row[2], moment[w])


@compiled
def at_start(first: int, last: int, rho: Array, V: Array, partials: Array) -> None:
    r"""``partials (chunks, 2, k)``: sums of :math:`\rho(s) V(s)` and :math:`\max|V|` of interleaved values
    ``V (S, k)``."""
    for chunk in range(first, last):
        total, top = partials[chunk, 0], partials[chunk, 1]
        for k in range(V.shape[1]):
            total[k] = top[k] = 0.0
        for s in range(chunk * CHUNK, min((chunk + 1) * CHUNK, rho.size)):
            for k in range(V.shape[1]):
                total[k] += rho[s] * V[s, k]
                top[k] = max(top[k], abs(V[s, k]))
