r"""Datasets drawn from a problem by behaviour policies, reproducibly.

``"trajectories"``: every client runs through the environment. Its first state is drawn from rho; after every
transition it restarts from rho with probability :math:`1-\gamma`, so that the law of the t-th row's pair
tends to the normalised visitation :math:`d^{b_i}(s)\,b_i(a|s)` as t grows, and an episode's undiscounted sum
of rewards has mean :math:`J(b_i)`. The next states are *not* independent given the list of pairs.

``"generative"``: every row draws (s, a) from that visitation, and then the successor, independently
(assumption S of the finite-data lemmas).

A state whose actions all stay in it for certain and pay nothing ends an episode: a transition into it is
marked terminal, and the next row starts from rho.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import visitation
from tabular_fedrl.kernels.trajectories import Booleans, Floats, Integers, trajectories
from tabular_fedrl.measured import Array
from tabular_fedrl.offline.dataset import Dataset

KINDS = ("trajectories", "generative")
REWARDS = ("mean", "bernoulli")


def draw(
    problem: CMDP | FederatedCMDP,
    behaviours: Array,
    transitions: int | Sequence[int],
    seed: int | Sequence[int] = 0,
    kind: str = "trajectories",
    rewards: str = "mean",
) -> Dataset:
    """The data of N clients.

    Parameters
    ----------
    problem: in floats. behaviours: log-policies ``(N, S, A)``.
    transitions: rows of each client, one number or N.
    seed: client i draws from the i-th stream spawned from it.
    kind: ``"trajectories"`` or ``"generative"``, see above.
    rewards: ``"mean"``: r(s, a) itself; ``"bernoulli"``: the least or the largest reward of the problem, with
        mean r(s, a). Costs are means.

    Raises
    ------
    InvalidProblem: a shape, a number or a word that is not one of these.
    """
    cmdp = problem.cmdp if isinstance(problem, FederatedCMDP) else problem
    if np.shape(behaviours)[1:] != (cmdp.S, cmdp.A):
        raise InvalidProblem(
            f"the behaviours have shape {np.shape(behaviours)}: expected (N, {cmdp.S}, {cmdp.A})"
        )
    N = len(behaviours)
    sizes = np.broadcast_to(np.asarray(transitions), (N,)) if np.size(transitions) in (1, N) else None
    if sizes is None or sizes.dtype.kind not in "iu" or (sizes < 1).any():
        raise InvalidProblem(f"transitions = {transitions!r}: expected one positive whole number, or {N}")
    for what, word, known in (("kind", kind, KINDS), ("rewards", rewards, REWARDS)):
        if word not in known:
            raise InvalidProblem(f"{what} {word!r}: expected {' or '.join(map(repr, known))}")
    ends = ending(cmdp)
    kernel = _summed_rows(cmdp)
    parts = []
    for log_b, n, stream in zip(behaviours, sizes.tolist(), np.random.SeedSequence(seed).spawn(N)):
        rng = np.random.default_rng(stream)
        run = _trajectories if kind == "trajectories" else _independent
        states, actions, after = run(cmdp, kernel, np.asarray(log_b), ends, n, rng)
        r = cmdp.r[states, actions]
        if rewards == "bernoulli":
            low, high = float(cmdp.r.min()), float(cmdp.r.max())
            r = np.where(rng.random(n) * (high - low) < r - low, high, low)
        parts.append((states, actions, r, cmdp.c[:, states, actions].T, after))
    state, action, reward, costs, next_state = (np.concatenate(column) for column in zip(*parts))
    client = np.repeat(np.arange(N), sizes)
    return Dataset(
        client, state, action, reward, costs, next_state, ends[next_state], cmdp.S, cmdp.A, N
    )  # fmt: skip


def ending(cmdp: CMDP) -> Booleans:
    """The states whose actions all stay in them for certain and pay nothing, ``(S,)``."""
    moves = sp.coo_array(cmdp.rows)
    moves = moves.row[(moves.col != moves.row // cmdp.A) & (moves.data > 0)] // cmdp.A
    idle = (np.bincount(moves, minlength=cmdp.S) == 0) & (cmdp.signals == 0).all(axis=(0, 2))
    # A start there would end before its first action.
    return idle & (cmdp.rho == 0)


def _trajectories(
    cmdp: CMDP, kernel: Any, log_b: Array, ends: Booleans, n: int, rng: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    policy, start = np.cumsum(np.exp(log_b), axis=1), np.cumsum(cmdp.rho)
    compiled: Any = trajectories
    states, actions, after = compiled(*kernel, policy, start, cmdp.gamma, ends, n, rng)
    return states, actions, after


def _independent(
    cmdp: CMDP, kernel: Any, log_b: Array, ends: Booleans, n: int, rng: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    indptr, successors, cumulative = kernel
    visited = np.where(ends, 0.0, visitation(cmdp, log_b).value)
    pairs = np.cumsum((visited[:, None] * np.exp(log_b)).ravel())
    row = np.searchsorted(pairs, rng.random(n) * pairs[-1], side="right").clip(max=pairs.size - 1)
    u = rng.random(n)
    place = [
        indptr[k] + np.searchsorted(cumulative[indptr[k] : indptr[k + 1]], x, side="right")
        for k, x in zip(row, u)
    ]
    after = successors[np.minimum(place, indptr[row + 1] - 1)]
    return row // cmdp.A, row % cmdp.A, after


def _summed_rows(cmdp: CMDP) -> tuple[Integers, Integers, Floats]:
    """The kernel in CSR form, its rows summed up."""
    rows = sp.csr_array(cmdp.rows)
    sums = np.concatenate([np.cumsum(row) for row in np.split(rows.data, rows.indptr[1:-1])])
    return rows.indptr.astype(np.int64), rows.indices.astype(np.int64), sums
