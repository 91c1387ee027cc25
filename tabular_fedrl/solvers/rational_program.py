r"""The occupancy program with integer data.

In the variables :math:`y(s,a) \ge 0` (expected discounted numbers of visits) a CMDP's optimum is

.. math:: \max_y \langle y, r\rangle \quad\text{s.t.}\quad
          \sum_a y(s,a) - \gamma \sum_{s',a'} P(s|s',a')\, y(s',a') = \rho(s), \qquad
          \langle y, c_j\rangle + z_j = d_j,\ z_j \ge 0,

and its Slater slack is the same with :math:`\langle y, c_j\rangle + t + z_j = d_j`, maximising t. That t may
be negative; :math:`t + K \ge 0` with K above every :math:`V_{c_j} - d_j` takes its place, so that every
variable is non-negative. Source: Altman (1999), chapter 3.

Exact linear algebra is fast on integers. Every column (variable) and every cost row is multiplied by a
positive rational that makes its entries whole; signs, and with them feasibility, optimality and the order of
pivots, do not change. Denominators' odd parts go into the columns and their powers of two into the cost rows:
then floats (only powers of two) leave the S large columns no longer than P's own denominators, and odd
fractions do not meet in one common denominator over all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from flint import arb, fmpq, fmpq_mat, fmpz, fmpz_mat

from tabular_fedrl.errors import InvalidProblem

Rationals: TypeAlias = Any
"""A NumPy object array whose entries are ``flint.fmpq`` (they carry no types)."""


@dataclass(frozen=True)
class Program:
    r""":math:`\max g \cdot x` subject to :math:`T^\top x = b`, :math:`x \ge 0`, in integers.

    ``table`` T ``(n, k)``: a row per variable, in the order y(0, 0), y(0, 1), ..., z_0, ..., z_{m-1} and, in
    the slack program, t + K; a column per equation (S flows, m costs). ``right`` b ``(k, 1)``, ``gain`` g
    ``(n, 1)``. With ``units (n,)`` and ``row_units (k,)`` the multiples of the variables and the equations, a
    variable of the CMDP is ``units[i] / right_unit`` times the integer program's, a price (dual variable)
    ``row_units[j] / gain_unit`` times. ``shift``: K, None in the program of the optimum.
    """

    table: fmpz_mat
    right: fmpz_mat
    gain: fmpz_mat
    units: tuple[fmpq, ...]
    row_units: tuple[fmpz, ...]
    right_unit: fmpz
    gain_unit: fmpz
    S: int
    A: int
    m: int
    shift: fmpq | None

    def label(self, variable: int) -> str:
        """The variable's name in messages."""
        pairs = self.S * self.A
        if variable < pairs:
            return f"y(s={variable // self.A}, a={variable % self.A})"
        return f"the slack of constraint {variable - pairs}" if variable < pairs + self.m else "t"


def occupancy_program(
    P: Rationals, r: Rationals | None, c: Rationals, d: Rationals, rho: Rationals, gamma: fmpq
) -> Program:
    """The program of the optimum for the reward r ``(S, A)``; for ``r = None`` that of the slack (m > 0).

    P ``(S, A, S)``, c ``(m, S, A)``, d ``(m,)``, rho ``(S,)``; rows of P and rho sum to 1 exactly.

    Raises
    ------
    InvalidProblem: a row of P or rho that is no distribution, gamma outside [0, 1).
    """
    S, A = P.shape[:2]
    m = len(d)
    gamma = fmpq(gamma)
    if not 0 <= gamma < 1:
        raise InvalidProblem(f"gamma must lie in [0, 1), not {gamma}")
    shift = None if r is not None else _shift(c, d, gamma)
    # The powers of two: one per cost row, one for the reward.
    row_units = [_power_of_two([*c[j].ravel(), d[j]]) for j in range(m)]
    gain_unit = fmpz(1) if r is None else _power_of_two(r.ravel())

    table: list[list[fmpz]] = []
    gain: list[fmpz] = []
    units: list[fmpq] = []
    for s in range(S):
        for a in range(A):
            row, total = distribution(P[s, a], f"P[{s}, {a}]")
            signals = [c[j][s, a] for j in range(m)] + ([] if r is None else [r[s, a]])
            odd = _odd_denominator(signals)
            unit = gamma.q * total * odd
            factor = -gamma.p * odd
            flow = [factor * x for x in row]
            flow[s] += unit
            table.append(flow + [(unit * row_units[j] * c[j][s, a]).p for j in range(m)])
            gain.append(fmpz(0) if r is None else (unit * gain_unit * r[s, a]).p)
            units.append(fmpq(unit))
    for j in range(m):
        table.append([fmpz(int(i == S + j)) for i in range(S + m)])
        gain.append(fmpz(0))
        units.append(fmpq(1, row_units[j]))
    if shift is not None:
        table.append([fmpz(0)] * S + row_units)
        gain.append(fmpz(1))
        units.append(fmpq(1))

    start, whole = distribution(rho, "rho")
    budgets = [u * (x + (shift or 0)) for u, x in zip(row_units, d)]
    right, common = fmpq_mat(S + m, 1, [fmpq(x, whole) for x in start] + budgets).numer_denom()
    return Program(
        table=fmpz_mat(len(table), S + m, [x for row in table for x in row]),
        right=right,
        gain=fmpz_mat(len(gain), 1, gain),
        units=tuple(units),
        row_units=(*[fmpz(1)] * S, *row_units),
        right_unit=common,
        gain_unit=gain_unit,
        S=S,
        A=A,
        m=m,
        shift=shift,
    )


def distribution(weights: Rationals, name: str) -> tuple[list[fmpz], fmpz]:
    """Integer weights and their sum, in the proportions of a rational distribution."""
    numerators, denominator = fmpq_mat(1, len(weights), list(weights)).numer_denom()
    entries = numerators.entries()
    for i, x in enumerate(entries):
        if x < 0:
            raise InvalidProblem(f"{name} has the negative entry {shown(weights[i])} at {i}")
    total = sum(entries, fmpz(0))
    if total != denominator:
        raise InvalidProblem(f"{name} sums to {fmpq(total, denominator)}, not to 1 exactly")
    return entries, denominator


def shown(x: fmpq) -> str:
    """A rational in a message, to six digits."""
    try:
        return f"{float(x):.6g}"
    except OverflowError:
        return str(arb(x).str(6, radius=False))


def _shift(c: Rationals, d: Rationals, gamma: fmpq) -> fmpq:
    """A number above ``V_{c_j} - d_j`` for every policy and constraint."""
    costs = [max((x for x in c[j].ravel()), default=fmpq(0)) for j in range(len(d))]
    return 1 + max(max(x, fmpq(0)) / (1 - gamma) + abs(y) for x, y in zip(costs, d))


def _power_of_two(numbers: Any) -> fmpz:
    """The largest power of two in the denominators."""
    return max((fmpq(x).q & -fmpq(x).q for x in numbers), default=fmpz(1))


def _odd_denominator(numbers: list[fmpq]) -> fmpz:
    """The least common multiple of the denominators' odd parts."""
    common = fmpz(1)
    for x in numbers:
        common = common.lcm(x.q // (x.q & -x.q))
    return common
