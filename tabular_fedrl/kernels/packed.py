r"""The chosen rows of a policy, packed: :math:`P_\pi` as :class:`Rows` with A = 1.

Packing reads the rows once. It pays before many products: a deterministic policy leaves one row in A, and
where the actions of a state lead to the same few neighbours their rows merge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse import table
from tabular_fedrl.kernels.sparse_rows import Rows, U, first_entry, unpacked
from tabular_fedrl.kernels.threads import CHUNK, over_chunks
from tabular_fedrl.measured import Array

Starts = NDArray[np.uint32]


def policy_rows(rows: Rows, actions: NDArray[Any]) -> Rows:
    r"""The rows of the chosen actions ``(S,)``, packed: :math:`P_\pi` of a deterministic policy."""
    starts, entries = rows.starts, rows.S * rows.width
    if not rows.width:
        starts = np.zeros(rows.S + 1, dtype=np.uint32)
        over_chunks(_count_chosen, rows.S, rows, actions, starts)
        np.cumsum(starts, out=starts)
        entries = int(starts[-1])
    packed = _empty(rows, starts, entries, rows.width)
    over_chunks(_pack, rows.S, rows, actions, packed)
    return packed


def moved_rows(rows: Rows, pi: Array | None, order: NDArray[np.int32]) -> Rows:
    r""":math:`P_\pi` as rows with A = 1, the states renumbered by their place in ``order (S,)``."""
    places = np.empty_like(order)
    places[order] = np.arange(rows.S, dtype=order.dtype)
    if rows.width:
        starts = rows.starts
    else:
        ends = rows.starts[:: rows.A].astype(np.int64)
        starts = np.append(0, np.cumsum(np.diff(ends)[order])).astype(np.uint32)
    packed = _empty(rows, starts, rows.weights.size, rows.A * rows.width)
    over_chunks(_move, rows.S, rows, table(pi), order, places, packed)
    return packed


def transposed_rows(rows: Rows) -> Rows:
    """The transposed of rows with A = 1."""
    starts = np.zeros(rows.S + 1, dtype=np.uint32)
    starts[1:] = entries_into(rows)
    np.cumsum(starts, out=starts)
    flipped = _empty(rows, starts, rows.weights.size, 0)
    _transpose(rows, starts[:-1].copy(), flipped)
    return flipped


def entries_into(rows: Rows) -> NDArray[np.uint32]:
    """How many entries lead to each state, ``(S,)``."""
    counts = np.zeros(rows.S, dtype=np.uint32)
    _count_columns(rows, counts)
    return counts


def merged_starts(rows: Rows, states: int) -> Starts:
    """Where the rows of :func:`merged_rows` start, ``(states+1,)``, for the first so many states."""
    counts = np.zeros(states + 1, dtype=np.uint32)
    over_chunks(_count, states, rows, counts)
    return np.cumsum(counts, dtype=np.uint32)


def merged_rows(rows: Rows, pi: Array, starts: Starts) -> Rows:
    r""":math:`P_\pi` of a policy ``(S, A)``, equal successors merged; ``starts``: :func:`merged_starts`."""
    packed = _empty(rows, starts, int(starts[-1]), 0)
    over_chunks(_merge, rows.S, rows, pi, packed)
    return packed


def _empty(rows: Rows, starts: NDArray[np.uint32], entries: int, width: int) -> Rows:
    weights, successors = np.empty(entries, rows.weights.dtype), np.empty(entries, np.uint32)
    return Rows(weights, successors, starts, width, rows.S, 1)


@compiled
def _count_chosen(first: int, last: int, rows: Rows, actions: NDArray[Any], counts: Starts) -> None:
    _, _, starts, _, S, A = unpacked(rows)
    for s in range(U(first * CHUNK), min(U(last * CHUNK), S)):
        row = s * A + U(actions[s])
        counts[s + U(1)] = starts[row + U(1)] - starts[row]


@compiled
def _pack(first: int, last: int, rows: Rows, actions: NDArray[Any], packed: Rows) -> None:
    weights, successors, starts, width, S, A = unpacked(rows)
    new_weights, new_successors, new_starts = packed.weights, packed.successors, packed.starts
    for s in range(U(first * CHUNK), min(U(last * CHUNK), S)):
        row = s * A + U(actions[s])
        p, q = first_entry(starts, width, row), first_entry(new_starts, width, s)
        end = first_entry(starts, width, row + U(1))
        while p < end:
            new_weights[q], new_successors[q] = weights[p], successors[p]
            p += U(1)
            q += U(1)


@compiled
def _move(
    first: int, last: int, rows: Rows, pi: Array, order: NDArray[np.int32], places: NDArray[np.int32],
    packed: Rows,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    new_weights, new_successors, new_starts = packed.weights, packed.successors, packed.starts
    for i in range(U(first * CHUNK), min(U(last * CHUNK), S)):
        s = U(order[i])
        p, q = first_entry(starts, width, s * A), first_entry(new_starts, width * A, i)
        for a in range(A):
            end = first_entry(starts, width, s * A + a + U(1))
            share = 1.0 if A == 1 else pi[s, a]
            while p < end:
                new_weights[q], new_successors[q] = share * weights[p], places[successors[p]]
                p += U(1)
                q += U(1)


@compiled
def _count_columns(rows: Rows, counts: Starts) -> None:
    for p in range(U(rows.successors.size)):
        counts[U(rows.successors[p])] += np.uint32(1)


@compiled
def _transpose(rows: Rows, place: Starts, flipped: Rows) -> None:
    weights, successors, starts, width, S, _ = unpacked(rows)
    new_weights, new_successors = flipped.weights, flipped.successors
    for s in range(S):
        p, end = first_entry(starts, width, s), first_entry(starts, width, s + U(1))
        while p < end:
            t = U(successors[p])
            q = U(place[t])
            place[t] += np.uint32(1)
            new_weights[q], new_successors[q] = weights[p], s
            p += U(1)


@compiled
def _count(first: int, last: int, rows: Rows, counts: Starts) -> None:
    _, successors, starts, width, _, A = unpacked(rows)
    states = U(counts.size - 1)
    for s in range(U(first * CHUNK), min(U(last * CHUNK), states)):
        start, end = first_entry(starts, width, s * A), first_entry(starts, width, (s + U(1)) * A)
        p = start
        while p < end:
            q = start
            while successors[q] != successors[p]:
                q += U(1)
            counts[s + U(1)] += np.uint32(q == p)
            p += U(1)


@compiled
def _merge(first: int, last: int, rows: Rows, pi: Array, packed: Rows) -> None:
    weights, successors, starts, width, S, A = unpacked(rows)
    new_weights, new_successors, new_starts = packed.weights, packed.successors, packed.starts
    for s in range(U(first * CHUNK), min(U(last * CHUNK), S)):
        begin = U(new_starts[s])
        top = begin
        p = first_entry(starts, width, s * A)
        for a in range(A):
            end = first_entry(starts, width, s * A + a + U(1))
            while p < end:
                t, q = successors[p], begin
                while q < top and new_successors[q] != t:
                    q += U(1)
                if q == top:
                    new_weights[q], new_successors[q] = 0.0, t
                    top += U(1)
                new_weights[q] += pi[s, a] * weights[p]
                p += U(1)
