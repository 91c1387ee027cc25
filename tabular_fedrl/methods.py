r"""What the structure of a large sparse problem lets one do with its linear systems.

States that can be lined up so that successors stand near are eliminated; a scattered order is left for a
local one; rows of a policy that are quicker to sweep are made; and where a Krylov method may fail, it is
known when elimination is the better way after all. What is found is remembered by the problem.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.kernels import packed
from tabular_fedrl.kernels.sparse_rows import Rows, rows_of
from tabular_fedrl.kernels.structure import Line, line_up
from tabular_fedrl.measured import Array

ELIMINATION = 300
"""Elimination is preferred up to so many operations for each entry of P: it does away with as many passes
over P, at several operations a time."""

LAST_RESORT = 5e10
"""Operations that elimination may take where a Krylov method fails: half a minute."""

PER_PRODUCT = 25
"""A product of the Krylov method takes as long as so many operations of elimination for each state."""

SMALL_FACTOR = 8e6
"""Entries that the factor may have in any case; else it may take half the memory of P."""

MERGED = 1.5
r"""Rows of :math:`P_\pi` are merged where that leaves them shorter by this factor."""

HELD = 1 << 20
"""Entries of a policy's rows that may be held beside the vectors of what is solved with them."""

SAMPLE = 250
"""States from which that is estimated."""

SIDE_BY_SIDE = 1 << 20
"""Values of so many states and signals are found at once: they stay in the cache, as more would not, and
the vectors beside them take a quarter of the memory of a sparse kernel or less."""


def together(cmdp: CMDP) -> int:
    """Of how many signals the values of a policy ``(S, A)`` are best asked for at once: of all, where there
    is something to be prepared for them."""
    line = line_of(cmdp)
    quicker = line.width <= narrow(cmdp) or line.moved or _merged(cmdp) is not None
    return 1 + cmdp.m if quicker else side_by_side(cmdp)


def rows_to_sweep(cmdp: CMDP, policy: NDArray[Any]) -> tuple[Rows, Array | None]:
    """The rows to sweep. To pack a policy's takes no time beside what is done with them, but as much room as
    all the vectors: they are not held meanwhile."""
    rows = rows_of(cmdp)
    if policy.ndim == 1:
        return packed.policy_rows(rows, policy), None
    return rows, policy


def held(cmdp: CMDP, rows: Rows) -> bool:
    """Whether a policy's rows are held until they are swept again: where they are few, and will be swept
    rather than eliminated."""
    return rows.weights.size <= HELD and line_of(cmdp).width > narrow(cmdp)


def side_by_side(cmdp: CMDP) -> int:
    """Signals whose values a Krylov method finds at once."""
    return max(1, SIDE_BY_SIDE // cmdp.S)


def line_of(cmdp: CMDP) -> Line:
    """How the states of a problem are lined up."""
    return cmdp._remember("line", lambda: line_up(rows_of(cmdp), narrow(cmdp)))


def prepared(cmdp: CMDP, policy: NDArray[Any]) -> bool:
    """Whether a policy has rows that are quicker to sweep, or can be preconditioned."""
    line = line_of(cmdp)
    return line.moved or (line.slow if policy.ndim == 1 else _merged(cmdp) is not None)


def own_rows(cmdp: CMDP, policy: NDArray[Any]) -> bool:
    """Whether :func:`quick_rows` are the policy's own, as they stand in P."""
    return policy.ndim == 1 and not line_of(cmdp).moved


def quick_rows(cmdp: CMDP, policy: NDArray[Any]) -> Rows:
    r"""The rows of a policy that is :func:`prepared`: :math:`P_\pi` with A = 1, in the places of
    :func:`line_of` if those are moved."""
    line, rows = line_of(cmdp), rows_of(cmdp)
    if policy.ndim == 2 and (starts := _merged(cmdp)) is not None:
        rows, pi = packed.merged_rows(rows, policy, starts), None
    else:
        rows, pi = rows_to_sweep(cmdp, policy)
    return packed.moved_rows(rows, pi, line.order) if line.moved else rows


def _merged(cmdp: CMDP) -> NDArray[np.uint32] | None:
    return cmdp._remember("merged", lambda: _merging(rows_of(cmdp)))


def _merging(rows: Rows) -> NDArray[np.uint32] | None:
    """Where merged rows start, if they are enough shorter and not too many to be held."""
    sample = min(rows.S, SAMPLE)
    shorter = int(packed.merged_starts(rows, sample)[-1]) / sample
    if MERGED * shorter * rows.S > rows.weights.size or shorter * rows.S > SMALL_FACTOR:
        return None
    return packed.merged_starts(rows, rows.S)


def narrow(cmdp: CMDP) -> int:
    """The widest band that is eliminated: w places cost about w^2 operations and w numbers for each state."""
    entries = cmdp.P.nnz / cmdp.S
    room = max(SMALL_FACTOR / cmdp.S, 0.75 * entries)
    return int(min((ELIMINATION * entries) ** 0.5, room))


class Resort(NamedTuple):
    """The band to eliminate once a Krylov method has failed, or taken more products than ``after``; a
    ``width`` of 0 if there is none."""

    order: NDArray[np.int32]
    width: int
    after: float


def last_resort(cmdp: CMDP) -> Resort:
    """What there is for a problem."""
    line, S = line_of(cmdp), cmdp.S
    if not (line.slow or line.order.size) or S * line.width**2 > LAST_RESORT:
        return Resort(line.order, 0, np.inf)
    order = line.order if line.order.size else np.arange(S, dtype=np.int32)
    return Resort(order, line.width, line.width**2 / PER_PRODUCT)
