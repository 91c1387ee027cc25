r"""A basis of the occupancy program, solved and proved optimal in integers.

A basis names k of the n variables of a :class:`Program`; the others are 0. With
:math:`B x_B = b` and :math:`B^\top w = g_B` it is optimal if

.. math:: x_B \ge 0 \qquad\text{and}\qquad T w - g \ge 0 ,

because then :math:`g\cdot x = b \cdot w` and every feasible x' has :math:`g \cdot x' \le (Tw)\cdot x' = b
\cdot w`. Both systems are solved p-adically (Dixon 1982, in FLINT) and checked by multiplication, so that the
proof stands on products and signs of integers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flint import fmpq, fmpz, fmpz_mat

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.solvers.rational_program import Program, shown


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
    for i in basis:
        if not (isinstance(i, int) and 0 <= i < n):
            raise SolverFailure(f"the basis names the variable {i}, the program has 0 to {n - 1}")
    if len(basis) != k or len(set(basis)) != k:
        raise SolverFailure(
            f"the basis must name {k} different variables: it names {len(basis)}, {len(set(basis))} different"
        )
    basis = tuple(sorted(basis))
    matrix = rows_of(program.table, basis).transpose()
    primal, primal_unit = solve(matrix, program.right)
    dual, dual_unit = solve(matrix.transpose(), rows_of(program.gain, basis))
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
            size = fmpq(x, found.primal_unit) * program.units[i] / program.right_unit
            raise SolverFailure(f"the basis is not feasible: {program.label(i)} = {shown(size)}")
    for i, x in enumerate(found.reduced):
        if x < 0:
            rate = fmpq(-x, found.dual_unit) / (program.units[i] * program.gain_unit)
            raise SolverFailure(
                f"the basis is not optimal: {program.label(i)} would gain {shown(rate)} a unit"
            )
    return found


def rows_of(matrix: fmpz_mat, rows: Sequence[int]) -> fmpz_mat:
    """These rows of a matrix."""
    k = matrix.ncols()
    return fmpz_mat(len(rows), k, [matrix[i, j] for i in rows for j in range(k)])


def solve(matrix: fmpz_mat, right: fmpz_mat) -> tuple[fmpz_mat, fmpz]:
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
