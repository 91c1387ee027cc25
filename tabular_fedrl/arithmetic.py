"""The functions algorithms compute with, named as on the page.

``algorithms/`` calls these and never NumPy's own versions (a lint rule sees to it), so that the number
system can be exchanged underneath without touching an algorithm: float64 arrays go to NumPy,
:class:`~tabular_fedrl.measured.Measured` enclosures to their own methods.
"""

from __future__ import annotations

from typing import TypeVar, overload

import numpy as np

from tabular_fedrl.measured import Array, Measured

T = TypeVar("T", Array, Measured)


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


def clip(x: T, low: Array | float, high: Array | float) -> T:
    """``min(max(x, low), high)``; ``high`` may be infinite."""
    if isinstance(x, Measured):
        return x.maximum(low).minimum(high)
    return np.clip(x, low, high)


def logsumexp(x: T, axis: int = -1) -> T:
    """``log sum exp x`` along one axis (kept, with length 1), shifted by the maximum against overflow."""
    if isinstance(x, Measured):
        shift = np.max(x.value, axis=axis, keepdims=True)
        total = (x - shift).exp().sum(axis)
        kept = Measured(np.expand_dims(total.value, axis), np.expand_dims(total.error, axis))
        return kept.log() + shift
    shift = np.max(x, axis=axis, keepdims=True)
    return np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift


def matmul(a: Array, b: Array) -> Array:
    """Matrix product."""
    return np.matmul(a, b)


def solve(a: Array, b: Array) -> Array:
    """Solution of ``a x = b`` (dense)."""
    return np.asarray(np.linalg.solve(a, b), dtype=np.float64)
