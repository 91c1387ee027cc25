"""Rational CMDPs and an oracle for their occupancy programs in ``fractions.Fraction``.

The oracle (:func:`judge`, :func:`values`, :func:`assert_proof`) writes the programs down as the page does,
unscaled, and solves with its own elimination: it shares no code, no number type and no scaling with the
package.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP
from tabular_fedrl.solvers.rational import optimum

Rows = list[list[Fraction]]


class Data(NamedTuple):
    """P (S, A, S), r (S, A), c (m, S, A), d (m,), rho (S,): object arrays of fmpq; gamma."""

    P: Any
    r: Any
    c: Any
    d: Any
    rho: Any
    gamma: fmpq

    @property
    def without_reward(self):
        return self.P, self.c, self.d, self.rho, self.gamma

    @property
    def cmdp(self) -> CMDP:
        return CMDP.exact(*self)


def fraction(x) -> Fraction:
    return Fraction(int(x.p), int(x.q)) if isinstance(x, fmpq) else Fraction(x)


def fractions(array) -> Any:
    out = np.empty(np.shape(array), dtype=object)
    out.ravel()[:] = [fraction(x) for x in np.ravel(array).tolist()]
    return out


def rational_array(values, shape) -> Any:
    """An object array of fmpq from ints, floats, Fractions or fmpq, floats read exactly."""
    out = np.empty(shape, dtype=object)
    flat = np.asarray(values, dtype=object).ravel()
    out.ravel()[:] = [x if isinstance(x, fmpq) else fmpq(*x.as_integer_ratio()) for x in flat]
    return out


def read(cmdp) -> Data:
    """A float CMDP's numbers exactly, rows divided by their exact sums, dense."""
    S, A, m = cmdp.S, cmdp.A, cmdp.m
    P = rational_array(cmdp.P.toarray() if cmdp.is_sparse else cmdp.P, (S, A, S))
    rho = rational_array(cmdp.rho, (S,))
    return Data(
        P / P.sum(axis=-1, keepdims=True),
        rational_array(cmdp.r, (S, A)),
        rational_array(cmdp.c, (m, S, A)),
        rational_array(cmdp.d, (m,)),
        rho / rho.sum(),
        fmpq(*float(cmdp.gamma).as_integer_ratio()),
    )


def small_problem(seed: int, *, S: int, A: int, m: int) -> Data:
    """Small whole numbers and few of them: ties, repeated constraints, unreachable states, thresholds at the
    value of a policy, gamma = 0 now and then."""
    g = np.random.default_rng(seed)
    P = rational_array(g.integers(0, 3, (S, A, S)) * (g.random((S, A, S)) < 0.5), (S, A, S))
    P[..., int(g.integers(S))] += fmpq(1)
    P = P / P.sum(axis=-1, keepdims=True)
    gamma = (fmpq(0), fmpq(1, 2), fmpq(9, 10), fmpq(2, 3))[int(g.integers(4))]
    rho = rational_array(g.integers(0, 2, S), (S,))
    rho[int(g.integers(S))] += fmpq(1)
    r = rational_array(g.integers(-1, 3, (S, A)), (S, A)) / int(g.integers(1, 4))
    c = rational_array(g.integers(-1, 3, (m, S, A)), (m, S, A)) / int(g.integers(1, 4))
    d = rational_array(g.integers(-1, 5, m), (m,)) / 2
    data = Data(P, r, c, d, rho / rho.sum(), gamma)
    if m > 1 and g.random() < 0.3:
        c[1], d[1] = 2 * c[0], 2 * d[0]
    if g.random() < 0.5:
        pi = np.eye(A, dtype=int)[g.integers(A, size=S)]
        d[:] = rational_array(values(data, fractions(pi))[1:], (m,))
    return data


# ---- the page's programs -----------------------------------------------------------------------------------
def program(data: Data, *, with_slack: bool = False) -> tuple[Rows, list[Fraction], list[Fraction]]:
    """Columns, right-hand side and gains in the variables y(s, a), z_j and, ``with_slack``, t (no sign)."""
    S, A, m = *data.r.shape, len(data.d)
    P, r, c = fractions(data.P), fractions(data.r), fractions(data.c)
    gamma = fraction(data.gamma)
    columns, gain = [], []
    for s, a in product(range(S), range(A)):
        flow = [int(s == t) - gamma * P[s, a, t] for t in range(S)]
        columns.append(flow + [c[j, s, a] for j in range(m)])
        gain.append(Fraction(0) if with_slack else r[s, a])
    for j in range(m):
        columns.append([Fraction(int(i == S + j)) for i in range(S + m)])
        gain.append(Fraction(0))
    if with_slack:
        columns.append([Fraction(int(i >= S)) for i in range(S + m)])
        gain.append(Fraction(1))
    return columns, [*fractions(data.rho), *fractions(data.d)], gain


class Basis(NamedTuple):
    """``x``: basic variables by index; ``value``; ``feasible``, ``optimal`` (for the duals of this basis)."""

    x: dict[int, Fraction]
    value: Fraction
    feasible: bool
    optimal: bool


def judge(data: Data, basis, *, with_slack: bool = False) -> Basis | None:
    """What the definition says about a basis; None if it is singular."""
    columns, right, gain = program(data, with_slack=with_slack)
    chosen = [columns[i] for i in basis]
    solved = eliminate([list(row) for row in zip(*chosen)], right)
    if solved is None:
        return None
    prices = eliminate(chosen, [gain[i] for i in basis])
    x = dict(zip(basis, solved))
    free = len(columns) - 1 if with_slack else None
    feasible = all(v >= 0 for i, v in x.items() if i != free)
    reduced = [sum(w * e for w, e in zip(prices, column)) - g for column, g in zip(columns, gain)]
    optimal = feasible and all(v >= 0 for i, v in enumerate(reduced) if i != free)
    if free is not None:
        optimal = optimal and reduced[free] == 0
    return Basis(x, sum((gain[i] * v for i, v in x.items()), Fraction(0)), feasible, optimal)


def eliminate(matrix: Rows, right: list[Fraction]) -> list[Fraction] | None:
    """Gauss and Jordan; None if the matrix is singular."""
    k = len(matrix)
    rows = [[*map(Fraction, row), Fraction(b)] for row, b in zip(matrix, right)]
    for i in range(k):
        pivot = next((p for p in range(i, k) if rows[p][i] != 0), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(k):
            if j != i and rows[j][i] != 0:
                rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i])]
    return [row[-1] for row in rows]


def answer(data: Data, basis=None) -> tuple[Any, Any]:
    """The optimum and None, or None and the proof that there is none."""
    try:
        return optimum(*data, basis), None
    except InfeasibleCMDP as error:
        return None, error.certificate


# ---- policies ----------------------------------------------------------------------------------------------
def values(data: Data, pi) -> list[Fraction]:
    """``[V_r, V_c1, ...]`` at rho of a policy (S, A) of Fractions."""
    S, A = data.r.shape
    P, gamma, rho = fractions(data.P), fraction(data.gamma), fractions(data.rho)
    signals = [fractions(data.r), *fractions(data.c)]
    matrix = [
        [int(s == t) - gamma * sum(pi[s, a] * P[s, a, t] for a in range(A)) for t in range(S)]
        for s in range(S)
    ]
    visits = eliminate([list(row) for row in zip(*matrix)], list(rho))
    return [
        sum((visits[s] * pi[s, a] * f[s, a] for s, a in product(range(S), range(A))), Fraction(0))
        for f in signals
    ]


def deterministic_policies(S: int, A: int):
    for actions in product(range(A), repeat=S):
        yield fractions(np.eye(A, dtype=int)[list(actions)])


def assert_proof(data: Data, best) -> None:
    """Weak duality: a feasible policy, multipliers and potentials that bound every policy by its value."""
    S, A, m = *data.r.shape, len(data.d)
    P, r, c, d = (fractions(x) for x in (data.P, data.r, data.c, data.d))
    gamma, rho = fraction(data.gamma), fractions(data.rho)
    pi, lam, V = fractions(best.policy), fractions(best.multipliers), fractions(best.potentials)
    assert (pi >= 0).all()
    assert [sum(row) for row in pi] == [1] * S
    reached = values(data, pi)
    assert reached[0] == fraction(best.value)
    assert reached[1:] == [fraction(x) for x in best.costs]
    assert all(reached[1 + j] <= d[j] for j in range(m))
    assert all(x >= 0 for x in lam)
    assert all(lam[j] == 0 or reached[1 + j] == d[j] for j in range(m))
    lagrangian = r - sum((lam[j] * c[j] for j in range(m)), 0 * r)
    Q = np.array(
        [[lagrangian[s, a] + gamma * sum(P[s, a] * V) for a in range(A)] for s in range(S)], dtype=object
    )
    assert [max(row) for row in Q] == list(V)
    assert sum(rho * V) + sum(lam * d) == reached[0]
    # Greedy where the policy never goes, and an occupancy that is the policy's.
    assert all(pi[s, a] == 0 or Q[s, a] == V[s] for s in range(S) for a in range(A))
    y = fractions(best.occupancy)
    assert sum(y.ravel()) == 1
    assert sum((y * r).ravel()) == (1 - gamma) * reached[0]
    assert (y >= 0).all()
    for t in range(S):
        flow = sum(P[s, a, t] * y[s, a] for s in range(S) for a in range(A))
        assert sum(y[t]) == (1 - gamma) * rho[t] + gamma * flow
