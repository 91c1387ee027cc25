"""Matrices of exact rationals and balls: products and linear systems, by the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flint
import numpy as np

from tabular_fedrl.balls.arrays import Balls
from tabular_fedrl.errors import Undecided


def matrix(x: Balls) -> flint.arb_mat | flint.fmpq_mat:
    """A 2-dimensional array as a matrix of the library: rational if all entries are, else of balls."""
    rows = x.items.tolist()
    if x.size == 0:
        return flint.fmpq_mat(*x.shape)
    return flint.fmpq_mat(rows) if x.is_rational else flint.arb_mat(rows)


def array(m: flint.arb_mat | flint.fmpq_mat, shape: Sequence[int]) -> Balls:
    """The entries of a matrix, reshaped."""
    flat = np.empty(m.nrows() * m.ncols(), dtype=object)
    flat[:] = m.entries()
    return Balls._wrap(flat.reshape(shape))


def matmul(a: Balls, b: Balls) -> Balls:
    """Matrix product of two arrays of at most two dimensions."""
    left = a.reshape(1, -1) if a.ndim == 1 else a
    right = b.reshape(-1, 1) if b.ndim == 1 else b
    shape = (*a.shape[:-1], *(b.shape[1:] if b.ndim > 1 else ()))
    return array(times(matrix(left), matrix(right)), shape)


def times(A: Any, B: Any) -> Any:
    """Product of two matrices of the library, rational or of balls."""
    if type(A) is not type(B):
        A, B = flint.arb_mat(A), flint.arb_mat(B)
    return A * B


def solve(a: Balls, b: Balls) -> Balls:
    """The solution of ``a x = b``, ``a (n, n)``, ``b (n, k)``.

    Raises
    ------
    Undecided: the balls do not settle whether ``a`` is regular.
    """
    A: Any = matrix(a)
    B: Any = matrix(b)
    if type(A) is not type(B):
        A, B = flint.arb_mat(A), flint.arb_mat(B)
    try:
        return array(A.solve(B), b.shape)
    except ZeroDivisionError:
        raise Undecided("a linear system is not known to be regular at this precision") from None
