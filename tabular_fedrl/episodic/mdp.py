r"""Finite-horizon MDPs.

An episode of H steps :math:`h = 0, \ldots, H-1` starts in :math:`s_0 \sim \rho`, collects
:math:`r_h(s_h, a_h)` and moves by :math:`P_h(\cdot|s_h, a_h)`; its return is the sum of the rewards,

.. math:: V^\pi(\rho) = E\Big[\sum_{h=0}^{H-1} r_h(s_h, a_h)\Big] .

Policies are time-dependent, tables ``(H, S, A)``, or stationary, ``(S, A)``. Objects are frozen, validated
once (a step is checked as the :class:`~tabular_fedrl.cmdp.CMDP` that it is) and hashable by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.frozen import Frozen
from tabular_fedrl.measured import Array

MOST_STEPS = 10_000
"""Steps of an episode, at most."""


class EpisodicMDP(Frozen):
    r"""A finite-horizon MDP.

    Parameters
    ----------
    P: transition kernel ``P[s, a, s']``, dense ``(S, A, S)``, or ``(H, S, A, S)`` where it changes with time.
    r: reward ``(S, A)`` or ``(H, S, A)``.
    rho: initial distribution ``(S,)``.
    H: the number of steps of an episode, at least 1.
    state_names, action_names: optional names, used in messages and plots.

    Raises
    ------
    InvalidProblem: with the step, the row and the number, if the data are not a finite-horizon MDP.
    """

    H: int
    _steps: tuple[CMDP, ...]
    """One model of a single step, or H of them where P or r changes with time."""
    _fixed_kernel: bool

    def __init__(
        self,
        P: Any,
        r: Any,
        rho: ArrayLike,
        H: Any,
        *,
        state_names: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
    ) -> None:
        names = {"state_names": state_names, "action_names": action_names}
        self._build(CMDP, P, r, rho, H, names)

    @classmethod
    def exact(cls, P: Any, r: Any, rho: Any, H: Any, **names: Any) -> EpisodicMDP:
        """The problem of exact rational data, as :meth:`CMDP.exact` takes them: P, r and rho become
        :class:`~tabular_fedrl.balls.Balls` with exactly stochastic rows."""
        problem = object.__new__(cls)
        problem._build(CMDP.exact, Balls.of(P), Balls.of(r), rho, H, names)
        return problem

    def _build(self, step: Callable[..., CMDP], P: Any, r: Any, rho: Any, H: Any, names: Any) -> None:
        count = _whole(H)
        if sp.issparse(P):
            raise InvalidProblem("P is sparse: a finite-horizon problem holds its kernel dense")
        kernels, rewards = _by_step("P", P, 3, count), _by_step("r", r, 2, count)
        none = np.zeros(0)
        steps = []
        for h in range(max(len(kernels), len(rewards))):
            kernel, reward = kernels[min(h, len(kernels) - 1)], rewards[min(h, len(rewards) - 1)]
            try:
                steps.append(step(kernel, reward, np.zeros((0, *reward.shape)), none, rho, 0.0, **names))
            except InvalidProblem as error:
                raise InvalidProblem(f"step {h}: {error}" if h else str(error)) from None
        fixed = len(kernels) == 1
        self.__dict__.update(H=count, _steps=tuple(steps), _fixed_kernel=fixed)

    # ---- data -------------------------------------------------------------------------------------------
    @property
    def P(self) -> Any:
        """The kernel ``(H, S, A, S)``, read-only; one copy serves all steps where it does not change."""
        models = self._steps[:1] if self._fixed_kernel else self._steps
        return self._remember("P", lambda: _every_step([m.P for m in models], self.H))

    @property
    def r(self) -> Any:
        """The reward ``(H, S, A)``, read-only."""
        return self._remember("r", lambda: _every_step([m.r for m in self._steps], self.H))

    @property
    def rho(self) -> Any:
        """The initial distribution ``(S,)``."""
        return self._steps[0].rho

    @property
    def S(self) -> int:
        return self._steps[0].S

    @property
    def A(self) -> int:
        return self._steps[0].A

    @property
    def state_names(self) -> tuple[str, ...] | None:
        return self._steps[0].state_names

    @property
    def action_names(self) -> tuple[str, ...] | None:
        return self._steps[0].action_names

    @property
    def is_stationary(self) -> bool:
        """Whether P and r were given as the same for all steps."""
        return len(self._steps) == 1

    @property
    def is_exact(self) -> bool:
        """Whether the data are exact rationals."""
        return self._steps[0].is_exact

    @property
    def row_error(self) -> float:
        """Bound on ``|sum of a row - 1|`` over the rows of P and rho (see :attr:`CMDP.row_error`)."""
        return max(m.row_error for m in self._steps)

    def floats(self) -> EpisodicMDP:
        """The problem itself, or the nearest one in floats if it is exact."""
        return self if not self.is_exact else self._remember("floats", self._nearest)

    def _nearest(self) -> EpisodicMDP:
        fields = self.fields()
        return EpisodicMDP(**(fields | {key: fields[key].value for key in ("P", "r", "rho")}))

    def fields(self) -> dict[str, Any]:
        """What the constructors take, by name; P or r that does not change with time without a step axis."""
        return {
            "P": self._steps[0].P if self._fixed_kernel else self.P,
            "r": self._steps[0].r if self.is_stationary else self.r,
            "rho": self.rho,
            "H": self.H,
            "state_names": self.state_names,
            "action_names": self.action_names,
        }

    def replace(self, **changes: Any) -> EpisodicMDP:
        """A copy with some of ``P, r, rho, H, state_names, action_names`` exchanged."""
        fields = self.fields()
        unknown = sorted(set(changes) - set(fields))
        if unknown:
            raise InvalidProblem(
                f"an EpisodicMDP has no field {unknown[0]!r}; its fields are {', '.join(fields)}"
            )
        build = EpisodicMDP.exact if self.is_exact else EpisodicMDP
        return build(**(fields | changes))

    # ---- identity ---------------------------------------------------------------------------------------
    @property
    def digest(self) -> str:
        # The same whether data that do not change were given once or for every step.
        def compute() -> str:
            h = hashlib.sha256(f"episodic {self.S} {self.A} {self.H}".encode())
            for x in (self.rho, *(part for pair in zip(self.P, self.r) for part in pair)):
                if isinstance(x, Balls):
                    h.update(" ".join(map(str, x.items.ravel())).encode())
                else:
                    h.update(np.ascontiguousarray(x).data)
            return h.hexdigest()

        return self._remember("digest", compute)

    def __repr__(self) -> str:
        kind = "the same at every step" if self.is_stationary else "time-dependent"
        return f"EpisodicMDP(S={self.S}, A={self.A}, H={self.H}, {kind})"


def _whole(H: Any) -> int:
    try:
        value = float(H)
    except (TypeError, ValueError):
        raise InvalidProblem(f"H = {H!r} is not a number") from None
    if not value.is_integer() or value < 1:
        raise InvalidProblem(f"H = {value:g}: an episode has a whole number of steps, at least 1")
    if value > MOST_STEPS:
        raise InvalidProblem(f"H = {value:g} is over the limit of {MOST_STEPS} steps")
    return int(value)


def _by_step(name: str, x: Any, ndim: int, H: int) -> Any:
    """``x`` with a leading axis of steps, of length 1 if it does not change with time."""
    if not isinstance(x, Balls):
        try:
            x = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidProblem(f"{name} is not an array of numbers: {error}") from None
    if x.ndim == ndim:
        return x[None]
    if x.ndim != ndim + 1:
        raise InvalidProblem(
            f"{name} has {x.ndim} dimensions (shape {x.shape}): expected {ndim}, or a step axis before them"
        )
    if len(x) != H:
        raise InvalidProblem(f"{name} has {len(x)} steps (shape {x.shape}) but H = {H}")
    return x


def _every_step(tables: list[Any], H: int) -> Any:
    """``(H, ...)``, read-only, from the table of all steps or those of each."""
    if len(tables) > 1:
        return stacked(tables)
    table = tables[0]
    if isinstance(table, Balls):
        return Balls._wrap(np.broadcast_to(table.items, (H, *table.shape)))
    return np.broadcast_to(table, (H, *table.shape))


def stacked(tables: list[Any]) -> Any:
    """Along a new first axis, read-only."""
    if isinstance(tables[0], Balls):
        return Balls(tables)
    out: Array = np.stack(tables)
    out.setflags(write=False)
    return out
