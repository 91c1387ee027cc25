"""A sparse transition kernel on the device, and sweeps over it whatever the length of its rows.

``x, add, out`` of a policy's sweep are ``(S, k)``, tables ``(A, S)``, all on the device.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.cuda import BLOCK, TEAM, blocks, cuda, sweeps
from tabular_fedrl.measured import Array

PADDING = 1.25
"""Rows count as even while padding them to one width adds no more than a quarter."""

MOST_ENTRIES = 2**31 - 1
"""What 32-bit indices can name."""


class EvenRows:
    """Neighbour lists of one width: ``indices`` int32 and ``weights``, both ``(A, width, S)``."""

    def __init__(self, indices: Any, weights: Any) -> None:
        self.indices, self.weights = indices, weights
        self.A, self.width, self.S = indices.shape

    def policy(self, pi: Any, scale: float, x: Any, add: Any, out: Any) -> None:
        r"""``out = add + scale P_pi x``; ``out`` must not be ``x``."""
        kernel = sweeps.policy_sweep(out.shape[1], self.width)
        kernel[blocks(self.S), BLOCK](self.indices, self.weights, pi, scale, x, add, out)

    def means(self, x: Any, out: Any) -> None:
        """``out[a, s]``: the mean of ``x (S, 1)`` over the successors of (s, a)."""
        sweeps.row_sweep(self.width)[blocks(self.S), BLOCK](self.indices, self.weights, x, out)

    def greedy(self, f: Any, gamma: float, x: Any, margin: float, actions: Any, out: Any) -> None:
        """One optimal sweep, see :func:`tabular_fedrl.kernels.cuda.sweeps.greedy_sweep`."""
        kernel = sweeps.greedy_sweep(self.width)
        kernel[blocks(self.S), BLOCK](self.indices, self.weights, f, gamma, x, margin, actions, out)


class UnevenRows:
    """Compressed rows, action after action: row ``a*S + s`` is the law of the successor of (s, a)."""

    def __init__(self, starts: Any, indices: Any, weights: Any, A: int) -> None:
        self.starts, self.indices, self.weights = starts, indices, weights
        self.A, self.S = A, (starts.size - 1) // A
        self._scratch = cache(lambda k: cuda.device_array((A * self.S, k)))

    def sum(self, scale: float, x: Any, add: Any | None, out: Any) -> None:
        """``out = add + scale * (row sums of x)``, one for each row: ``(A*S, k)``; no ``add`` counts as 0."""
        kernel = sweeps.team_sweep(out.shape[1], add is not None)
        launch = kernel[-(-self.A * self.S // (BLOCK // TEAM)), BLOCK]
        launch(self.starts, self.indices, self.weights, scale, x, out if add is None else add, out)

    def policy(self, pi: Any, scale: float, x: Any, add: Any, out: Any) -> None:
        """As :meth:`EvenRows.policy`."""
        k = out.shape[1]
        rows = self._scratch(k)
        self.sum(1.0, x, None, rows)
        sweeps.policy_mean(k)[blocks(self.S), BLOCK](pi, scale, rows.reshape(self.A, self.S, k), add, out)

    def means(self, x: Any, out: Any) -> None:
        """As :meth:`EvenRows.means`."""
        self.sum(1.0, x, None, out.reshape(self.A * self.S, 1))

    def greedy(self, f: Any, gamma: float, x: Any, margin: float, actions: Any, out: Any) -> None:
        """As :meth:`EvenRows.greedy`."""
        rows = self._scratch(1)
        self.sum(1.0, x, None, rows)
        launch = sweeps.greedy_of_rows[blocks(self.S), BLOCK]
        launch(f, gamma, rows.reshape(self.A, self.S), margin, actions, out)


def upload(P: Any, storage: Any = np.float64) -> EvenRows | UnevenRows:
    """The rows of a CSR kernel ``(S*A, S)``, with weights of the type ``storage``."""
    rows, S = P.shape
    A = rows // S
    lengths = np.diff(P.indptr)
    width = int(lengths.max(initial=1))
    _refuse_large(max(width * rows, P.nnz))
    if width * rows > PADDING * P.nnz:
        order = np.arange(rows).reshape(S, A).T.ravel()
        by_action = P[order]
        return UnevenRows(
            cuda.to_device(by_action.indptr.astype(np.int32)),
            cuda.to_device(by_action.indices.astype(np.int32)),
            cuda.to_device(by_action.data.astype(storage)),
            A,
        )
    lists = [even(x, lengths, width).reshape(S, A, width) for x in (P.indices, P.data)]
    indices, weights = (np.ascontiguousarray(x.transpose(1, 2, 0)) for x in lists)
    return EvenRows(cuda.to_device(indices.astype(np.int32)), cuda.to_device(weights.astype(storage)))


def even(x: Array, lengths: Array, width: int) -> Array:
    """Compressed rows padded with zeros to one width: ``(rows, width)``; a view if nothing is to pad."""
    if x.size == lengths.size * width:
        return x.reshape(-1, width)
    table = np.zeros((lengths.size, width), dtype=x.dtype)
    table[np.arange(width) < lengths[:, None]] = x
    return table


def upload_transposed(P: Any, storage: Any = np.float64) -> UnevenRows:
    """Who leads to each state: row t lists the pairs ``a*S + s`` with a transition to t."""
    rows, S = P.shape
    A = rows // S
    _refuse_large(max(rows, P.nnz))
    columns = P.tocsc()
    s, a = np.divmod(columns.indices, A)
    return UnevenRows(
        cuda.to_device(columns.indptr.astype(np.int32)),
        cuda.to_device((a * S + s).astype(np.int32)),
        cuda.to_device(columns.data.astype(storage)),
        1,
    )


def _refuse_large(entries: int) -> None:
    if entries > MOST_ENTRIES:
        raise InvalidProblem(f"{entries} transitions: the CUDA kernels count up to {MOST_ENTRIES}")
