r"""A basis proved optimal in integers, and exact pivots towards one.

A basis names k of the n variables of a :class:`Program`; the others are 0. With
:math:`B x_B = b` and :math:`B^\top w = g_B` it is optimal if

.. math:: x_B \ge 0 \qquad\text{and}\qquad T w - g \ge 0 ,

because then :math:`g\cdot x = b \cdot w` and every feasible x' has :math:`g \cdot x' \le (Tw)\cdot x' = b
\cdot w`. Both systems are solved p-adically (Dixon 1982, in FLINT) and checked by multiplication, so that the
proof stands on products and signs of integers alone.

Pivots take the largest violation, on a program whose right-hand side (or gain) is perturbed by
:math:`\varepsilon` times positive numbers, for an :math:`\varepsilon` smaller than any number: quantities are
pairs, compared one after the other. So degenerate bases (states that are never visited make them the rule)
seldom stall; a pivot that does is followed by Bland's rule (1977: least index first) until one does not.
Bland's rule cannot cycle, in pairs no more than in numbers, and every other pivot moves the objective: it
ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flint import fmpq, fmpz, fmpz_mat, nmod_mat

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.solvers.rational_program import Program

PRIMES = (2**61 - 1, 2**63 - 25)
"""Fields in which ranks are taken; a determinant that vanishes by chance in one does not in the other."""

PERTURBATION = 2**20
"""Perturbations are drawn from 1 to this number."""


class Infeasible(Exception):
    """No x >= 0 meets the program's equations (a row of the basis' inverse proves it)."""


@dataclass(frozen=True)
class Vertex:
    """Both solutions of a basis: ``primal / primal_unit`` the basic variables in the basis' order, ``dual /
    dual_unit`` the prices w ``(k,)``, ``reduced / dual_unit`` the reduced costs ``T w - g`` ``(n,)``. Units
    are positive. ``matrix``: B ``(k, k)``."""

    basis: tuple[int, ...]
    matrix: fmpz_mat
    primal: list[fmpz]
    primal_unit: fmpz
    dual: list[fmpz]
    dual_unit: fmpz
    reduced: list[fmpz]


def vertex(program: Program, basis: Sequence[int]) -> Vertex:
    """Solve for the basis.

    Raises
    ------
    SolverFailure: not k different variables, or their columns are linearly dependent.
    """
    n, k = program.table.nrows(), program.table.ncols()
    if len(basis) != k or len(set(basis)) != k:
        raise SolverFailure(
            f"the basis must name {k} different variables: it names {len(basis)}, {len(set(basis))} different"
        )
    for i in basis:
        if not 0 <= i < n:
            raise SolverFailure(f"the basis names the variable {i}, the program has {n}")
    basis = tuple(sorted(basis))
    matrix = rows_of(program.table, basis).transpose()
    primal, primal_unit = _solve(matrix, program.right)
    dual, dual_unit = _solve(matrix.transpose(), rows_of(program.gain, basis))
    reduced = program.table * dual - program.gain * dual_unit
    if matrix * primal != program.right * primal_unit or any(reduced[i, 0] != 0 for i in basis):
        raise SolverFailure("an exact solve of the basis fails its check")
    return Vertex(
        basis, matrix, primal.entries(), primal_unit, dual.entries(), dual_unit, reduced.entries()
    )  # fmt: skip


def prove(program: Program, basis: Sequence[int]) -> Vertex:
    """The basis' solutions, proved optimal.

    Raises
    ------
    SolverFailure: the basis is no basis, or not feasible, or not optimal; the message names the variable.
    """
    found = vertex(program, basis)
    for i, x in zip(found.basis, found.primal):
        if x < 0:
            size = float(fmpq(x, found.primal_unit) * program.units[i] / program.right_unit)
            raise SolverFailure(f"the basis is not feasible: {program.label(i)} = {size:.6g}")
    for i, x in enumerate(found.reduced):
        if x < 0:
            rate = float(fmpq(-x, found.dual_unit) / (program.units[i] * program.gain_unit))
            raise SolverFailure(f"the basis is not optimal: {program.label(i)} would gain {rate:.6g} a unit")
    return found


def repair(program: Program, basis: Sequence[int]) -> Vertex:
    """An optimal basis, reached from any basis by exact pivots.

    Gains that make the first basis suboptimal are lowered until it is optimal for them, the dual simplex
    method makes it feasible, and the primal method, with the true gains, optimal. A basis that is already
    one or the other passes through that part.

    Raises
    ------
    Infeasible: no x >= 0 meets the equations.
    SolverFailure: not a basis.
    """
    found = vertex(program, basis)
    unit = found.dual_unit
    lowered = [g * unit + min(x, fmpz(0)) for g, x in zip(program.gain.entries(), found.reduced)]
    relaxed = replace(program, gain=_column(lowered), gain_unit=program.gain_unit * unit)
    return _primal(program, _dual(relaxed, found.basis))


def complete(program: Program, wanted: Sequence[int]) -> tuple[int, ...]:
    """The basis that takes the wanted variables in their order, each that is independent of those before.

    What is missing at the end is filled with the slacks and the first actions, which are a basis of their
    own. Ranks are taken modulo a prime: independence there is independence.
    """
    n, k = program.table.nrows(), program.table.ncols()
    pairs = program.S * program.A
    fill = [*range(pairs, pairs + program.m), *range(0, pairs, program.A)]
    order = [i for i in dict.fromkeys([*wanted, *fill]) if 0 <= i < n]
    columns = rows_of(program.table, order).transpose()
    for prime in PRIMES:
        echelon, rank = nmod_mat(columns, prime).rref()
        if rank == k:
            leading = [next(j for j in range(i, len(order)) if int(echelon[i, j])) for i in range(k)]
            return tuple(sorted(order[j] for j in leading))
    raise SolverFailure("the program's equations are linearly dependent")


def rows_of(matrix: fmpz_mat, rows: Sequence[int]) -> fmpz_mat:
    """These rows of a matrix."""
    k = matrix.ncols()
    return fmpz_mat(len(rows), k, [matrix[i, j] for i in rows for j in range(k)])


def _dual(program: Program, basis: tuple[int, ...]) -> tuple[int, ...]:
    """The dual simplex method, from a basis without negative reduced costs to a feasible one."""
    n, k = program.table.nrows(), len(basis)
    inside = set(basis)
    # Lowered gains of the variables outside: their reduced costs are positive in the second component.
    gain = _column([0 if i in inside else -x for i, x in enumerate(_perturbation(n))])
    stalled = False
    while True:
        here = vertex(program, basis)
        negative = [j for j, x in enumerate(here.primal) if x < 0]
        if not negative:
            return basis
        size = [here.primal[j] * program.units[basis[j]] for j in negative]
        leaving = negative[0 if stalled else size.index(min(size))]
        right = fmpz_mat(k, 2, [x for i, j in enumerate(basis) for x in (int(i == leaving), gain[j, 0])])
        both, unit = _solve(here.matrix.transpose(), right)
        slopes, second = program.table * both, gain * unit
        inside = set(basis)
        options = [
            ((fmpq(here.reduced[i], -slope), fmpq(slopes[i, 1] - second[i, 0], -slope)), i)
            for i in range(n)
            if i not in inside and (slope := slopes[i, 0]) < 0
        ]
        if not options:
            raise Infeasible
        step, entering = min(options)
        stalled = not any(step)
        basis = _exchange(basis, leaving, entering)


def _primal(program: Program, basis: tuple[int, ...]) -> Vertex:
    """The primal simplex method, from a feasible basis to an optimal one."""
    k = len(basis)
    # A right-hand side for which the first basis' variables are positive.
    right = rows_of(program.table, basis).transpose() * _column(_perturbation(k))
    stalled = False
    while True:
        here = vertex(program, basis)
        negative = [i for i, x in enumerate(here.reduced) if x < 0]
        if not negative:
            return here
        rate = [here.reduced[i] / program.units[i] for i in negative]
        entering = negative[0 if stalled else rate.index(min(rate))]
        column = [x for j in range(k) for x in (program.table[entering, j], right[j, 0])]
        both, _ = _solve(here.matrix, fmpz_mat(k, 2, column))
        options = [
            ((fmpq(here.primal[j], both[j, 0]), fmpq(both[j, 1], both[j, 0])), j)
            for j in range(k)
            if both[j, 0] > 0
        ]
        if not options:
            raise SolverFailure(f"the program is unbounded along {program.label(entering)}")
        step, leaving = min(options)
        stalled = not any(step)
        basis = _exchange(basis, leaving, entering)


def _solve(matrix: fmpz_mat, right: fmpz_mat) -> tuple[fmpz_mat, fmpz]:
    """Numerators and the common denominator (positive) of the solution.

    Raises
    ------
    SolverFailure: the matrix is singular.
    """
    try:
        solution: Any = matrix.solve(right)
    except ZeroDivisionError:
        raise SolverFailure("the basis is singular: its columns are linearly dependent") from None
    numerators: tuple[fmpz_mat, fmpz] = solution.numer_denom()
    return numerators


def _exchange(basis: tuple[int, ...], place: int, entering: int) -> tuple[int, ...]:
    return tuple(sorted((*basis[:place], *basis[place + 1 :], entering)))


def _column(entries: Sequence[int] | Sequence[fmpz]) -> fmpz_mat:
    return fmpz_mat(len(entries), 1, list(entries))


def _perturbation(n: int) -> list[int]:
    """Positive numbers without pattern, always the same."""
    return np.random.default_rng(0).integers(1, PERTURBATION, n).tolist()
