r"""The checker's own mathematics: what follows from two enclosures, and that a basis proves an optimum.

Written again in a few lines of exact rational arithmetic, so that a mistake of the prover
(:mod:`tabular_fedrl.claims.verdict`, :mod:`tabular_fedrl.solvers.rational`) is not repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from math import lcm

from flint import fmpq, fmpq_mat, fmpz

from tabular_fedrl.instances.rational_json import Tables

Interval = tuple[fmpq, fmpq]


class Mismatch(Exception):
    """What a certificate states does not come out; the message names the field and the numbers."""


def follows(kind: str, lhs: Interval, rhs: Interval, tolerance: fmpq) -> str:
    """The status that follows from enclosures of both sides.

    ``lhs <= rhs`` holds when the one ends before the other begins, fails when it begins after the other's
    end. ``lhs = rhs`` fails when the enclosures are disjoint and holds when they overlap and their difference
    is known to within ``tolerance``, relative to ``max(1, |lhs|, |rhs|)``. A tight inequality also holds as
    an equality.
    """
    low, high = lhs[0] - rhs[1], lhs[1] - rhs[0]
    size = max(fmpq(1), abs(lhs[0] + lhs[1]) / 2, abs(rhs[0] + rhs[1]) / 2)
    equal = low <= 0 <= high and (high - low) / 2 <= tolerance * size
    if kind == "identity":
        return "holds" if equal else "undecided" if low <= 0 <= high else "fails"
    if high <= 0 or (kind == "tight" and equal):
        return "holds"
    return "fails" if low > 0 else "undecided"


def ratio(kind: str, lhs: Interval, rhs: Interval) -> tuple[str, str] | None:
    """``lhs / rhs`` as decimals that enclose it; None for identities and where rhs may be 0 or less."""
    if kind == "identity" or rhs[0] <= 0:
        return None
    return rounded((lhs[0] / rhs[lhs[0] >= 0], lhs[1] / rhs[lhs[1] < 0]))


def rounded(x: Interval, digits: int = 6) -> tuple[str, str]:
    """The enclosure as decimals of so many digits, rounded outward."""
    low, high = (
        str(Context(digits, rounding).divide(Decimal(int(end.p)), Decimal(int(end.q))))
        for end, rounding in zip(x, (ROUND_FLOOR, ROUND_CEILING))
    )
    return low, high


def prove_basis(tables: Tables, basis: Sequence[int], of_slack: bool) -> None:
    r"""Check that a basis of the occupancy program is primal and dual feasible, which proves it optimal.

    Variables: the discounted visits y(s, a), number ``s*A + a``, and the slacks of the constraints,
    ``S*A + j``, all non-negative; equations: the flow through every state, :math:`\sum_a y(s,a) - \gamma
    \sum P y = \rho(s)`, and :math:`\langle c_j, y\rangle + z_j = d_j`. The optimum maximises :math:`\langle
    r, y\rangle`. The Slater slack maximises a further variable t of either sign, number ``S*A + m``, that
    every cost equation contains.

    Raises
    ------
    Mismatch: naming the variable.
    """
    S, A = tables.r.shape
    m = len(tables.d)
    slack = S * A + m if of_slack else None
    count = S * A + m + of_slack
    if len(set(basis)) != len(basis) or len(basis) != S + m or not all(0 <= i < count for i in basis):
        raise Mismatch(f"expected {S + m} different numbers from 0 to {count - 1}")
    if of_slack and slack not in basis:
        raise Mismatch(f"variable {slack}, the slack itself, is not in it")
    columns, gains = zip(*(_column(tables, i, of_slack) for i in range(count)))
    square = fmpq_mat([list(map(fmpq, columns[i])) for i in basis])
    if square.det() == 0:
        raise Mismatch("its columns are linearly dependent")
    primal = square.transpose().solve(fmpq_mat(S + m, 1, [*tables.rho, *tables.d]))
    negative = [i for k, i in enumerate(basis) if primal[k, 0] < 0 and i != slack]
    if negative:
        raise Mismatch(f"variable {negative[0]} is negative there")
    prices, scale = square.solve(fmpq_mat(S + m, 1, [fmpq(gains[i]) for i in basis])).numer_denom()
    whole = [prices[k, 0] for k in range(S + m)]
    for i in range(count):
        if gains[i] * scale > sum((x * p for x, p in zip(columns[i], whole) if x), fmpz(0)):
            raise Mismatch(f"variable {i} would improve on it: it is not optimal")


def _column(tables: Tables, variable: int, of_slack: bool) -> tuple[list[fmpz], fmpz]:
    """The coefficients of a variable and its gain, both multiplied by their common denominator (which changes
    no sign and keeps the systems in short integers)."""
    S, A = tables.r.shape
    m = len(tables.d)
    gain = fmpq(0)
    if variable == S * A + m:
        column, gain = [fmpq(0)] * S + [fmpq(1)] * m, fmpq(1)
    elif variable >= S * A:
        column = [fmpq(int(k == variable - S * A + S)) for k in range(S + m)]
    else:
        s, a = divmod(variable, A)
        column = [int(s == t) - tables.gamma * tables.P[s, a, t] for t in range(S)]
        column += [tables.c[j, s, a] for j in range(m)]
        gain = fmpq(0) if of_slack else tables.r[s, a]
    unit = lcm(*(int(x.q) for x in (*column, gain)))
    return [(x * unit).p for x in column], (gain * unit).p
