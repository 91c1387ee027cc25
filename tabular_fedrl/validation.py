"""The data of a problem as they are given: checked, normalised and frozen, or refused with the place and the
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Array

Kernel: TypeAlias = Any
"""A dense ``(S, A, S)`` float64 array or a ``scipy.sparse.csr_array`` ``(S*A, S)`` (SciPy carries no
types)."""

ROW_TOLERANCE = 1e-9
"""A row of P or rho whose sum is farther than this from 1 is refused; nearer ones are divided by their
sum."""

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number that arrays, compiled code and files hold."""

LARGEST = 1e100
"""Rewards, costs and thresholds beyond it are refused: squares of values, which steps and bounds are made of,
would leave the floats."""

_checked: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Kernels and initial distributions that a problem has checked and frozen, by identity: a changed copy
shares them."""


class Labels(NamedTuple):
    """What messages call states and actions."""

    states: tuple[str, ...] | None
    actions: tuple[str, ...] | None

    def state(self, s: int) -> str:
        return f"{s} ({self.states[s]})" if self.states else str(s)

    def action(self, a: int) -> str:
        return f"{a} ({self.actions[a]})" if self.actions else str(a)


def frozen(x: Any) -> Any:
    """The array, contiguous and read-only; balls read-only as they are."""
    if isinstance(x, Balls):
        x.items.setflags(write=False)
        return x
    x = np.ascontiguousarray(x)
    x.setflags(write=False)
    return x


def numbers(name: str, x: ArrayLike, ndim: int) -> Array:
    """A frozen copy of an array of finite numbers (of P, :func:`kernel` says which are not)."""
    try:
        out = np.array(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidProblem(f"{name} is not an array of numbers: {error}") from None
    if out.ndim != ndim:
        raise InvalidProblem(f"{name} has {out.ndim} dimensions (shape {out.shape}): expected {ndim}")
    if name != "P" and not np.isfinite(out).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise InvalidProblem(f"{name}[{', '.join(map(str, place))}] = {out[place]} is not finite")
    if name != "P" and max(out.max(initial=0.0), -out.min(initial=0.0)) > LARGEST:
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(out))), out.shape))
        raise InvalidProblem(
            f"{name}[{', '.join(map(str, place))}] = {out[place]} is beyond {LARGEST:g}: use other units"
        )
    return frozen(out)


def discount(gamma: Any) -> float:
    """A number in [0, 1)."""
    try:
        value = float(gamma)
    except (TypeError, ValueError):
        raise InvalidProblem(f"gamma = {gamma!r} is not a number") from None
    if not 0 <= value < 1:
        raise InvalidProblem(f"gamma = {value:g} is outside [0, 1)")
    return value


def names(what: str, given: Sequence[str] | None, size: int) -> tuple[str, ...] | None:
    """One name for each, or none at all."""
    if given is None:
        return None
    if len(given) != size:
        raise InvalidProblem(f"{what} holds {len(given)} names for {size}")
    return tuple(str(n) for n in given)


def distribution(name: str, x: ArrayLike, S: int, labels: Labels) -> Array:
    """A distribution over the states, ``(S,)``."""
    shared = _known(x, (S,))
    if shared is not None:
        return shared
    out = numbers(name, x, 1)
    if out.size != S:
        raise InvalidProblem(f"{name} has {out.size} entries but there are {S} states")
    if (out < 0).any():
        s = int(np.argmin(out))
        raise InvalidProblem(f"{name}[{labels.state(s)}] = {out[s]:g} is negative")
    total = float(out.sum())
    if abs(total - 1) > ROW_TOLERANCE:
        raise InvalidProblem(f"{name} sums to {total:.12g}, not to 1")
    return remembered(frozen(_normalised(out, np.asarray(total), S)))


def kernel(P: Any, S: int, A: int, labels: Labels) -> Kernel:
    """A transition kernel; one that has been checked before is shared, not copied."""
    shared = _known(P, (S * A, S) if sp.issparse(P) else (S, A, S))
    if shared is not None:
        return shared
    if sp.issparse(P):
        if P.shape != (S * A, S):
            raise InvalidProblem(f"sparse P has shape {P.shape}: expected (S*A, S) = {(S * A, S)}")
        return _sparse_kernel(sp.csr_array(P, dtype=np.float64, copy=True), S, A, labels)
    rows = numbers("P", P, 3)
    if rows.shape != (S, A, S):
        raise InvalidProblem(f"P has shape {rows.shape}: expected (S, A, S) = {(S, A, S)}")
    place = _flaw(rows)
    if place is not None:
        raise _bad_entry(*divmod(place, S), rows.ravel()[place], A, labels)
    sums = rows.sum(axis=2)
    _check_sums(sums.ravel(), A, labels)
    return remembered(frozen(_normalised(rows, sums[..., None], S)))


def _known(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` itself, if it is one of :data:`_checked` and of that shape; else None."""
    shared = _checked.get(id(x))
    return shared if shared is not None and shared is x and shared.shape == shape else None


def remembered(x: Any) -> Any:
    """``x``, checked and frozen, as one that changed copies share."""
    _checked[id(x)] = x
    return x


def _sparse_kernel(rows: Kernel, S: int, A: int, labels: Labels) -> Kernel:
    rows.sum_duplicates()
    if max(rows.nnz, S) <= np.iinfo(np.int32).max:
        rows.indices, rows.indptr = (x.astype(np.int32, copy=False) for x in (rows.indices, rows.indptr))
    place = _flaw(rows.data)
    if place is not None:
        row = int(np.searchsorted(rows.indptr, place, side="right")) - 1
        raise _bad_entry(row, int(rows.indices[place]), rows.data[place], A, labels)
    sums = np.asarray(rows.sum(axis=1)).ravel()
    _check_sums(sums, A, labels)
    width = np.diff(rows.indptr)
    if np.abs(sums - 1).max() > (int(width.max(initial=0)) + 2) * UNIT:
        rows.data /= np.repeat(sums, width)
    for x in (rows.data, rows.indices, rows.indptr):
        x.setflags(write=False)
    return remembered(rows)


def _flaw(data: Array) -> int | None:
    """The first entry that is no probability."""
    if (data >= 0).all() and np.isfinite(data).all():
        return None
    return int(np.flatnonzero((~np.isfinite(data) | (data < 0)).ravel())[0])


def _bad_entry(row: int, successor: int, x: float, A: int, labels: Labels) -> InvalidProblem:
    what = "negative" if np.isfinite(x) else "not finite"
    return InvalidProblem(f"P[{_pair(row, A, labels)}, s'={labels.state(successor)}] = {x:g} is {what}")


def _check_sums(sums: Array, A: int, labels: Labels) -> None:
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > ROW_TOLERANCE:
        raise InvalidProblem(f"row P[{_pair(worst, A, labels)}] sums to {sums[worst]:.12g}, not to 1")


def _pair(row: int, A: int, labels: Labels) -> str:
    s, a = divmod(row, A)
    return f"s={labels.state(s)}, a={labels.action(a)}"


def _normalised(x: Array, sums: Array, terms: int) -> Array:
    """Rows divided by their sums unless they already sum to 1 within rounding (so that reloading changes
    nothing)."""
    return x if np.abs(sums - 1).max() <= (terms + 2) * UNIT else x / sums


def stochastic(x: Balls) -> Balls:
    """Rows divided by their exact sums."""
    return x / x.sum(-1).reshape(*x.shape[:-1], 1)


def visibility(given: Any, m: int) -> tuple[tuple[int, ...], ...]:
    """Who sees which of m constraints; None: agent i sees constraint i."""
    if given is None:
        return tuple((j,) for j in range(m)) or ((),)
    if isinstance(given, np.ndarray) and given.dtype == bool:
        if given.ndim != 2 or given.shape[1] != m:
            raise InvalidProblem(f"visible has shape {given.shape}: expected (N, m) with m = {m}")
        given = [np.flatnonzero(row) for row in given]
    sets = tuple(tuple(sorted({int(j) for j in row})) for row in given)
    if not sets:
        raise InvalidProblem("visible is empty: at least one agent is needed")
    for i, seen in enumerate(sets):
        if m and not seen:
            raise InvalidProblem(f"agent {i} sees no constraint: every Gamma_i must be non-empty")
        for j in seen:
            if not 0 <= j < m:
                raise InvalidProblem(f"agent {i} sees constraint {j}, but there are {m} (0..{m - 1})")
    missing = set(range(m)) - {j for seen in sets for j in seen}
    if missing:
        raise InvalidProblem(
            f"constraint {min(missing)} is seen by no agent: the Gamma_i must cover all of them"
        )
    return sets
