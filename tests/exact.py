"""An oracle that shares nothing with the package: exact rational arithmetic on the numbers a problem holds.

Floats are read exactly, and every row of P and rho is divided by its exact sum. A log-policy stands for the
exact softmax; its exponentials are taken to 300 bits, which is exact for every purpose here.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from flint import arb, ctx, fmpq, fmpq_mat

BITS = 300


def rational(x: float) -> fmpq:
    """The float, exactly."""
    return fmpq(*float(x).as_integer_ratio())


def normalised(row) -> list[fmpq]:
    entries = [rational(x) for x in row]
    total = sum(entries, fmpq(0))
    return [x / total for x in entries]


def kernel(cmdp):
    """``P[s][a]`` as lists of rationals that sum to 1."""
    dense = cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S) if cmdp.is_sparse else cmdp.P
    return [[normalised(dense[s, a]) for a in range(cmdp.A)] for s in range(cmdp.S)]


def policy(log_pi) -> list[list[fmpq]]:
    """The exact softmax of each row, to 300 bits."""
    ctx.prec = BITS
    out = []
    for row in log_pi:
        weights = []
        for x in row:
            if x == -np.inf:
                weights.append(fmpq(0))
            else:
                mantissa, exponent = (arb(float(x)).exp()).mid().man_exp()
                weights.append(fmpq(mantissa) * fmpq(2) ** int(exponent))
        total = sum(weights, fmpq(0))
        out.append([w / total for w in weights])
    return out


class ExactValues:
    """V ``[k][s]``, Q ``[k][s][a]``, values at rho ``[k]`` and visitation ``[s]`` of a rational policy."""

    def __init__(self, cmdp, pi, signals=None):
        S, A, P = cmdp.S, cmdp.A, kernel(cmdp)
        signals = cmdp.signals if signals is None else signals
        f = [[[rational(x) for x in row] for row in table] for table in signals]
        gamma, rho = rational(cmdp.gamma), normalised(cmdp.rho)
        moves = [
            [sum((pi[s][a] * P[s][a][t] for a in range(A)), fmpq(0)) for t in range(S)] for s in range(S)
        ]
        system = fmpq_mat(S, S, [fmpq(int(s == t)) - gamma * moves[s][t] for s in range(S) for t in range(S)])
        rhs = fmpq_mat(
            S, len(f), [sum((pi[s][a] * g[s][a] for a in range(A)), fmpq(0)) for s in range(S) for g in f]
        )
        solved = system.solve(rhs)
        self.V = [[solved[s, k] for s in range(S)] for k in range(len(f))]
        self.Q = [
            [
                [g[s][a] + gamma * sum((P[s][a][t] * v[t] for t in range(S)), fmpq(0)) for a in range(A)]
                for s in range(S)
            ]
            for g, v in zip(f, self.V)
        ]
        self.at_rho = [sum((rho[s] * v[s] for s in range(S)), fmpq(0)) for v in self.V]
        start = fmpq_mat(S, 1, [(1 - gamma) * x for x in rho])
        flow = system.transpose().solve(start)
        self.visitation = [flow[s, 0] for s in range(S)]


def deterministic_values(cmdp) -> list[list[fmpq]]:
    """``[V_r, V_c1, ..]`` at rho of every deterministic policy (few states and actions only)."""
    out = []
    for actions in product(range(cmdp.A), repeat=cmdp.S):
        pi = [[fmpq(int(a == chosen)) for a in range(cmdp.A)] for chosen in actions]
        out.append(ExactValues(cmdp, pi).at_rho)
    return out


def constrained_optimum(cmdp) -> fmpq | None:
    """V_r* by enumeration of the vertices of the polytope of value vectors; None if infeasible.

    The optimum of a linear program over mixtures of k policies under m constraints is attained at a basis: k
    <= m + 1 policies with k - 1 constraints tight.
    """
    points = [list(p) for p in {tuple(str(x) for x in v): v for v in deterministic_values(cmdp)}.values()]
    d = [rational(x) for x in cmdp.d]
    best = None
    for k in range(1, cmdp.m + 2):
        for chosen in combinations(points, k):
            for tight in combinations(range(cmdp.m), k - 1):
                system = fmpq_mat(k, k, [fmpq(1)] * k + [p[1 + j] for j in tight for p in chosen])
                if system.det() == 0:
                    continue
                w = system.solve(fmpq_mat(k, 1, [fmpq(1)] + [d[j] for j in tight]))
                if any(w[i, 0] < 0 for i in range(k)):
                    continue
                value = [
                    sum((w[i, 0] * p[q] for i, p in enumerate(chosen)), fmpq(0)) for q in range(cmdp.m + 1)
                ]
                if all(value[1 + j] <= d[j] for j in range(cmdp.m)) and (best is None or value[0] > best):
                    best = value[0]
    return best


def encloses(measured, exact) -> bool:
    """Does each enclosure contain the rational (or nested list of rationals) at its place?"""
    value, error = np.asarray(measured.value), np.asarray(measured.error)
    flat = np.array(exact, dtype=object).ravel()
    assert flat.size == value.size
    return all(
        abs(x - rational(v)) <= rational(e)
        for x, v, e in zip(flat, value.ravel(), error.ravel())
        if np.isfinite(e)
    )
