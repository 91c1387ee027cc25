"""What a source gives before overrides fill its gaps, and how a kernel is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, Kernel
from tabular_fedrl.measured import Array

DENSE_ENTRIES = 2_000_000
"""Kernels with at most this many entries S*A*S are stored dense, larger ones sparse."""


@dataclass(frozen=True)
class Draft:
    """The parts of a problem as far as its source names them; None where it is silent.

    ``origin``: how messages call the source. ``P``: dense ``(S, A, S)`` or sparse ``(S*A, S)``; ``r``: ``(S,
    A)``; ``c``: ``(m, S, A)``. ``notes``: sentences for the user about choices made on the way.
    """

    origin: str
    P: Kernel
    r: Array
    c: Array
    d: Array | None = None
    rho: Array | None = None
    gamma: float | None = None
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


def stored(rows: sp.csr_array, A: int) -> Kernel:
    """The kernel with rows ``(S*A, S)`` as :class:`CMDP` should hold it: dense ``(S, A, S)`` when small."""
    S = rows.shape[1]
    return rows.toarray().reshape(S, A, S) if S * A * S <= DENSE_ENTRIES else rows


def point_mass(S: int, s: int) -> Array:
    """The initial distribution that starts in state s."""
    rho = np.zeros(S)
    rho[s] = 1.0
    return rho
