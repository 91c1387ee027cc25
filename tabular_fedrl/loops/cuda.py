"""FedNPG on the CUDA device, one block of threads for each of many small problems: the twin of
:func:`tabular_fedrl.loops.fednpg`.

Import it only where a device is wanted: it imports CUDA.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.cuda import SIMULATED, cuda, require_device, small
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.totals import Iterated, Totals, averaged, checked

PIECE_BYTES = 1 << 31
"""Kernels of so many bytes are on the device at a time."""


def fednpg(
    batch: Batch,
    rounds: int,
    local_steps: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
    *,
    geometric: bool = False,
) -> Iterated:
    """FedNPG on every problem of the batch, with its own steps; arguments, result and errors as for
    :func:`tabular_fedrl.loops.fednpg`, and its numbers up to rounding.

    Raises
    ------
    InvalidProblem: more states and signals than a block's shared memory holds (S = 64 with m = 9 fits).
    NoDevice: CUDA cannot be used here.
    """
    steps = checked(batch, rounds, local_steps, eta, eta_dual, dual_cap)
    require_device()
    needed = small.shared_bytes(batch.S, 1 + batch.m)
    if needed > small.SHARED_BYTES:
        raise InvalidProblem(
            f"S = {batch.S} states with m = {batch.m} constraints take {needed} bytes of shared memory for "
            f"each problem, and a block has {small.SHARED_BYTES}"
        )
    size = max(1, PIECE_BYTES // batch.P[0].nbytes)
    given = (batch.P, batch.signals, batch.d, batch.rho, batch.gamma, *steps)
    pieces = [
        _piece(tuple(x[a : a + size] for x in given), batch.mask, rounds, local_steps, geometric)
        for a in range(0, batch.B, size)
    ]
    return averaged(batch.mask, rounds, local_steps, Totals(*(np.concatenate(x) for x in zip(*pieces))))


def threads(S: int) -> tuple[int, int]:
    """The rectangle of a block's threads for S states."""
    if SIMULATED:
        return 2, 2
    return (16, 4) if S <= 10 else (16, 8) if S <= 32 else (16, 16)


def _piece(
    given: tuple[np.ndarray, ...], mask: np.ndarray, rounds: int, local_steps: int, geometric: bool
) -> Totals:
    """The whole loop on some problems."""
    P, f = given[:2]
    (B, S, A), k, N = P.shape[:3], f.shape[1], len(mask)
    scratch = [cuda.device_array(shape) for shape in ((B, N, S, A), (B, S, A))]
    shapes = (B, S, A), (B, S, A), (B, N, k - 1), (B, k), (B, k), (B, S), (B, N, S), (B, N, k)
    found = [cuda.to_device(np.zeros(shape)) for shape in shapes]
    problem = [cuda.to_device(np.ascontiguousarray(x)) for x in given]
    small.fednpg(S, k, small.REGISTERS)[B, threads(S)](
        *problem, cuda.to_device(mask), rounds, local_steps, geometric, *scratch, *found
    )
    log_pibar, _, lam, shared, local, drift, step, value_drift = (x.copy_to_host() for x in found)
    return Totals(
        shared=shared,
        local=local,
        drift=drift.max(axis=-1),
        step=step.max(axis=-1),
        value_drift=value_drift,
        log_policy=log_pibar,
        multipliers=lam,
    )
