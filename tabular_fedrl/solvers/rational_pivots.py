r"""Exact pivots from any basis of the occupancy program to an optimal one.

Pivots take the largest violation, on a program whose right-hand side (or gain) is perturbed by
:math:`\varepsilon` times positive numbers, for an :math:`\varepsilon` smaller than any number: quantities are
pairs, compared one after the other. So degenerate bases (states that are never visited make them the rule)
seldom stall; a pivot that does is followed by Bland's rule (1977: least index first) until one does not.
Bland's rule cannot cycle, in pairs no more than in numbers, and every other pivot moves the objective: it
ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from flint import fmpq, fmpz, fmpz_mat, nmod_mat

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.solvers.rational_basis import Vertex, rows_of, solve, vertex
from tabular_fedrl.solvers.rational_program import Program

PRIMES = (2**61 - 1, 2**63 - 25)
"""Fields in which ranks are taken; a determinant that vanishes by chance in one does not in the other."""

PERTURBATION = 2**20
"""Perturbations are drawn from 1 to this number."""


class Infeasible(Exception):
    """No x >= 0 meets the program's equations (a row of the basis' inverse proves it)."""


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


def repair(program: Program, found: Vertex) -> Vertex:
    """An optimal basis, reached from any other by exact pivots.

    Gains that make the first basis suboptimal are lowered until it is optimal for them, the dual simplex
    method makes it feasible, and the primal method, with the true gains, optimal. A basis that is already
    one or the other passes through that part.

    Raises
    ------
    Infeasible: no x >= 0 meets the equations.
    """
    unit = found.dual_unit
    lowered = [g * unit + min(x, fmpz(0)) for g, x in zip(program.gain.entries(), found.reduced)]
    relaxed = replace(program, gain=_column(lowered), gain_unit=program.gain_unit * unit)
    reduced = [max(x, fmpz(0)) for x in found.reduced]
    feasible = _dual(relaxed, replace(found, dual_unit=fmpz(1), reduced=reduced))
    return _primal(program, found if feasible == found.basis else vertex(program, feasible))


def _dual(program: Program, here: Vertex) -> tuple[int, ...]:
    """The dual simplex method, from a basis without negative reduced costs to a feasible one."""
    basis = here.basis
    n, k = program.table.nrows(), len(basis)
    inside = set(basis)
    # Lowered gains of the variables outside: their reduced costs are positive in the second component.
    gain = _column([0 if i in inside else -x for i, x in enumerate(_perturbation(n))])
    stalled = False
    while True:
        negative = [j for j, x in enumerate(here.primal) if x < 0]
        if not negative:
            return basis
        size = [here.primal[j] * program.units[basis[j]] for j in negative]
        leaving = negative[0 if stalled else size.index(min(size))]
        right = fmpz_mat(k, 2, [x for i, j in enumerate(basis) for x in (int(i == leaving), gain[j, 0])])
        both, unit = solve(here.matrix.transpose(), right)
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
        here = vertex(program, basis)


def _primal(program: Program, here: Vertex) -> Vertex:
    """The primal simplex method, from a feasible basis to an optimal one."""
    basis = here.basis
    k = len(basis)
    # A right-hand side for which the first basis' variables are positive.
    right = rows_of(program.table, basis).transpose() * _column(_perturbation(k))
    stalled = False
    while True:
        negative = [i for i, x in enumerate(here.reduced) if x < 0]
        if not negative:
            return here
        rate = [here.reduced[i] / program.units[i] for i in negative]
        entering = negative[0 if stalled else rate.index(min(rate))]
        column = [x for j in range(k) for x in (program.table[entering, j], right[j, 0])]
        both, _ = solve(here.matrix, fmpz_mat(k, 2, column))
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
        here = vertex(program, basis)


def _exchange(basis: tuple[int, ...], place: int, entering: int) -> tuple[int, ...]:
    return tuple(sorted((*basis[:place], *basis[place + 1 :], entering)))


def _column(entries: Sequence[int] | Sequence[fmpz]) -> fmpz_mat:
    return fmpz_mat(len(entries), 1, list(entries))


def _perturbation(n: int) -> list[int]:
    """Positive numbers without pattern, always the same."""
    return np.random.default_rng(0).integers(1, PERTURBATION, n).tolist()
