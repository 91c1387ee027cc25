"""What a source gives before overrides fill its gaps, and how a kernel is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP, MOST_EXACT_STATES, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.validation import Kernel

DENSE_ENTRIES = 2_000_000
"""Kernels with at most this many entries S*A*S are stored dense, larger ones sparse."""


@dataclass(frozen=True)
class Draft:
    """The parts of a problem as far as its source names them; None where it is silent.

    ``origin``: how messages call the source. ``P``: dense ``(S, A, S)`` or sparse ``(S*A, S)``; ``r``: ``(S,
    A)``; ``c``: ``(m, S, A)``. Arrays hold floats, or rationals (dtype object) where a source is read
    exactly. ``notes``: sentences for the user about choices made on the way.
    """

    origin: str
    P: Kernel
    r: Array
    c: Array
    d: Array | None = None
    rho: Array | None = None
    gamma: float | Fraction | None = None
    visible: Any = None
    state_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, origin: str, problem: CMDP | FederatedCMDP, notes: tuple[str, ...] = ()) -> Draft:
        """A draft with nothing missing."""
        cmdp, visible = (
            (problem.cmdp, problem.visible) if isinstance(problem, FederatedCMDP) else (problem, None)
        )
        names = (cmdp.state_names, cmdp.action_names)
        return cls(
            origin, cmdp.P, cmdp.r, cmdp.c, cmdp.d, cmdp.rho, cmdp.gamma, visible, *names, notes
        )  # fmt: skip

    def problem(self, exact: bool = False) -> FederatedCMDP:
        """The problem of a draft with nothing missing, in floats or in exact rationals.

        Raises
        ------
        InvalidProblem: naming the source; more than exact arithmetic takes.
        """
        P = self.P
        if exact:
            S, A = self.r.shape
            limit_exact(self.origin, S, A)
            if sp.issparse(P):
                P = densified(self.origin, P.data.tolist(), P.indices, P.indptr, S, A)
        fields: Any = (P, self.r, self.c, self.d, self.rho, self.gamma)
        names: Any = {"state_names": self.state_names, "action_names": self.action_names}
        try:
            return FederatedCMDP((CMDP.exact if exact else CMDP)(*fields, **names), self.visible)
        except InvalidProblem as error:
            raise InvalidProblem(f"{self.origin}: {error}") from None


def stored(rows: sp.csr_array, A: int) -> Kernel:
    """The kernel with rows ``(S*A, S)`` as :class:`CMDP` should hold it: dense ``(S, A, S)`` when small."""
    S = rows.shape[1]
    return rows.toarray().reshape(S, A, S) if S * A * S <= DENSE_ENTRIES else rows


def densified(
    origin: str, data: Iterable[Any], indices: Iterable[int], indptr: Iterable[int], S: int, A: int
) -> Any:
    """A CSR kernel as the dense table ``(S, A, S)`` of its numbers, exactly (dtype object).

    Raises
    ------
    InvalidProblem: larger than exact problems may be.
    """
    limit_exact(origin, S, A)
    table = np.zeros((S * A, S), dtype=object)
    ends = list(indptr)
    row = 0
    for k, (x, s) in enumerate(zip(data, indices)):
        while k >= ends[row + 1]:
            row += 1
        table[row, s] += Fraction(x)
    return table.reshape(S, A, S)


def limit_exact(origin: str, S: int, A: int) -> None:
    """Refuse what is too large for a dense table of rationals."""
    if S > MOST_EXACT_STATES or S * A * S > DENSE_ENTRIES:
        raise InvalidProblem(
            f"{origin}: {S} states and {A} actions, but exact arithmetic ends at {MOST_EXACT_STATES} states "
            f"and {DENSE_ENTRIES} entries of P"
        )


def point_mass(S: int, s: int) -> Array:
    """The initial distribution that starts in state s."""
    rho = np.zeros(S)
    rho[s] = 1.0
    return rho
