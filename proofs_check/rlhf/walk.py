r"""The exact law of the logits after t rounds with a constant step: a Markov chain on a lattice.

With a constant step the logits stay on :math:`\theta_1 + \alpha \mathbb{Z}^d`, and points that differ by a
constant in some row of the table are the same policy. Few enough remain on small problems to carry their
whole law along; no draw is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import concatenate, stack
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured

MOST_POINTS = 20_000

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Lattice:
    """All points that a walk of so many rounds from 0 can reach, by their ``shifts`` in one round.

    points: ``(M, H, S, A)``, the last action of every row at 0; the first is 0. shifts: ``(n, H, S, A)``,
    likewise. before: ``(M, n)``, the point from which each shift leads here, M where there is none.
    """

    points: Integers
    shifts: Integers
    before: Integers

    @staticmethod
    def reached(shifts: Integers, rounds: int) -> Lattice:
        """The points that ``rounds`` shifts reach.

        Raises
        ------
        InvalidProblem: more than :data:`MOST_POINTS`.
        """
        flat = shifts.reshape(len(shifts), -1)
        found = new = np.zeros((1, flat.shape[1]), dtype=np.int64)
        for _ in range(rounds):
            candidates = np.unique((new[:, None] + flat).reshape(-1, flat.shape[1]), axis=0)
            new = candidates[~_known(candidates, found)]
            found = np.concatenate([found, new])
            if len(found) > MOST_POINTS:
                raise InvalidProblem(
                    f"{rounds} rounds reach more than {MOST_POINTS} policies: too many to follow"
                )
        before = np.stack([_positions(found - shift, found) for shift in flat], axis=1)
        return Lattice(found.reshape(-1, *shifts.shape[1:]), shifts, before)

    def laws(self, chances: Measured, rounds: int) -> Iterator[Measured]:
        """The law ``(M,)`` of the point before every round and after the last, from the ``chances (M, n)`` of
        the shifts."""
        M = len(self.points)
        law = Measured(np.arange(M) == 0)
        arriving = concatenate([chances, Measured(np.zeros((1, chances.shape[1])))])
        columns = np.arange(chances.shape[1])
        arriving = arriving[self.before, columns]
        yield law
        for _ in range(rounds):
            padded = concatenate([law, Measured(np.zeros(1))])
            law = (padded[self.before] * arriving).sum(-1)
            yield law


def grouped(updates: Any, chances: Measured) -> tuple[Integers, Measured]:
    """Shifts of a lattice and their chances ``(M, n)`` from updates ``(u, H, S, A)`` with chances ``(M, u)``:
    those that are the same for every policy are added up."""
    whole = np.asarray(updates, dtype=np.int64)
    relative = (whole - whole[..., -1:]).reshape(len(whole), -1)
    shifts, group = np.unique(relative, axis=0, return_inverse=True)
    members = [np.flatnonzero(group.ravel() == i) for i in range(len(shifts))]
    added = stack([chances[:, m].sum(-1) for m in members])
    return shifts.reshape(-1, *whole.shape[1:]), _transposed(added)


def averaged(updates: Integers, chances: Measured, K: int) -> tuple[Integers, Measured]:
    """The sum of K independent updates of one law: shifts and chances as :func:`grouped` gives them."""
    shifts, law = grouped(updates, chances)
    total, out = shifts, law
    for _ in range(K - 1):
        pairs = (total[:, None] + shifts).reshape(-1, *shifts.shape[1:])
        both = (out[:, :, None] * law[:, None, :]).reshape(len(law), -1)
        total, out = grouped(pairs, both)
    return total, out


def _transposed(x: Measured) -> Measured:
    return stack([x[:, i] for i in range(x.shape[1])])


def _known(rows: Integers, among: Integers) -> Any:
    return _positions(rows, among) < len(among)


def _positions(rows: Integers, among: Integers) -> Integers:
    """Where each row stands in ``among``; its length where it does not."""
    where = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(among))}
    return np.array(
        [where.get(row.tobytes(), len(among)) for row in np.ascontiguousarray(rows)], dtype=np.int64
    )
