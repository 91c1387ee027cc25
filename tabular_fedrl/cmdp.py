r"""The vocabulary: constrained MDPs, and who sees which constraint.

A tabular CMDP is :math:`(S, A, P, r, c_1..c_m, d_1..d_m, \rho, \gamma)`. The objective is

.. math:: \max_\pi V_r^\pi(\rho) \quad\text{subject to}\quad V_{c_j}^\pi(\rho) \le d_j, \qquad
          V_f^\pi(\rho) = E\Big[\sum_{t \ge 0} \gamma^t f(s_t, a_t)\Big],

reward up, costs from above, values unnormalised. Objects are frozen, validated once, and hashable by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.frozen import Frozen
from tabular_fedrl.measured import UNIT, Array

Kernel: TypeAlias = Any
"""A dense ``(S, A, S)`` float64 array or a ``scipy.sparse.csr_array`` ``(S*A, S)`` (SciPy carries no
types)."""

ROW_TOLERANCE = 1e-9
"""A row of P or rho whose sum is farther than this from 1 is refused; nearer ones are divided by their
sum."""

MOST_EXACT_STATES = 300
"""States up to which a problem is read exactly (its kernel is held as a dense array of rationals)."""


_checked: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Sparse kernels that a CMDP has checked and frozen, by identity: a changed copy shares them."""


class CMDP(Frozen):
    r"""A constrained MDP.

    Parameters
    ----------
    P: transition kernel ``P[s, a, s']``: dense ``(S, A, S)``, or a SciPy sparse matrix ``(S*A, S)`` whose row
        ``s*A + a`` is the law of the successor of ``(s, a)``.
    r: reward ``(S, A)``.
    c: costs ``(m, S, A)``; ``m = 0`` is an MDP.
    d: thresholds ``(m,)``, in units of value.
    rho: initial distribution ``(S,)``.
    gamma: discount, ``0 <= gamma < 1``.
    state_names, action_names: optional names, used in messages and plots.

    Raises
    ------
    InvalidProblem: with the row and the number, if the data are not a CMDP.
    """

    P: Kernel
    r: Array
    c: Array
    d: Array
    rho: Array
    gamma: float

    def __init__(
        self,
        P: Any,
        r: ArrayLike,
        c: ArrayLike,
        d: ArrayLike,
        rho: ArrayLike,
        gamma: float,
        *,
        state_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
    ) -> None:
        set_ = object.__setattr__
        set_(self, "r", _array("r", r, 2))
        S, A = self.r.shape
        if S == 0 or A == 0:
            raise InvalidProblem(f"r has shape {self.r.shape}: at least one state and one action are needed")
        set_(self, "state_names", _names("state_names", state_names, S))
        set_(self, "action_names", _names("action_names", action_names, A))
        d_ = _array("d", d, 1)
        c_ = np.asarray(c, dtype=np.float64)
        set_(self, "c", _array("c", c_.reshape(0, S, A) if c_.size == 0 else c_, 3))
        set_(self, "d", d_)
        set_(self, "gamma", _gamma(gamma))
        if self.c.shape != (d_.size, S, A):
            raise InvalidProblem(
                f"c has shape {self.c.shape} but r says (S, A) = {(S, A)} and d holds {d_.size} thresholds: "
                f"expected {(d_.size, S, A)}"
            )
        # One array, of which r and c are views: a large problem is not held twice.
        signals = self._remember("signals", lambda: _frozen(np.concatenate([self.r[None], self.c])))
        set_(self, "r", signals[0])
        set_(self, "c", signals[1:])
        set_(self, "rho", self._rho(rho))
        set_(self, "P", self._kernel(P))

    @classmethod
    def exact(cls, P: Any, r: Any, c: Any, d: Any, rho: Any, gamma: Any, **names: Any) -> CMDP:
        """The CMDP of exact rational data: arrays and gamma become :class:`~tabular_fedrl.balls.Balls`.

        Numbers may be ``fmpq``, ints, Fractions or floats (their binary values); every row of P and rho is
        divided by its exact sum, so that rows are exactly stochastic. Dense P only. Errors as for the
        constructor.
        """
        fields = [Balls.of(x) for x in (P, r, c, d, rho, gamma)]
        # One set of checks, with one set of messages: those of the nearest floats.
        floats: list[Any] = [x.value for x in fields]
        nearest = cls(*floats, **names)
        P, r, c, d, rho, gamma = fields
        # A negative number next to nothing is 0 among the floats.
        for name, x in (("P", P), ("rho", rho), ("gamma", gamma)):
            if (x < 0).any():
                place = ", ".join(str(int(i)) for i in np.argwhere(x < 0)[0])
                raise InvalidProblem(f"{name}{f'[{place}]' if place else ''} is negative")
        exact = object.__new__(cls)
        shapes = nearest.P.shape, nearest.r.shape, nearest.c.shape
        exact.__dict__.update(
            P=_stochastic(P.reshape(*shapes[0])),
            r=r.reshape(*shapes[1]),
            c=c.reshape(*shapes[2]),
            d=d,
            rho=_stochastic(rho),
            gamma=gamma,
            state_names=nearest.state_names,
            action_names=nearest.action_names,
        )
        return exact

    @property
    def is_exact(self) -> bool:
        """Whether the data are exact rationals."""
        return isinstance(self.r, Balls)

    def floats(self) -> CMDP:
        """The problem itself, or the nearest one in floats if it is exact."""
        if not self.is_exact:
            return self
        fields: list[Any] = [self.P, self.r, self.c, self.d, self.rho, self.gamma]
        names: Any = {"state_names": self.state_names, "action_names": self.action_names}
        return self._remember("floats", lambda: CMDP(*(x.value for x in fields), **names))

    # ---- sizes ------------------------------------------------------------------------------------------
    @property
    def S(self) -> int:
        return self.r.shape[0]

    @property
    def A(self) -> int:
        return self.r.shape[1]

    @property
    def m(self) -> int:
        return self.d.size

    @property
    def is_sparse(self) -> bool:
        return sp.issparse(self.P)

    @property
    def horizon(self) -> float:
        """``1/(1-gamma)``, the effective horizon."""
        return 1.0 / (1.0 - self.gamma)

    # ---- derived data -----------------------------------------------------------------------------------
    @property
    def signals(self) -> Array:
        """Reward and costs stacked: ``(1+m, S, A)``, the reward first."""
        return self._remember("signals", lambda: _frozen(concatenate([self.r[None], self.c])))

    @property
    def rows(self) -> Kernel:
        """The kernel with one row per state-action pair: ``(S*A, S)``."""
        return self.P if self.is_sparse else self.P.reshape(self.S * self.A, self.S)

    @property
    def row_error(self) -> float:
        """Bound on ``|sum of a row - 1|`` over the rows of P and rho, its own rounding included."""

        def compute() -> float:
            sums = np.asarray(self.rows.sum(axis=1)).ravel()
            worst = max(float(np.abs(sums - 1).max()), abs(float(self.rho.sum()) - 1))
            return worst + (self.max_row + 2) * UNIT

        return self._remember("row_error", compute)

    @property
    def max_row(self) -> int:
        """The largest number of successors of a state-action pair (stored ones, if P is sparse)."""

        def compute() -> int:
            counts = np.diff(self.P.indptr) if self.is_sparse else np.count_nonzero(self.P, axis=2)
            return int(counts.max(initial=1))

        return self._remember("max_row", compute)

    # ---- identity ---------------------------------------------------------------------------------------
    @property
    def digest(self) -> str:
        """SHA-256 of the content (names excluded), as hexadecimal text."""

        def compute() -> str:
            h = hashlib.sha256(f"cmdp {self.S} {self.A} {self.m} {self.gamma!r} {self.is_sparse}".encode())
            if self.is_exact:
                fields: list[Any] = [self.P, self.r, self.c, self.d, self.rho]
                for x in fields:
                    h.update(" ".join(map(str, x.items.ravel())).encode())
                return h.hexdigest()
            kernel = (self.P.data, self.P.indices, self.P.indptr) if self.is_sparse else (self.P,)
            for x in (*kernel, self.r, self.c, self.d, self.rho):
                h.update(np.ascontiguousarray(x).data)
            return h.hexdigest()

        return self._remember("digest", compute)

    def __repr__(self) -> str:
        kind = f"sparse P, {self.P.nnz} entries" if self.is_sparse else "dense P"
        return f"CMDP(S={self.S}, A={self.A}, m={self.m}, gamma={self.gamma}, {kind})"

    def replace(self, **changes: Any) -> CMDP:
        """A copy with some of ``P, r, c, d, rho, gamma, state_names, action_names`` exchanged."""
        fields = ("P", "r", "c", "d", "rho", "gamma", "state_names", "action_names")
        unknown = set(changes) - set(fields)
        if unknown:
            raise InvalidProblem(
                f"a CMDP has no field {sorted(unknown)[0]!r}; its fields are {', '.join(fields)}"
            )
        build = CMDP.exact if self.is_exact else CMDP
        return build(**{f: changes.get(f, getattr(self, f)) for f in fields})

    def only(self, constraints: Sequence[int]) -> CMDP:
        """The problem with just these constraints, the data copied (nothing else stays reachable)."""
        keep = list(constraints)
        return self.replace(
            P=self.P.copy(),
            r=self.r.copy(),
            c=self.c[keep].copy(),
            d=self.d[keep].copy(),
            rho=self.rho.copy(),
        )

    @classmethod
    def from_utilities(
        cls, P: Any, r: ArrayLike, g: ArrayLike, b: ArrayLike, rho: ArrayLike, gamma: float, **names: Any
    ) -> CMDP:
        r"""A CMDP from constraints of the form :math:`V_{g_j} \ge b_j`: they enter as costs ``-g`` with
        thresholds ``-b``."""
        return cls(
            P, r, -np.asarray(g, dtype=np.float64), -np.asarray(b, dtype=np.float64), rho, gamma, **names
        )

    # ---- validation -------------------------------------------------------------------------------------
    def _rho(self, rho: ArrayLike) -> Array:
        x = _array("rho", rho, 1)
        if x.size != self.S:
            raise InvalidProblem(f"rho has {x.size} entries but there are {self.S} states")
        if (x < 0).any():
            s = int(np.argmin(x))
            raise InvalidProblem(f"rho[{self._state(s)}] = {x[s]:g} is negative")
        total = float(x.sum())
        if abs(total - 1) > ROW_TOLERANCE:
            raise InvalidProblem(f"rho sums to {total:.12g}, not to 1")
        return _frozen(_normalise(x, np.asarray(total), self.S))

    def _kernel(self, P: Any) -> Kernel:
        S, A = self.S, self.A
        shared = _checked.get(id(P))
        if shared is not None and shared is P and shared.shape == (S * A, S):
            return shared
        if sp.issparse(P):
            if P.shape != (S * A, S):
                raise InvalidProblem(f"sparse P has shape {P.shape}: expected (S*A, S) = {(S * A, S)}")
            rows = sp.csr_array(P, dtype=np.float64, copy=True)
            rows.sum_duplicates()
            if max(rows.nnz, S) <= np.iinfo(np.int32).max:
                rows.indices, rows.indptr = (
                    x.astype(np.int32, copy=False) for x in (rows.indices, rows.indptr)
                )
            data = rows.data
        else:
            rows = np.array(_array("P", P, 3))
            if rows.shape != (S, A, S):
                raise InvalidProblem(f"P has shape {rows.shape}: expected (S, A, S) = {(S, A, S)}")
            data = rows
        flat = rows if sp.issparse(rows) else rows.reshape(S * A, S)
        if not (data >= 0).all() or not np.isfinite(data).all():
            bad = ~np.isfinite(data) | (data < 0)
            place = int(np.flatnonzero(bad.ravel())[0])
            if sp.issparse(rows):
                row = int(np.searchsorted(rows.indptr, place, side="right")) - 1
                successor = int(rows.indices[place])
            else:
                row, successor = divmod(place, S)
            what = "negative" if np.isfinite(data.ravel()[place]) else "not finite"
            raise InvalidProblem(
                f"P[{self._pair(row)}, s'={self._state(successor)}] = {data.ravel()[place]:g} is {what}"
            )
        sums = np.asarray(flat.sum(axis=1)).ravel()
        worst = int(np.argmax(np.abs(sums - 1)))
        if abs(sums[worst] - 1) > ROW_TOLERANCE:
            raise InvalidProblem(f"row P[{self._pair(worst)}] sums to {sums[worst]:.12g}, not to 1")
        if sp.issparse(rows):
            width = np.diff(rows.indptr)
            if np.abs(sums - 1).max() > (int(width.max(initial=0)) + 2) * UNIT:
                rows.data /= np.repeat(sums, width)
            for x in (rows.data, rows.indices, rows.indptr):
                x.setflags(write=False)
            _checked[id(rows)] = rows
            return rows
        return _frozen(_normalise(rows, sums.reshape(S, A, 1), S))

    def _state(self, s: int) -> str:
        names = self.state_names
        return f"{s} ({names[s]})" if names else str(s)

    def _pair(self, row: int) -> str:
        s, a = divmod(row, self.A)
        names = self.action_names
        return f"s={self._state(s)}, a={a}" + (f" ({names[a]})" if names else "")

    state_names: tuple[str, ...] | None
    action_names: tuple[str, ...] | None


class FederatedCMDP:
    r"""A CMDP shared by N agents; agent i observes only the constraints in :math:`\Gamma_i`.

    Parameters
    ----------
    cmdp: the common problem.
    visible: ``visible[i]`` lists the constraint indices of agent i (0-based), or a boolean array ``(N, m)``.
        Default: agent i sees constraint i (N = m; one agent when m = 0). The sets must cover all constraints,
        and each must be non-empty when m > 0. Overlap is allowed.
    """

    cmdp: CMDP
    visible: tuple[tuple[int, ...], ...]

    def __init__(self, cmdp: CMDP, visible: Sequence[Sequence[int]] | Any | None = None) -> None:
        object.__setattr__(self, "cmdp", cmdp)
        object.__setattr__(self, "visible", _visible(visible, cmdp.m))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a FederatedCMDP is frozen: cannot set {name!r}")

    @property
    def N(self) -> int:
        """Number of agents."""
        return len(self.visible)

    @property
    def pairs(self) -> int:
        r""":math:`M = \sum_i |\Gamma_i|`."""
        return sum(len(g) for g in self.visible)

    @property
    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Boolean ``(N, m)``: who sees what."""
        mask = np.zeros((self.N, self.cmdp.m), dtype=bool)
        for i, seen in enumerate(self.visible):
            mask[i, list(seen)] = True
        return mask

    @property
    def observers(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """``n_j``: the number of agents that see constraint j, ``(m,)``."""
        return self.mask.sum(axis=0)

    def view(self, agent: int) -> CMDP:
        """What agent i may hold: the common model with its own constraints only (data copied)."""
        return self.cmdp.only(self.visible[agent])

    def __hash__(self) -> int:
        return hash((self.cmdp, self.visible))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FederatedCMDP) and self.cmdp == other.cmdp and self.visible == other.visible

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"FederatedCMDP({self.cmdp!r}, visible={self.visible})"


def federated(problem: CMDP | FederatedCMDP) -> FederatedCMDP:
    """``problem`` itself, or a CMDP with agent i seeing constraint i."""
    return problem if isinstance(problem, FederatedCMDP) else FederatedCMDP(problem)


def exact(problem: CMDP | FederatedCMDP) -> FederatedCMDP:
    """The problem with its floats read exactly (see :meth:`CMDP.exact`); an exact one is returned as it is.

    Raises
    ------
    InvalidProblem: more than :data:`MOST_EXACT_STATES` states.
    """
    given = federated(problem)
    cmdp = given.cmdp
    if cmdp.is_exact:
        return given
    if cmdp.S > MOST_EXACT_STATES:
        raise InvalidProblem(
            f"{cmdp.S} states: exact arithmetic is for problems of at most {MOST_EXACT_STATES} states"
        )
    P = cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S) if cmdp.is_sparse else cmdp.P
    names = {"state_names": cmdp.state_names, "action_names": cmdp.action_names}
    rational = CMDP.exact(P, cmdp.r, cmdp.c, cmdp.d, cmdp.rho, cmdp.gamma, **names)
    return FederatedCMDP(rational, given.visible)


def _stochastic(x: Balls) -> Balls:
    """Rows divided by their exact sums."""
    return x / x.sum(-1).reshape(*x.shape[:-1], 1)


def _frozen(x: Any) -> Any:
    if isinstance(x, Balls):
        x.items.setflags(write=False)
        return x
    x = np.ascontiguousarray(x)
    x.setflags(write=False)
    return x


def _array(name: str, x: ArrayLike, ndim: int) -> Array:
    try:
        out = np.array(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidProblem(f"{name} is not an array of numbers: {error}") from None
    if out.ndim != ndim:
        raise InvalidProblem(f"{name} has {out.ndim} dimensions (shape {out.shape}): expected {ndim}")
    if name != "P" and not np.isfinite(out).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise InvalidProblem(f"{name}[{', '.join(map(str, place))}] = {out[place]} is not finite")
    return _frozen(out)


def _gamma(gamma: Any) -> float:
    try:
        value = float(gamma)
    except (TypeError, ValueError):
        raise InvalidProblem(f"gamma = {gamma!r} is not a number") from None
    if not 0 <= value < 1:
        raise InvalidProblem(f"gamma = {value:g} is outside [0, 1)")
    return value


def _names(what: str, names: Sequence[str] | None, size: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    if len(names) != size:
        raise InvalidProblem(f"{what} holds {len(names)} names for {size}")
    return tuple(str(n) for n in names)


def _normalise(x: Array, sums: Array, terms: int) -> Array:
    """Divide rows by their sums unless they already sum to 1 within rounding (so that reloading changes
    nothing)."""
    return x if np.abs(sums - 1).max() <= (terms + 2) * UNIT else x / sums


def _visible(visible: Any, m: int) -> tuple[tuple[int, ...], ...]:
    if visible is None:
        return tuple((j,) for j in range(m)) or ((),)
    if isinstance(visible, np.ndarray) and visible.dtype == bool:
        if visible.ndim != 2 or visible.shape[1] != m:
            raise InvalidProblem(f"visible has shape {visible.shape}: expected (N, m) with m = {m}")
        visible = [np.flatnonzero(row) for row in visible]
    sets = tuple(tuple(sorted({int(j) for j in row})) for row in visible)
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
