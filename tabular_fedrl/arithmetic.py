"""The functions algorithms compute with, named as on the page.

``algorithms/`` calls these and never NumPy's own versions (a lint rule sees to it), so that the number
system can be exchanged underneath without touching an algorithm: float64 arrays go to NumPy,
:class:`~tabular_fedrl.measured.Measured` enclosures and :class:`~tabular_fedrl.balls.Balls` (exact rationals,
balls) to their own methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.balls import Balls
from tabular_fedrl.measured import Array, Measured

T = TypeVar("T", Array, Measured)


# ---- arrays ------------------------------------------------------------------------------------------------
def array(x: Any) -> Any:
    """``x`` in the number system at work: a float64 array, or balls inside ``balls.precision(...)``."""
    return Balls.of(x) if balls.working() else np.asarray(x, dtype=np.float64)


def empty(shape: Sequence[int]) -> Any:
    """An array of nan to be filled, in the number system at work."""
    return array(np.full(tuple(shape), np.nan))


def stack(parts: Sequence[Any]) -> Any:
    """Arrays of one shape along a new first axis."""
    return Measured.stack(parts) if isinstance(parts[0], Measured) else np.stack(parts)


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """Arrays joined along an axis."""
    if any(isinstance(p, Measured) for p in parts):
        return Measured.concatenate([Measured.of(p) for p in parts], axis)
    return np.concatenate(parts, axis)


def finite(x: Any) -> bool:
    """Whether every entry is a finite number (for balls: bounded)."""
    return x.finite if isinstance(x, Balls) else bool(np.isfinite(x).all())


def same(x: Any, y: Any) -> bool:
    """Whether two arrays (broadcast against each other) hold the very same numbers, as one is a copy of the
    other."""
    return x.same(y) if isinstance(x, Balls) else bool((x == y).all())


def seen(multipliers: Any) -> Any:
    """Multipliers with 0 in place of nan, which marks constraints that an agent does not see."""
    if isinstance(multipliers, Balls):
        return multipliers.where(multipliers.is_nan, 0.0)
    return np.nan_to_num(multipliers, nan=0.0)


def is_minus_infinity(x: Any) -> Any:
    """Where a log-policy is ``-inf``, elementwise: the probability is exactly 0."""
    return x.is_minus_infinity if isinstance(x, Balls) else np.isneginf(x)


def where(mask: Any, number: float, x: Any) -> Any:
    """``x`` with ``number``, exactly, wherever ``mask`` holds."""
    return x.where(mask, number) if isinstance(x, Measured) else np.where(mask, number, x)


def magnitude(x: Any) -> float:
    """A float no smaller than any ``|x|``; 0 for an empty array."""
    if isinstance(x, Measured):
        return float(np.maximum(np.abs(x.lower), np.abs(x.upper)).max(initial=0.0))
    return float(np.abs(x).max(initial=0.0))


# ---- functions ---------------------------------------------------------------------------------------------
def exp(x: T) -> T:
    """Exponential, elementwise."""
    return x.exp() if isinstance(x, Measured) else np.exp(x)


def log(x: T) -> T:
    """Natural logarithm, elementwise."""
    return x.log() if isinstance(x, Measured) else np.log(x)


def sum(x: T, axis: int | tuple[int, ...] | None = None) -> T:
    """Sum over ``axis``, default all."""
    return x.sum(axis) if isinstance(x, Measured) else np.asarray(np.sum(x, axis=axis))


@overload
def maximum(x: Measured, y: Measured | Array | float) -> Measured: ...
@overload
def maximum(x: Array, y: Array | float) -> Array: ...
def maximum(x: Array | Measured, y: Array | Measured | float) -> Array | Measured:
    """The larger of two, elementwise."""
    return x.maximum(y) if isinstance(x, Measured) else np.maximum(x, y)  # type: ignore[arg-type]


@overload
def minimum(x: Measured, y: Measured | Array | float) -> Measured: ...
@overload
def minimum(x: Array, y: Array | float) -> Array: ...
def minimum(x: Array | Measured, y: Array | Measured | float) -> Array | Measured:
    """The smaller of two, elementwise."""
    return x.minimum(y) if isinstance(x, Measured) else np.minimum(x, y)  # type: ignore[arg-type]


def clip(x: T, low: T | Array | float, high: T | Array | float) -> T:
    """``min(max(x, low), high)``; ``high`` may be infinite."""
    if isinstance(x, Measured):
        return x.maximum(low).minimum(high)
    return np.clip(x, low, high)


def logsumexp(x: T, axis: int = -1) -> T:
    """``log sum exp x`` along one axis (kept, with length 1), shifted by the maximum against overflow;
    ``-inf`` where all entries are."""
    if isinstance(x, Measured):
        # Any shift is right: floats near the maximum will do.
        shift = _shift(x.value, axis)
        total = (x - shift).exp().sum(axis)
        return _kept(total, axis).log() + shift
    shift = _shift(x, axis)
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift


def _shift(x: Array, axis: int) -> Any:
    largest = np.max(x, axis=axis, keepdims=True)
    return np.where(largest == -np.inf, 0.0, largest)


def _kept(x: Measured, axis: int) -> Measured:
    shape = list(x.shape)
    shape.insert(axis % (x.ndim + 1), 1)
    return x.reshape(*shape)


def matmul(a: Any, b: Any) -> Any:
    """Matrix product of at most two dimensions."""
    if isinstance(a, Balls) or isinstance(b, Balls):
        return Balls.of(a) @ b
    return np.matmul(a, b)


def solve(a: Any, b: Any) -> Any:
    """Solution of ``a x = b`` (dense), ``b`` of two dimensions."""
    if isinstance(a, Balls) or isinstance(b, Balls):
        return balls.solve(Balls.of(a), Balls.of(b))
    return np.asarray(np.linalg.solve(a, b), dtype=np.float64)
