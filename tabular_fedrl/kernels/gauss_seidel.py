r"""Symmetric Gauss-Seidel sweeps as a preconditioner, for policies under which information travels slowly.

For rows P with A = 1 let :math:`M = I - \gamma P = L + D + U`, L and U what leads to states earlier and later
in the order of the sweeps. Instead of :math:`Mx = b` one solves :math:`B \hat x = \hat b`,

.. math:: B = (I + L')^{-1} D^{-1} M\, (I + U')^{-1}, \quad L' = D^{-1}L,\ U' = D^{-1}U,\
          \hat x = (I + U')\,x,

which costs no more than M itself, because with :math:`x = (I + U')^{-1} \hat x` it is

.. math:: B \hat x = x + (I + L')^{-1} (\hat x - x) .

On grids BiCGSTAB needs a third or a quarter of the products. M is an M-matrix, whether P is stochastic or
transposed, so that this is a regular splitting and :math:`\hat x \mapsto \hat x + \hat b - B \hat x`
contracts. How the triangles are stored: :mod:`tabular_fedrl.kernels.triangles`. Source: Eisenstat (1981).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.kernels.krylov import largest, one_norm
from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse_rows import U, inlined
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.kernels.triangles import Sweeps
from tabular_fedrl.measured import Array


class Preconditioned:
    r"""The equations :math:`b - M x = 0` for ``b (S,)``, as a
    :class:`~tabular_fedrl.kernels.krylov.Operator` in the unknown :math:`\hat x`, ``(S, 1)``. The sizes of
    residuals and solutions are those of the equations themselves, 1-norms where they are ``summed``.
    Residuals are those of M as it is made up from its triangles, a rounding or two of their numbers off that
    of the rows. Vectors are stored as these are; sums are in float64. ``x (S+1,)`` begins
    with the solution that was last used."""

    def __init__(self, made: Sweeps, b: Array, summed: bool = False) -> None:
        self.made, self.b = made, np.ascontiguousarray(b, dtype=made.inverse.dtype).reshape(-1)
        self.summed = summed
        # One place more, for what fills up the rows.
        self.x, self.z = np.zeros((2, self.b.size + 1), dtype=self.b.dtype)
        blocks = [(i,) for i in range(made.parts)]
        self.first, self.second = blocks[::2], blocks[1::2]

    def found(self, hidden: Array) -> Array:
        r"""x of :math:`\hat x`; the next call of any method overwrites it."""
        for colour in (self.second, self.first):
            in_parallel(_backward, colour, self.made, hidden[:, 0], self.x)
        return self.x[:-1, None]

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        if x.any():
            solution = self.found(x)
            in_parallel(_residual, [*self.first, *self.second], self.made, self.b, self.x, out[:, 0])
        else:  # as at first
            self.x[:], out[:, 0] = 0.0, self.b
            solution = self.x[:-1, None]
        size, far = self._size(out), self._size(solution)
        for colour in (self.first, self.second):
            in_parallel(_forward, colour, self.made, out[:, 0], self.z)
        out[:, 0] = self.z[:-1]
        return size, far

    def _size(self, x: Array) -> Array:
        return one_norm(x) if self.summed else largest(x)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        sums = np.empty((self.made.parts, 2, 1))
        y, rest = x[:, 0], (self.z, out[:, 0], other[:, 0], sums)
        in_parallel(_backward, self.second, self.made, y, self.x)
        # What the first colour needs of the second one is known by now.
        in_parallel(_there_and_back, self.first, self.made, y, self.x, *rest)
        in_parallel(_product, self.second, self.made, y, self.x, *rest)
        return sums.sum(axis=0)


@inlined
def _sum(
    width: Any, states: Any, weights: Any, more: Any, more_states: Any, more_weights: Any, s: Any, x: Any
) -> float:
    """The row of s times x, but for the state next to s."""
    total = 0.0
    for p in range(U(more[s]), U(more[s + U(1)])):
        total += more_weights[p] * x[U(more_states[p])]
    begin = s * U(width)
    for p in range(begin, begin + U(width)):
        total += weights[p] * x[U(states[p])]
    return total


@compiled
def _residual(part: int, made: Sweeps, b: Array, x: Array, out: Array) -> None:
    """``out`` = b - M x."""
    low_near, low_width, low_states, low_weights, low_more, low_more_states, low_more_weights = made.lower
    high_near, high_width, high_states, high_weights, high_more, high_more_states, high_more_weights = (
        made.upper
    )
    inverse = made.inverse
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(out.size))):
        total = _sum(low_width, low_states, low_weights, low_more, low_more_states, low_more_weights, s, x)
        total += _sum(
            high_width, high_states, high_weights, high_more, high_more_states, high_more_weights, s, x
        )
        total += high_near[s] * x[s + U(1)]
        if s > U(0):
            total += low_near[s] * x[s - U(1)]
        out[s] = b[s] - (x[s] + total) / inverse[s]


@compiled
def _backward(part: int, made: Sweeps, y: Array, x: Array) -> None:
    """:math:`x = (I + U')^{-1} y`."""
    near, width, states, weights, more, more_states, more_weights = made.upper
    begin, end = U(part * made.each), min(U((part + 1) * made.each), U(y.size))
    last = 0.0
    for turn in range(end - begin):
        s = end - U(1) - turn
        ahead = _sum(width, states, weights, more, more_states, more_weights, s, x)
        last = (y[s] - ahead) - near[s] * last
        x[s] = last


@compiled
def _forward(part: int, made: Sweeps, r: Array, z: Array) -> None:
    """:math:`z = (I + L')^{-1} D^{-1} r`."""
    near, width, states, weights, more, more_states, more_weights = made.lower
    inverse, last = made.inverse, 0.0
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(r.size))):
        behind = _sum(width, states, weights, more, more_states, more_weights, s, z)
        last = (inverse[s] * r[s] - behind) - near[s] * last
        z[s] = last


@compiled
def _product(
    part: int, made: Sweeps, y: Array, x: Array, z: Array, out: Array, other: Any, sums: Array
) -> None:
    """:math:`z = (I + L')^{-1} (y - x)`, ``out`` = x + z, and a part's inner products."""
    near, width, states, weights, more, more_states, more_weights = made.lower
    inner, own, last = 0.0, 0.0, 0.0
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(y.size))):
        behind = _sum(width, states, weights, more, more_states, more_weights, s, z)
        last = ((y[s] - x[s]) - behind) - near[s] * last
        z[s] = last
        new = x[s] + last
        out[s] = new
        inner += other[s] * new
        own += new * new
    sums[part, 0, 0], sums[part, 1, 0] = inner, own


@compiled
def _there_and_back(
    part: int, made: Sweeps, y: Array, x: Array, z: Array, out: Array, other: Any, sums: Array
) -> None:
    _backward(part, made, y, x)
    _product(part, made, y, x, z, out, other, sums)
