r"""Exact rationals and balls: arrays whose entries are numbers with a proof.

An entry of a :class:`Balls` array is an exact rational (``flint.fmpq``) for as long as only the four
operations occur, and a ball (``flint.arb``: midpoint and radius at the working precision, every operation
outward rounded) once an exponential, a logarithm or a root has entered. One class for both, so that the same
code runs in exact rationals where it can and in ball arithmetic where it must.

Inside ``with precision(bits):`` the constructor :class:`~tabular_fedrl.measured.Measured` gives balls:
whatever is written for measured enclosures then computes at that precision. Nothing is ever decided by a
midpoint: comparisons are decided by the whole ball or raise :class:`~tabular_fedrl.errors.Undecided`, and
NumPy's own functions, which would compare midpoints, refuse these arrays.

Source of the arithmetic: python-flint, Arb (Johansson, "Arb: efficient arbitrary-precision midpoint-radius
interval arithmetic", IEEE Transactions on Computers 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import flint

from tabular_fedrl import measured
from tabular_fedrl.balls.arrays import Balls
from tabular_fedrl.balls.entries import decimals, ends, rational
from tabular_fedrl.balls.matrices import array, matmul, matrix, solve, times

__all__ = [
    "Balls", "array", "decimals", "ends", "floats", "matmul", "matrix", "precision", "rational", "solve",
    "times", "working",
]  # fmt: skip


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Work in balls of ``bits`` bits: inside, ``Measured(...)`` constructs :class:`Balls`."""
    before = flint.ctx.prec, measured.enclosure
    flint.ctx.prec, measured.enclosure = bits, Balls
    try:
        yield
    finally:
        flint.ctx.prec, measured.enclosure = before


@contextmanager
def floats() -> Iterator[None]:
    """Work in floats for a while, inside :func:`precision`: for proposals that are proved afterwards."""
    before = measured.enclosure
    measured.enclosure = None
    try:
        yield
    finally:
        measured.enclosure = before


def working() -> int | None:
    """The working precision in bits, None outside :func:`precision`."""
    return flint.ctx.prec if measured.enclosure is Balls else None
