r"""The vocabulary: constrained MDPs, and who sees which constraint.

A tabular CMDP is :math:`(S, A, P, r, c_1..c_m, d_1..d_m, \rho, \gamma)`. The objective is

.. math:: \max_\pi V_r^\pi(\rho) \quad\text{subject to}\quad V_{c_j}^\pi(\rho) \le d_j, \qquad
          V_f^\pi(\rho) = E\Big[\sum_{t \ge 0} \gamma^t f(s_t, a_t)\Big],

reward up, costs from above, values unnormalised. Objects are frozen, validated once, and hashable by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tabular_fedrl import validation
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.frozen import Frozen
from tabular_fedrl.measured import UNIT, Array
from tabular_fedrl.validation import Kernel, Labels, frozen

MOST_EXACT_STATES = 300
"""States up to which a problem is read exactly (its kernel is held as a dense array of rationals)."""

ROWS = 1 << 16
"""Rows of P that are added up at once: beside them SciPy makes several numbers for each."""


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
    state_names: tuple[str, ...] | None
    action_names: tuple[str, ...] | None

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
        set_(self, "r", validation.numbers("r", r, 2))
        S, A = self.r.shape
        if S == 0 or A == 0:
            raise InvalidProblem(f"r has shape {self.r.shape}: at least one state and one action are needed")
        set_(self, "state_names", validation.names("state_names", state_names, S))
        set_(self, "action_names", validation.names("action_names", action_names, A))
        d_ = validation.numbers("d", d, 1)
        c_ = np.asarray(c, dtype=np.float64)
        c_ = validation.numbers("c", c_.reshape(0, S, A) if c_.size == 0 else c_, 3)
        set_(self, "d", d_)
        set_(self, "gamma", validation.discount(gamma))
        if c_.shape != (d_.size, S, A):
            raise InvalidProblem(
                f"c has shape {c_.shape} but r says (S, A) = {(S, A)} and d holds {d_.size} thresholds: "
                f"expected {(d_.size, S, A)}"
            )
        # One array, of which r and c are views: a large problem is not held twice.
        signals = self._remember("signals", lambda: frozen(np.concatenate([self.r[None], c_])))
        set_(self, "r", signals[0])
        set_(self, "c", signals[1:])
        labels = Labels(self.state_names, self.action_names)
        set_(self, "rho", validation.distribution("rho", rho, S, labels))
        set_(self, "P", validation.kernel(P, S, A, labels))

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
            P=validation.stochastic(P.reshape(*shapes[0])),
            r=r.reshape(*shapes[1]),
            c=c.reshape(*shapes[2]),
            d=d,
            rho=validation.stochastic(rho),
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
        return self._remember("signals", lambda: frozen(concatenate([self.r[None], self.c])))

    @property
    def rows(self) -> Kernel:
        """The kernel with one row per state-action pair: ``(S*A, S)``."""
        return self.P if self.is_sparse else self.P.reshape(self.S * self.A, self.S)

    @property
    def row_error(self) -> float:
        """Bound on ``|sum of a row - 1|`` over the rows of P and rho, its own rounding included."""

        def compute() -> float:
            worst = abs(float(self.rho.sum()) - 1)
            for first in range(0, self.S * self.A, ROWS):
                worst = max(worst, float(np.abs(self._sums(first, first + ROWS) - 1).max()))
            return worst + (self.max_row + 2) * UNIT

        return self._remember("row_error", compute)

    def _sums(self, first: int, last: int) -> Array:
        """Sums of some rows of P, of which none is empty; nothing is copied."""
        if not self.is_sparse:
            return np.asarray(self.rows[first:last].sum(axis=1))
        starts = self.P.indptr[first : last + 1]
        data = self.P.data[starts[0] : starts[-1]]
        counts = np.diff(starts)
        if (counts == counts[0]).all():
            return np.asarray(np.einsum("ij->i", data.reshape(counts.size, -1)))
        return np.asarray(np.add.reduceat(data, starts[:-1] - starts[0]))

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
        P, rho = self.P.copy(), self.rho.copy()
        if not (self.is_exact or self.is_sparse):
            # Of small problems there are many copies, and what has been checked once need not be again.
            P, rho = (validation.remembered(frozen(x)) for x in (P, rho))
        return self.replace(P=P, r=self.r.copy(), c=self.c[keep].copy(), d=self.d[keep].copy(), rho=rho)

    @classmethod
    def from_utilities(
        cls, P: Any, r: ArrayLike, g: ArrayLike, b: ArrayLike, rho: ArrayLike, gamma: float, **names: Any
    ) -> CMDP:
        r"""A CMDP from constraints of the form :math:`V_{g_j} \ge b_j`: they enter as costs ``-g`` with
        thresholds ``-b``."""
        return cls(
            P, r, -np.asarray(g, dtype=np.float64), -np.asarray(b, dtype=np.float64), rho, gamma, **names
        )


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
        object.__setattr__(self, "visible", validation.visibility(visible, cmdp.m))

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
