r"""One code for many problems in lanes and for one problem whose states are the lanes.

What acts on every state alone runs over tables ``(R, A, W)`` whose last axis is vectorised. With W problems
in lockstep, R is their number of states S and the lane w a problem; one problem on its own is a table
``(1, A, S)``, and a lane is a state. Its kernel ``P`` keeps four axes, ``(S, A, S, 1)``, so that both compile
to the same code: the blocks here, which couple states, see from the shapes which of the two they are given.
Numbers that belong to a problem, such as :math:`\gamma`, are ``(W,)`` arrays either way.
"""

from __future__ import annotations

from tabular_fedrl.kernels import lanes
from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.single import inner
from tabular_fedrl.measured import Array


@compiled
def factor(P: Array, pi: Array, gamma: Array, matrix: Array) -> None:
    r"""The factors of :math:`I - \gamma P_\pi` into ``matrix``, of the shape of P without actions; as
    :func:`tabular_fedrl.kernels.lanes.factor`."""
    S, A = P.shape[0], P.shape[1]
    if P.shape[3] > 1:
        lanes.factor(P, pi, gamma, matrix)
        return
    rows, system = P.reshape(S * A, S), matrix.reshape(S, S)
    for s in range(S):
        row = system[s]
        for t in range(S):
            row[t] = 0.0
        for a in range(A):
            p, successors = gamma[s] * pi[0, a, s], rows[s * A + a]
            for t in range(S):
                row[t] -= p * successors[t]
        row[s] += 1.0
    for i in range(S):
        pivot = system[i]
        pivot[i] = 1.0 / pivot[i]
        for s in range(i + 1, S):
            row = system[s]
            row[i] *= pivot[i]
            x = row[i]
            for t in range(i + 1, S):
                row[t] -= x * pivot[t]


@compiled
def solve(matrix: Array, V: Array) -> None:
    """Solve with what :func:`factor` left, in place, for right-hand sides ``V (k, R, W)``."""
    S, K = matrix.shape[0], V.shape[0]
    if matrix.shape[2] > 1:
        lanes.solve(matrix, V)
        return
    system = matrix.reshape(S, S)
    for k in range(K):
        x = V[k, 0]
        for i in range(S):
            x[i] -= inner(system[i, :i], x[:i])
        for i in range(S - 1, -1, -1):
            x[i] = (x[i] - inner(system[i, i + 1 :], x[i + 1 :])) * system[i, i]


@compiled
def solve_transposed(matrix: Array, x: Array) -> None:
    """Solve with the transpose of what :func:`factor` left, in place, for a right-hand side ``x (R, W)``."""
    S = matrix.shape[0]
    if matrix.shape[2] > 1:
        lanes.solve_transposed(matrix, x.reshape(1, S, x.shape[1]))
        return
    system, y = matrix.reshape(S, S), x[0]
    for i in range(S):
        row = system[i]
        y[i] *= row[i]
        for t in range(i + 1, S):
            y[t] -= row[t] * y[i]
    for i in range(S - 1, -1, -1):
        row = system[i]
        for t in range(i):
            y[t] -= row[t] * y[i]


@compiled
def backup(P: Array, V: Array, gamma: Array, out: Array) -> None:
    r"""Add :math:`\gamma P V` to ``out (R, A, W)``; ``V``: ``(R, W)``."""
    S, A = P.shape[0], P.shape[1]
    if P.shape[3] > 1:
        lanes.add_backup(P, V, gamma, out)
        return
    rows = P.reshape(S * A, S)
    for s in range(S):
        for a in range(A):
            out[0, a, s] += gamma[s] * inner(rows[s * A + a], V[0])


@compiled
def at_start(states: int, rho: Array, V: Array, out: Array) -> None:
    r"""``out (k, W)``: :math:`\sum_s \rho(s) V(s)` of ``V (k, R, W)``, ``rho (R, W)``, for problems of so
    many ``states``."""
    if V.shape[1] == states:
        lanes.at_start(rho, V, out)
        return
    for k in range(V.shape[0]):
        total = inner(rho[0], V[k, 0])
        for w in range(out.shape[1]):
            out[k, w] = total


@compiled
def join(apart: bool, most: bool, x: Array) -> None:
    """Put the largest entry of ``x (W,)``, or the sum of all, in place of each: unless the lanes are problems
    (``apart``) and each has its own. NaN counts as largest."""
    if apart:
        return
    total = x[0]
    for w in range(1, x.size):
        if most:
            total = total if x[w] <= total else x[w]
        else:
            total += x[w]
    for w in range(x.size):
        x[w] = total
