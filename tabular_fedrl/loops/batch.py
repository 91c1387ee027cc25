"""Many small problems of one shape, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Array
from tabular_fedrl.validation import ROW_TOLERANCE

Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

FIELDS = ("P", "r", "c", "d", "rho", "gamma")
"""The arrays of a :class:`Batch` that have one entry for each problem."""


@dataclass(frozen=True)
class Batch:
    r"""B dense federated CMDPs that share S, A, m and who sees what.

    Parameters
    ----------
    P: kernels ``(B, S, A, S)``; rows that do not sum to 1 within rounding are divided by their sums.
    r: rewards ``(B, S, A)``. c: costs ``(B, m, S, A)``. d: thresholds ``(B, m)``.
    rho: initial distributions ``(B, S)``, normalised like the rows of P. gamma: discounts ``(B,)``.
    mask: who sees what, boolean ``(N, m)``; every agent sees a constraint and every constraint is seen
        (any N when m = 0).

    Raises
    ------
    InvalidProblem: with the place and the number, if the arrays do not fit together or are not CMDPs.
    """

    P: Array
    r: Array
    c: Array
    d: Array
    rho: Array
    gamma: Array
    mask: Mask

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in FIELDS:
            set_(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        set_(self, "mask", np.ascontiguousarray(self.mask, dtype=bool))
        if self.r.ndim != 3 or self.d.ndim != 2 or self.mask.ndim != 2 or 0 in self.r.shape:
            raise InvalidProblem(
                f"r has shape {self.r.shape}, d {self.d.shape}, mask {self.mask.shape}: expected (B, S, A), "
                "(B, m), (N, m) with at least one problem, state and action"
            )
        B, S, A, m, N = self.B, self.S, self.A, self.m, self.N
        shapes = {"P": (B, S, A, S), "c": (B, m, S, A), "d": (B, m), "rho": (B, S), "gamma": (B,)}
        for name, shape in {**shapes, "mask": (N, m)}.items():
            if getattr(self, name).shape != shape:
                raise InvalidProblem(f"{name} has shape {getattr(self, name).shape}: expected {shape}")
        if N == 0 or not (self.mask.any(axis=0).all() and (m == 0 or self.mask.any(axis=1).all())):
            raise InvalidProblem(
                f"mask = {self.mask.tolist()}: every agent must see a constraint and every constraint be seen"
            )
        for name in ("r", "c", "d"):
            _refuse(name, getattr(self, name), ~np.isfinite(getattr(self, name)), "not finite")
        _refuse("gamma", self.gamma, ~((self.gamma >= 0) & (self.gamma < 1)), "outside [0, 1)")
        for name in ("P", "rho"):
            set_(self, name, _laws(name, getattr(self, name)))

    @property
    def B(self) -> int:
        """Number of problems."""
        return self.r.shape[0]

    @property
    def S(self) -> int:
        return self.r.shape[1]

    @property
    def A(self) -> int:
        return self.r.shape[2]

    @property
    def m(self) -> int:
        return self.d.shape[1]

    @property
    def N(self) -> int:
        """Number of agents."""
        return self.mask.shape[0]

    def __len__(self) -> int:
        return self.B

    @property
    def signals(self) -> Array:
        """Reward and costs stacked: ``(B, 1+m, S, A)``, the reward first."""
        return np.concatenate([self.r[:, None], self.c], axis=1)

    @property
    def spans(self) -> Array:
        """``max - min`` of every signal, ``(B, 1+m)``, the reward first."""
        return np.asarray(np.ptp(self.signals, axis=(2, 3)))

    def problem(self, i: int) -> FederatedCMDP:
        """Problem i on its own."""
        cmdp = CMDP(self.P[i], self.r[i], self.c[i], self.d[i], self.rho[i], float(self.gamma[i]))
        return FederatedCMDP(cmdp, self.mask if self.m else [()] * self.N)

    def central(self) -> Batch:
        """The same problems with one agent that sees everything: FedNPG is then NPG-PD."""
        return replace(self, mask=np.ones((1, self.m), dtype=bool))

    def take(self, chosen: Any) -> Batch:
        """The problems of an index array, a slice or a boolean array, in that order."""
        fields = {name: getattr(self, name)[chosen] for name in FIELDS}
        return Batch(**fields, mask=self.mask)

    @classmethod
    def of(cls, problems: Sequence[FederatedCMDP]) -> Batch:
        """Problems of one shape (dense or sparse, stored dense; none exact) with the same Gamma_i."""
        first = check_alike(problems)
        cmdps = [problem.cmdp for problem in problems]
        S, A = first.cmdp.S, first.cmdp.A
        dense = [(x.P.toarray() if x.is_sparse else x.P).reshape(S, A, S) for x in cmdps]
        fields = {name: np.stack([getattr(x, name) for x in cmdps]) for name in FIELDS[1:]}
        return cls(P=np.stack(dense), **fields, mask=first.mask)


def check_alike(problems: Sequence[FederatedCMDP]) -> FederatedCMDP:
    """The first of them; refuses none, exact ones, and ones that differ in S, A, m or the sets Gamma_i."""
    if not problems:
        raise InvalidProblem("a batch needs at least one problem")
    first = problems[0]
    for i, problem in enumerate(problems):
        if problem.cmdp.is_exact:
            raise InvalidProblem(f"problem {i} of the batch has exact numbers: loops over many take floats")
        if problem.cmdp.c.shape != first.cmdp.c.shape or problem.visible != first.visible:
            raise InvalidProblem(
                f"problem {i} of the batch has (m, S, A) = {problem.cmdp.c.shape} and visible "
                f"{problem.visible}; the first has {first.cmdp.c.shape} and {first.visible}"
            )
    return first


def _refuse(name: str, x: Array, bad: Any, what: str) -> None:
    """Name the first bad entry."""
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidProblem(f"{name}[{', '.join(map(str, place))}] = {x[place]:g} is {what}")


def _laws(name: str, x: Array) -> Array:
    """Rows along the last axis, checked as :class:`CMDP` does; those off by more than rounding are
    normalised."""
    _refuse(name, x, ~((x >= 0) & (x <= 1 + ROW_TOLERANCE)), "not a probability")
    sums = x.sum(axis=-1, keepdims=True)
    off = np.abs(sums - 1)
    if (off > ROW_TOLERANCE).any():
        place = tuple(int(i) for i in np.argwhere(off[..., 0] > ROW_TOLERANCE)[0])
        row = ", ".join(map(str, place))
        raise InvalidProblem(f"row {name}[{row}] sums to {sums[place][0]:.12g}, not to 1")
    return np.where(off <= (x.shape[-1] + 2) * UNIT, x, x / sums)
