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

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from tabular_fedrl import measured
from tabular_fedrl.errors import Undecided
from tabular_fedrl.measured import Array, Measured

Number = flint.fmpq | flint.arb
_ZERO, _ONE, _BOTTOM = flint.fmpq(0), flint.fmpq(1), flint.arb("-inf")


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


def rational(x: Any) -> flint.fmpq:
    """One number read exactly: int, float (its binary value), Fraction, fmpq, or text (``1/3``, ``0.1``).

    Raises
    ------
    ValueError: not a finite number.
    """
    if isinstance(x, flint.fmpq):
        return x
    if isinstance(x, float | np.floating):
        if not math.isfinite(x):
            raise ValueError(f"{x} is not a finite number")
        return flint.fmpq(*float(x).as_integer_ratio())
    exact = Fraction(str(x) if isinstance(x, str) else x if isinstance(x, Fraction) else int(x))
    return flint.fmpq(exact.numerator, exact.denominator)


def _number(x: Any) -> Number:
    if isinstance(x, flint.fmpq | flint.arb):
        return x
    if isinstance(x, float | np.floating) and not math.isfinite(x):
        return flint.arb(str(float(x)))
    return rational(x)


def _ball(x: Number) -> flint.arb:
    return x if isinstance(x, flint.arb) else flint.arb(x)


# ---- the operations on single entries ----------------------------------------------------------------------
def _divide(a: Number, b: Number) -> Number:
    # A division by zero says nothing, rather than stopping the run: whoever compares it learns so.
    return flint.arb("nan") if isinstance(b, flint.fmpq) and b == 0 else a / b


def _larger(a: Number, b: Number) -> Number:
    if isinstance(a, flint.fmpq) and isinstance(b, flint.fmpq):
        return max(a, b)
    return _ball(a).max(_ball(b))


def _exp(a: Number) -> Number:
    if isinstance(a, flint.fmpq):
        return _ONE if a == 0 else _ball(a).exp()
    return _ZERO if a == _BOTTOM else a.exp()


def _log(a: Number) -> Number:
    if isinstance(a, flint.fmpq) and a == 1:
        return _ZERO
    ball = _ball(a)
    return _BOTTOM if ball.is_zero() else ball.log()


def _sqrt(a: Number) -> Number:
    if isinstance(a, flint.fmpq):
        p, q = (math.isqrt(int(part)) if part >= 0 else 0 for part in (a.p, a.q))
        if p * p == a.p and q * q == a.q:
            return flint.fmpq(p, q)
    ball = _ball(a)
    if ball.lower() >= 0:
        return ball.sqrt()
    return flint.arb(0).union(ball.upper().max(flint.arb(0)).sqrt())


def _power(a: Number, power: int) -> Number:
    # The library's power goes through the logarithm and says nothing of a ball that contains 0.
    return math.prod([a] * (power - 1), start=a) if power > 0 else a**power


def _widen(a: Number, radius: Number) -> Number:
    if isinstance(radius, flint.fmpq) and radius == 0:
        return a
    r = _ball(radius)
    if not r.is_finite():
        return flint.arb("nan")
    top = r.abs_upper()
    return (_ball(a) - top).union(_ball(a) + top)


def _settled(yes: bool, no: bool) -> bool:
    if not (yes or no):
        raise Undecided("two balls overlap: the comparison needs a higher precision")
    return yes


def _less(a: Number, b: Number) -> bool:
    return _settled(bool(a < b), bool(a >= b))


def _less_or_equal(a: Number, b: Number) -> bool:
    return _settled(bool(a <= b), bool(a > b))


def _equal(a: Number, b: Number) -> bool:
    return _settled(bool(a == b), bool(a != b))


def _float(a: Number) -> float:
    """The nearest float of the midpoint: a guess, for what need not be exact."""
    try:
        return int(a.p) / int(a.q) if isinstance(a, flint.fmpq) else float(a.mid())
    except OverflowError:
        return math.copysign(math.inf, 1.0 if a > 0 else -1.0)


def _distance(a: Number, guess: float) -> float:
    """A float no smaller than the distance of every point of ``a`` from ``guess``."""
    if not math.isfinite(guess):
        return math.inf
    if isinstance(a, flint.fmpq) and a == rational(guess):
        return 0.0
    far = float((_ball(a) - rational(guess)).abs_upper())
    return math.nextafter(far, math.inf) if math.isfinite(far) else math.inf


def ends(a: Number) -> tuple[flint.fmpq, flint.fmpq]:
    """Both ends of one entry as exact rationals.

    Raises
    ------
    Undecided: the ball is unbounded.
    """
    if isinstance(a, flint.fmpq):
        return a, a
    if not a.is_finite():
        raise Undecided("a ball is unbounded")
    # The radius of a ball has 30 bits: its own bits and the midpoint's hold the ends exactly.
    (m, e), (r, f) = a.mid().man_exp(), a.rad().man_exp()
    mid, rad = _scaled(m, e), _scaled(r, f)
    return mid - rad, mid + rad


def decimals(a: Number, digits: int = 40) -> tuple[str, str]:
    """Both ends of one entry as decimal text of so many significant digits, rounded outward; ``-inf`` and
    ``inf`` for an unbounded ball."""
    try:
        low, high = ends(a)
    except Undecided:
        return "-inf", "inf"
    size = max(abs(low), abs(high))
    # 10**places is the weight of the last digit kept; the number of digits of a power of two is near enough.
    places = (
        (int(size.p).bit_length() - int(size.q).bit_length()) * 30103 // 100000 - digits + 1 if size else 0
    )
    unit = flint.fmpq(10) ** places
    return _decimal((low / unit).floor(), places), _decimal((high / unit).ceil(), places)


def _decimal(whole: Any, places: int) -> str:
    return f"{int(whole)}e{places}" if whole else "0"


def _scaled(man: flint.fmpz, exponent: flint.fmpz) -> flint.fmpq:
    shift = int(exponent)
    return (
        flint.fmpq(man * flint.fmpz(2) ** shift) if shift >= 0 else flint.fmpq(man, flint.fmpz(2) ** -shift)
    )


_to_number = np.frompyfunc(_number, 1, 1)
_to_ball = np.frompyfunc(_ball, 1, 1)
_max_ufunc = np.frompyfunc(_larger, 2, 1)


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
            self.items = _map(_widen, self.items, _items(error))

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
        return _map(_float, self.items).astype(np.float64)

    @property
    def error(self) -> Array:  # type: ignore[override]
        """Radii about :attr:`value`, rounded up."""
        return _map(_distance, self.items, self.value).astype(np.float64)

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
        return _map(lambda a: isinstance(a, flint.arb) and bool(a == _BOTTOM), self.items).astype(bool)

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
        return Balls._wrap(_map(_divide, self.items, _items(other)))

    def __rtruediv__(self, other: Any) -> Balls:
        return Balls._wrap(_map(_divide, _items(other), self.items))

    def reciprocal(self) -> Balls:
        return 1 / self

    def __pow__(self, power: float) -> Balls:
        if power == 0.5:
            return self.sqrt()
        if power != int(power):
            raise ValueError(f"whole powers and roots are enclosed, not the power {power}")
        return Balls._wrap(_map(lambda a: _power(a, int(power)), self.items))

    def __matmul__(self, other: Any) -> Balls:
        return matmul(self, Balls.of(other))

    def __rmatmul__(self, other: Any) -> Balls:
        return matmul(Balls.of(other), self)

    # ---- reductions --------------------------------------------------------------------------------------
    def sum(self, axis: int | tuple[int, ...] | None = None) -> Balls:
        return Balls._wrap(np.add.reduce(self.items, axis=_axes(axis, self.ndim), initial=_ZERO))

    def mean(self, axis: int | tuple[int, ...] | None = None) -> Balls:
        total = self.sum(axis)
        return total * flint.fmpq(total.size, max(self.size, 1)) if total.size else total

    def max(self, axis: int | tuple[int, ...] | None = None, initial: float | None = None) -> Balls:
        axes = _axes(axis, self.ndim)
        kept = [k for k in range(self.ndim) if k not in [a % self.ndim for a in axes]]
        rows = self.items.transpose(*kept, *axes).reshape(*(self.items.shape[k] for k in kept), -1)
        if initial is not None:
            rows = np.concatenate([rows, np.broadcast_to(_items(initial), (*rows.shape[:-1], 1))], axis=-1)
        return Balls._wrap(_max_ufunc.reduce(rows, axis=-1))

    def min(self, axis: int | tuple[int, ...] | None = None, initial: float | None = None) -> Balls:
        return -((-self).max(axis, None if initial is None else -initial))

    # ---- functions ---------------------------------------------------------------------------------------
    def exp(self) -> Balls:
        return Balls._wrap(_map(_exp, self.items))

    def expm1(self) -> Balls:
        return Balls._wrap(_map(lambda a: _ball(a).expm1(), self.items))

    def log(self) -> Balls:
        return Balls._wrap(_map(_log, self.items))

    def log1p(self) -> Balls:
        return Balls._wrap(_map(lambda a: _ball(a).log1p(), self.items))

    def sqrt(self) -> Balls:
        return Balls._wrap(_map(_sqrt, self.items))

    def abs(self) -> Balls:
        return Balls._wrap(_map(abs, self.items))

    __abs__ = abs

    def maximum(self, other: Any) -> Balls:
        return Balls._wrap(_map(_larger, self.items, _items(other)))

    def minimum(self, other: Any) -> Balls:
        return -((-self).maximum(-Balls.of(other)))

    def union(self, other: Any) -> Balls:
        """Enclosures of everything between the two."""
        return Balls._wrap(_map(lambda a, b: _ball(a).union(_ball(b)), self.items, _items(other)))

    def rounded_by(self, radius: Any) -> Balls:
        return self

    def where(self, mask: Any, number: float) -> Balls:
        return Balls._wrap(np.where(mask, _items(number), self.items))

    def widened(self, radius: Any) -> Balls:
        return Balls._wrap(_map(_widen, self.items, _items(radius)))

    # ---- comparisons -------------------------------------------------------------------------------------
    def __lt__(self, other: Any) -> Any:
        return _compare(_less, self.items, _items(other))

    def __le__(self, other: Any) -> Any:
        return _compare(_less_or_equal, self.items, _items(other))

    def __gt__(self, other: Any) -> Any:
        return _compare(_less, _items(other), self.items)

    def __ge__(self, other: Any) -> Any:
        return _compare(_less_or_equal, _items(other), self.items)

    def __eq__(self, other: Any) -> Any:
        return _compare(_equal, self.items, _items(other))

    def __ne__(self, other: Any) -> Any:
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]


def _items(x: Any) -> np.ndarray[Any, Any]:
    if isinstance(x, Balls):
        return x.items
    if isinstance(x, Measured):
        return x.items if isinstance(x, Balls) else _map(_widen, _items(x.value), _items(x.error))
    if isinstance(x, float | int | flint.fmpq | flint.arb):
        out = np.empty((), dtype=object)
        out[()] = _number(x)
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


# ---- linear algebra ----------------------------------------------------------------------------------------
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
