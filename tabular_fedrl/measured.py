r"""Numbers with a rigorous error: float64 midpoints and radii.

A :class:`Measured` array stands for every real array ``x`` with ``|x - value| <= error`` elementwise. Each
operation returns an enclosure of its exact result: it propagates the radii and adds the rounding of the float
operation itself (unit roundoff ``u = 2^{-53}``; a sum of n terms is charged ``n u sum |x|``; the elementary
functions of NumPy are charged four units in the last place). Radii are inflated by a few ulps so that their
own rounding is covered.

This is the arithmetic of the *measured* level: theorems are evaluated on it, and a verdict that the radii do
not settle is ``undecided``. At the *certified* level the same code runs on
:class:`~tabular_fedrl.balls.Balls`, of the same interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]

UNIT = 2.0**-53
"""Unit roundoff of float64."""

enclosure: Any = None
"""What ``Measured(...)`` constructs in place of itself: see :func:`tabular_fedrl.balls.precision`."""

_quiet = np.errstate(all="ignore")  # an overflow or a NaN becomes an infinite radius, which says it all
_TINY = 5e-324
_INFLATE = 1.0 + 64 * UNIT
_BLOCK = 1024  # long sums are taken in blocks: of a million terms in one go each would count a million times
_ULPS = 4 * 2 * UNIT  # NumPy's exp and log are within four ulps


def _up(radius: ArrayLike) -> Array:
    return np.asarray(radius, dtype=np.float64) * _INFLATE


class Measured:
    """An array of enclosures ``value +- error``.

    Parameters
    ----------
    value: float64 array (any shape); must be finite.
    error: radius, broadcastable to ``value``; default 0 (the floats are taken as exact).
    """

    __slots__ = ("error", "value")
    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy arrays on the left defer to our operators

    def __new__(cls, value: Any = 0.0, error: Any = 0.0) -> Measured:
        # Code written for measured enclosures computes in balls where those are asked for.
        return object.__new__(enclosure if cls is Measured and enclosure is not None else cls)

    def __init__(self, value: Any, error: Any = 0.0) -> None:
        self.value: Array = np.asarray(value, dtype=np.float64)
        radius = np.asarray(error, dtype=np.float64)
        same = radius.shape == self.value.shape
        self.error: Array = radius if same else np.broadcast_to(radius, self.value.shape)
        # An enclosure that has lost its midpoint encloses nothing: its radius is infinite.
        lost = ~(np.isfinite(self.value) & np.isfinite(self.error))
        if lost.any():
            self.value = np.where(lost, 0.0, self.value)
            self.error = np.where(lost, np.inf, self.error)

    # ---- construction and views -------------------------------------------------------------------------
    @staticmethod
    def between(lower: Any, upper: Any) -> Measured:
        """The enclosure of ``[lower, upper]``; its midpoint is within both."""
        if enclosure is not None:
            return enclosure(lower).union(upper)
        low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        value = np.clip(low + 0.5 * (high - low), low, high)
        return Measured(value, _up(np.maximum(high - value, value - low) + _TINY))

    @staticmethod
    def of(x: Measured | ArrayLike) -> Measured:
        """``x`` itself, or the exact enclosure of a float array."""
        return x if isinstance(x, Measured) else Measured(x)

    @staticmethod
    def stack(parts: Sequence[Measured]) -> Measured:
        """Enclosures of one shape along a new first axis."""
        if enclosure is not None:
            return enclosure(list(parts))
        return Measured(np.stack([p.value for p in parts]), np.stack([p.error for p in parts]))

    @staticmethod
    def concatenate(parts: Sequence[Measured], axis: int = 0) -> Measured:
        """Enclosures joined along an axis."""
        if enclosure is not None:
            return enclosure.concatenate(parts, axis)
        return Measured(
            np.concatenate([p.value for p in parts], axis), np.concatenate([p.error for p in parts], axis)
        )

    @property
    def plain(self) -> Any:
        """What an algorithm computes on with: the float array, or the balls themselves."""
        return self.value

    @property
    def centre(self) -> Measured:
        """The midpoints, exactly: a point of each enclosure to go on from."""
        return Measured(self.value)

    def rounded_by(self, radius: Any) -> Measured:
        """The radius enlarged by what rounding did in floats on the way here; balls, which bring all their
        rounding along, stay as they are."""
        return self.widened(radius)

    def where(self, mask: Any, number: float) -> Measured:
        """The enclosures with ``number``, exactly, wherever ``mask`` holds."""
        return Measured(np.where(mask, number, self.value), np.where(mask, 0.0, self.error))

    def widened(self, radius: Any) -> Measured:
        """The radius enlarged."""
        return Measured(self.value, self.error + radius)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def size(self) -> int:
        return self.value.size

    @property
    @_quiet
    def lower(self) -> Array:
        """A float array below every point of the enclosure."""
        return np.nextafter(self.value - self.error, -np.inf)

    @property
    @_quiet
    def upper(self) -> Array:
        """A float array above every point of the enclosure."""
        return np.nextafter(self.value + self.error, np.inf)

    def __getitem__(self, index: Any) -> Measured:
        return self._parts(self.value[index], self.error[index])

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        if self.ndim == 0:
            return f"{float(self.value):.12g} +- {float(self.error):.1e}"
        return f"Measured(shape={self.shape}, max error {self.error.max(initial=0.0):.1e})"

    def reshape(self, *shape: int) -> Measured:
        return self._parts(self.value.reshape(*shape), self.error.reshape(*shape))

    def copy(self) -> Measured:
        return self._parts(self.value.copy(), self.error.copy())

    @staticmethod
    def _parts(value: ArrayLike, error: ArrayLike) -> Measured:
        """Entries of enclosures, which have their midpoints: that need not be looked for again."""
        if enclosure is not None:
            return Measured(value, error)
        out = object.__new__(Measured)
        out.value, out.error = np.asarray(value), np.asarray(error)
        return out

    def __float__(self) -> float:
        return float(self.value)

    # ---- ring operations --------------------------------------------------------------------------------
    def __neg__(self) -> Measured:
        return Measured(-self.value, self.error)

    @_quiet
    def __add__(self, other: Measured | ArrayLike) -> Measured:
        o = Measured.of(other)
        value = self.value + o.value
        return Measured(value, _up(self.error + o.error + UNIT * np.abs(value)))

    __radd__ = __add__

    def __sub__(self, other: Measured | ArrayLike) -> Measured:
        return self + (-Measured.of(other))

    def __rsub__(self, other: Measured | ArrayLike) -> Measured:
        return Measured.of(other) + (-self)

    @_quiet
    def __mul__(self, other: Measured | ArrayLike) -> Measured:
        o = Measured.of(other)
        value = self.value * o.value
        a, b = np.abs(self.value), np.abs(o.value)
        # 0 * x is exactly 0 when the zero is exact, even where the other side has lost its midpoint.
        cross = np.where((self.error == 0) & (a == 0), 0.0, (a + self.error) * o.error)
        cross = cross + np.where((o.error == 0) & (b == 0), 0.0, b * self.error)
        exact = ((self.error == 0) & (a == 0)) | ((o.error == 0) & (b == 0))
        # Each of the three products may underflow.
        return Measured(value, _up(cross + np.where(exact, 0.0, UNIT * np.abs(value) + 4 * _TINY)))

    __rmul__ = __mul__

    @_quiet
    def reciprocal(self) -> Measured:
        """``1/x``; the radius is infinite where the enclosure contains 0."""
        a = np.abs(self.value)
        value = 1.0 / self.value
        # One quotient after the other: the product of two large numbers overflows, that of two small is 0.
        error = np.where(a > self.error, self.error / a / np.maximum(a - self.error, _TINY), np.inf)
        return Measured(value, _up(_up(error) + UNIT * np.abs(value) + _TINY))

    def __truediv__(self, other: Measured | ArrayLike) -> Measured:
        return self * Measured.of(other).reciprocal()

    def __rtruediv__(self, other: Measured | ArrayLike) -> Measured:
        return Measured.of(other) * self.reciprocal()

    def __pow__(self, power: int) -> Measured:
        if power != int(power) or power < 1:
            raise ValueError(f"only positive whole powers are enclosed, not {power}")
        out = self
        for _ in range(int(power) - 1):
            out = out * self
        return out

    # ---- reductions -------------------------------------------------------------------------------------
    @_quiet
    def sum(self, axis: int | tuple[int, ...] | None = None) -> Measured:
        last = axis in (-1, self.ndim - 1) or (axis is None and self.ndim == 1)
        if last and self.ndim and self.shape[-1] > 2 * _BLOCK:
            return self._blocks().sum(-1)
        value = self.value.sum(axis=axis)
        terms = self.size // max(value.size, 1)
        absolute = np.abs(self.value).sum(axis=axis)
        rounding = 0.0 if terms <= 1 else terms * UNIT * absolute
        return Measured(value, self.error.sum(axis=axis) * (1 + 2 * terms * UNIT) + _up(rounding))

    def _blocks(self) -> Measured:
        """Sums of the blocks along the last axis."""
        starts = np.arange(0, self.shape[-1], _BLOCK)
        value, absolute, error = (
            np.add.reduceat(x, starts, axis=-1) for x in (self.value, np.abs(self.value), self.error)
        )
        return Measured(value, error * (1 + 2 * _BLOCK * UNIT) + _up(_BLOCK * UNIT * absolute))

    def mean(self, axis: int | tuple[int, ...] | None = None) -> Measured:
        total = self.sum(axis)
        return total / float(self.size // max(total.size, 1))

    def max(self, axis: int | None = None) -> Measured:
        """Enclosure of the maximum: ``|max x - max y| <= max |x - y|``."""
        return Measured(self.value.max(axis=axis), self.error.max(axis=axis))

    def min(self, axis: int | None = None) -> Measured:
        return -((-self).max(axis))

    # ---- functions --------------------------------------------------------------------------------------
    @_quiet
    def exp(self) -> Measured:
        value = np.exp(self.value)
        # The exponential of the midpoint may underflow where that of the upper end does not.
        return Measured(value, _up((value + _TINY) * np.expm1(self.error) + _ULPS * value + _TINY))

    @_quiet
    def expm1(self) -> Measured:
        value = np.expm1(self.value)
        error = (np.exp(self.value) + _TINY) * np.expm1(self.error) + _ULPS * np.abs(value)
        return Measured(value, _up(error + _TINY))

    @_quiet
    def log(self) -> Measured:
        """``log x``; the radius is infinite where the enclosure reaches 0."""
        value = np.log(self.value)
        relative = self.error / self.value * (1 + 4 * UNIT)
        error = np.where(relative < 1, -np.log1p(-np.minimum(relative, 1 - UNIT)), np.inf)
        return Measured(value, _up(error + _ULPS * np.abs(value) + _TINY))

    @_quiet
    def log1p(self) -> Measured:
        value = np.log1p(self.value)
        relative = self.error / (1 + self.value) * (1 + 4 * UNIT)
        error = np.where(relative < 1, -np.log1p(-np.minimum(relative, 1 - UNIT)), np.inf)
        return Measured(value, _up(error + _ULPS * np.abs(value) + _TINY))

    @_quiet
    def sqrt(self) -> Measured:
        """Square root of an enclosure that is known to be non-negative (negative parts are cut off)."""
        low = np.sqrt(np.maximum(self.value - self.error, 0.0))
        high = np.sqrt(np.maximum(self.value + self.error, 0.0))
        value = np.sqrt(np.maximum(self.value, 0.0))
        return Measured(value, _up(np.maximum(high - value, value - low) + _ULPS * high))

    def abs(self) -> Measured:
        return Measured(np.abs(self.value), self.error)

    def positive(self) -> Measured:
        """``[x]_+``."""
        return self.maximum(0.0)

    @_quiet
    def maximum(self, other: Measured | ArrayLike) -> Measured:
        o = Measured.of(other)
        value = np.maximum(self.value, o.value)
        low = np.maximum(self.value - self.error, o.value - o.error)
        high = np.maximum(self.value + self.error, o.value + o.error)
        # The ends are rounded numbers; where one enclosure lies above the other, its radius is the answer.
        around = np.maximum(high - value, value - low) + 2 * UNIT * (np.abs(low) + np.abs(high))
        error = np.minimum(_up(around), np.maximum(self.error, o.error))
        error = np.where(self.lower >= o.upper, self.error, np.where(o.lower >= self.upper, o.error, error))
        return Measured(value, error)

    def minimum(self, other: Measured | ArrayLike) -> Measured:
        return -((-self).maximum(-Measured.of(other)))


def dot(a: Measured | ArrayLike, b: Measured | ArrayLike, axis: int | tuple[int, ...] = -1) -> Measured:
    """Enclosure of ``sum(a * b, axis)`` with broadcasting."""
    return (Measured.of(a) * b).sum(axis)
