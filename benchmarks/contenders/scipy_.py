r"""Policy evaluation by SciPy: :math:`(I - \gamma P_\pi) V = r_\pi` from the same P and policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import bicgstab, splu

from benchmarks.contenders import Method, behaviour
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Array

ACCURACY = 1e-12
"""Relative residual asked of BiCGSTAB: about 1e-8 in the values at gamma = 0.99."""


def _fresh(problem: FederatedCMDP) -> tuple[CMDP, Array]:
    return problem.cmdp, np.exp(behaviour(problem.cmdp))


def _by(solver: Callable[[Any, Array], Array]) -> Callable[[tuple[CMDP, Array]], Array]:
    def solve(given: tuple[CMDP, Array]) -> Array:
        cmdp, pi = given
        S, A = cmdp.S, cmdp.A
        mean = sp.csr_array((pi.ravel(), np.arange(S * A), np.arange(0, S * A + 1, A)), shape=(S, S * A))
        return solver(sp.eye_array(S) - cmdp.gamma * (mean @ cmdp.rows), (pi * cmdp.r).sum(axis=1))

    return solve


def _lu(matrix: Any, right: Array) -> Array:
    return splu(matrix.tocsc()).solve(right)


def _bicgstab(matrix: Any, right: Array) -> Array:
    return bicgstab(matrix, right, rtol=ACCURACY, atol=0.0)[0]


LU = Method(_fresh, _by(_lu), lambda values: {"values": values})
KRYLOV = Method(_fresh, _by(_bicgstab), lambda values: {"values": values})
