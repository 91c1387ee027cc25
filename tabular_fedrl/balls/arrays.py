"""Arrays of exact rationals and balls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flint
import numpy as np

from tabular_fedrl.balls import entries
from tabular_fedrl.balls.entries import Number
from tabular_fedrl.measured import Array, Measured

_to_number = np.frompyfunc(entries.number, 1, 1)
_to_ball = np.frompyfunc(entries.ball, 1, 1)
_max_ufunc = np.frompyfunc(entries.larger, 2, 1)


def _map(function: Callable[..., Any], *operands: Any) -> Any:
    return np.asarray(np.frompyfunc(function, len(operands), 1)(*operands), dtype=object)


class Balls(Measured):
    """An array of exact rationals and balls.

    Parameters
    ----------
    value: numbers (floats are read exactly), an array of ``fmpq`` and ``arb`` entries, or an enclosure.
    error: radius, broadcastable to ``value``; default 0.

    The interface is that of :class:`~tabular_fedrl.measured.Measured`; ``value`` and ``error`` are its
    enclosure in floats.
    """

    __slots__ = ("items",)
    __array_ufunc__ = None

    def __init__(self, value: Any, error: Any = 0.0) -> None:
        self.items: np.ndarray[Any, Any] = _items(value)
        if not (isinstance(error, float | int) and error == 0):
            self.items = _map(entries.widen, self.items, _items(error))

    @classmethod
    def _wrap(cls, items: Any) -> Balls:
        out = object.__new__(cls)
        out.items = items if isinstance(items, np.ndarray) else np.asarray(items, dtype=object)
        return out

    @staticmethod
    def of(x: Any) -> Balls:
        """``x`` itself, or the enclosure of what it holds."""
        return x if isinstance(x, Balls) else Balls(x)

    @staticmethod
    def concatenate(parts: Sequence[Any], axis: int = 0) -> Balls:
        return Balls._wrap(np.concatenate([_items(p) for p in parts], axis))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("balls do not turn into a NumPy array: its functions would compare midpoints")

    # ---- views -------------------------------------------------------------------------------------------
    @property
    def value(self) -> Array:  # type: ignore[override]
        """Float midpoints."""
        return _map(entries.nearest, self.items).astype(np.float64)

    @property
    def error(self) -> Array:  # type: ignore[override]
        """Radii about :attr:`value`, rounded up."""
        return _map(entries.distance, self.items, self.value).astype(np.float64)

    @property
    def plain(self) -> Any:
        return self

    @property
    def centre(self) -> Balls:
        return Balls._wrap(_map(lambda a: a if isinstance(a, flint.fmpq) else a.mid(), self.items))

    @property
    def is_rational(self) -> bool:
        """Whether every entry is an exact rational."""
        return all(isinstance(x, flint.fmpq) for x in self.items.ravel())

    @property
    def shape(self) -> tuple[int, ...]:
        return self.items.shape

    @property
    def ndim(self) -> int:
        return self.items.ndim

    @property
    def size(self) -> int:
        return self.items.size

    @property
    def T(self) -> Balls:
        return Balls._wrap(self.items.T)

    def __getitem__(self, index: Any) -> Balls:
        return Balls._wrap(self.items[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        items = Balls.of(value).items
        # An array of objects would take an array as one of its entries.
        self.items[index] = items if isinstance(self.items[index], np.ndarray) else items.item()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Balls]:
        return (Balls._wrap(x) for x in self.items)

    def __repr__(self) -> str:
        if self.ndim == 0:
            return str(self.items[()])
        return f"Balls(shape={self.shape}, {'rational' if self.is_rational else f'{flint.ctx.prec} bits'})"

    def reshape(self, *shape: Any) -> Balls:
        return Balls._wrap(self.items.reshape(*shape))

    def ravel(self) -> Balls:
        return Balls._wrap(self.items.ravel())

    def swapaxes(self, first: int, second: int) -> Balls:
        return Balls._wrap(self.items.swapaxes(first, second))

    def copy(self) -> Balls:
        return Balls._wrap(self.items.copy())

    def balls(self) -> Balls:
        """The same entries, all of them balls at the working precision (they compute faster)."""
        return Balls._wrap(np.asarray(_to_ball(self.items), dtype=object))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("several balls have no single truth value; use .all() or .any() on a comparison")
        return bool((self != 0).all())

    def __float__(self) -> float:
        raise TypeError("no float stands for a ball; take .lower or .upper, or keep the ball")

    @property
    def finite(self) -> bool:
        """Whether every entry is bounded."""
        return all(isinstance(x, flint.fmpq) or bool(x.is_finite()) for x in self.items.ravel())

    @property
    def is_minus_infinity(self) -> Any:
        """Where the entry is exactly ``-inf`` (the logarithm of an exact 0), elementwise."""
        return _map(lambda a: isinstance(a, flint.arb) and bool(a == entries.BOTTOM), self.items).astype(bool)

    @property
    def is_nan(self) -> Any:
        """Where the entry says nothing at all, elementwise."""
        return _map(lambda a: isinstance(a, flint.arb) and bool(a.is_nan()), self.items).astype(bool)

    def same(self, other: Balls) -> bool:
        """Whether the entries are copies of those of ``other``, broadcast."""
        return bool(_map(lambda a, b: a is b, self.items, other.items).all())

    # ---- ring operations ---------------------------------------------------------------------------------
    def __neg__(self) -> Balls:
        return Balls._wrap(-self.items)

    def __add__(self, other: Any) -> Balls:
        return Balls._wrap(self.items + _items(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Balls:
        return Balls._wrap(self.items - _items(other))

    def __rsub__(self, other: Any) -> Balls:
        return Balls._wrap(_items(other) - self.items)

    def __mul__(self, other: Any) -> Balls:
        return Balls._wrap(self.items * _items(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Balls:
        return Balls._wrap(_map(entries.divide, self.items, _items(other)))

    def __rtruediv__(self, other: Any) -> Balls:
        return Balls._wrap(_map(entries.divide, _items(other), self.items))

    def reciprocal(self) -> Balls:
        return 1 / self

    def __pow__(self, power: float) -> Balls:
        if power == 0.5:
            return self.sqrt()
        if power != int(power):
            raise ValueError(f"whole powers and roots are enclosed, not the power {power}")
        return Balls._wrap(_map(lambda a: entries.power(a, int(power)), self.items))

    def __matmul__(self, other: Any) -> Balls:
        from tabular_fedrl.balls.matrices import matmul

        return matmul(self, Balls.of(other))

    def __rmatmul__(self, other: Any) -> Balls:
        from tabular_fedrl.balls.matrices import matmul

        return matmul(Balls.of(other), self)

    # ---- reductions --------------------------------------------------------------------------------------
    def sum(self, axis: int | tuple[int, ...] | None = None) -> Balls:
        return Balls._wrap(np.add.reduce(self.items, axis=_axes(axis, self.ndim), initial=entries.ZERO))

    def mean(self, axis: int | tuple[int, ...] | None = None) -> Balls:
        total = self.sum(axis)
        return total * flint.fmpq(total.size, max(self.size, 1)) if total.size else total

    def max(self, axis: int | tuple[int, ...] | None = None, initial: float | None = None) -> Balls:
        axes = _axes(axis, self.ndim)
        kept = [k for k in range(self.ndim) if k not in [a % self.ndim for a in axes]]
        shape = self.items.shape
        size = math.prod(shape[a] for a in axes)
        rows = self.items.transpose(*kept, *axes).reshape(*(shape[k] for k in kept), size)
        if initial is not None:
            rows = np.concatenate([rows, np.broadcast_to(_items(initial), (*rows.shape[:-1], 1))], axis=-1)
        return Balls._wrap(_max_ufunc.reduce(rows, axis=-1))

    def min(self, axis: int | tuple[int, ...] | None = None, initial: float | None = None) -> Balls:
        return -((-self).max(axis, None if initial is None else -initial))

    # ---- functions ---------------------------------------------------------------------------------------
    def exp(self) -> Balls:
        return Balls._wrap(_map(entries.exp, self.items))

    def expm1(self) -> Balls:
        return Balls._wrap(_map(lambda a: entries.ball(a).expm1(), self.items))

    def log(self) -> Balls:
        return Balls._wrap(_map(entries.log, self.items))

    def log1p(self) -> Balls:
        return Balls._wrap(_map(lambda a: entries.ball(a).log1p(), self.items))

    def sqrt(self) -> Balls:
        return Balls._wrap(_map(entries.sqrt, self.items))

    def abs(self) -> Balls:
        return Balls._wrap(_map(abs, self.items))

    __abs__ = abs

    def maximum(self, other: Any) -> Balls:
        return Balls._wrap(_map(entries.larger, self.items, _items(other)))

    def minimum(self, other: Any) -> Balls:
        return -((-self).maximum(-Balls.of(other)))

    def union(self, other: Any) -> Balls:
        """Enclosures of everything between the two."""
        return Balls._wrap(
            _map(lambda a, b: entries.ball(a).union(entries.ball(b)), self.items, _items(other))
        )

    def rounded_by(self, radius: Any) -> Balls:
        return self

    def where(self, mask: Any, number: float) -> Balls:
        return Balls._wrap(np.where(mask, _items(number), self.items))

    def widened(self, radius: Any) -> Balls:
        return Balls._wrap(_map(entries.widen, self.items, _items(radius)))

    # ---- comparisons -------------------------------------------------------------------------------------
    def __lt__(self, other: Any) -> Any:
        return _compare(entries.less, self.items, _items(other))

    def __le__(self, other: Any) -> Any:
        return _compare(entries.less_or_equal, self.items, _items(other))

    def __gt__(self, other: Any) -> Any:
        return _compare(entries.less, _items(other), self.items)

    def __ge__(self, other: Any) -> Any:
        return _compare(entries.less_or_equal, _items(other), self.items)

    def __eq__(self, other: Any) -> Any:
        return _compare(entries.equal, self.items, _items(other))

    def __ne__(self, other: Any) -> Any:
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]


def _items(x: Any) -> np.ndarray[Any, Any]:
    if isinstance(x, Balls):
        return x.items
    if isinstance(x, Measured):
        return x.items if isinstance(x, Balls) else _map(entries.widen, _items(x.value), _items(x.error))
    if isinstance(x, float | int | flint.fmpq | flint.arb):
        out = np.empty((), dtype=object)
        out[()] = entries.number(x)
        return out
    if isinstance(x, list | tuple) and any(isinstance(part, Measured) for part in x):
        return np.stack([_items(part) for part in x])
    return np.asarray(_to_number(np.asarray(x)), dtype=object)


def _axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _compare(decide: Callable[[Number, Number], bool], a: Any, b: Any) -> Any:
    return np.asarray(np.frompyfunc(decide, 2, 1)(a, b), dtype=bool)
