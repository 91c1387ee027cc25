"""OPG-PD from the first round to the last, many problems side by side.

The iteration is that of ``algorithms/opg_pd.py``, in probabilities, some of which become 0. Plain floats,
without bounds on their errors. Arrays inside have the lanes of :mod:`tabular_fedrl.kernels.lanes` last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.kernels.lanes import advantage, at_start, compiled, copy, largest_move, policy_values
from tabular_fedrl.kernels.packs import aligned
from tabular_fedrl.kernels.projection import project
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.lanes import from_lanes, lanes, to_lanes
from tabular_fedrl.loops.totals import Iterated, checked, numbers
from tabular_fedrl.measured import Array


class Block(NamedTuple):
    """W problems and their steps, as in :class:`~tabular_fedrl.loops.Batch`, the lane last; f: the signals,
    reward first."""

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array
    eta: Array
    eta_dual: Array
    dual_cap: Array


class Moving(NamedTuple):
    """What the loop moves, the lane last: the policy ``pi (S, A, W)`` and the multipliers ``lam (m, W)``; the
    sums of values ``(1+m, W)``; the largest move of a round, ``(W,)``."""

    pi: Array
    lam: Array
    values: Array
    step: Array


def optimistic(
    batch: Batch,
    rounds: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
    *,
    initial_multipliers: ArrayLike = 0.0,
) -> Iterated:
    """OPG-PD on every problem of the batch, with its own steps, by one agent that sees everything whatever
    the batch's mask.

    Parameters
    ----------
    rounds: K. eta: primal steps, ``(B,)`` or one number. eta_dual, dual_cap, initial_multipliers: ``(B, m)``
        or what broadcasts to it.

    Raises
    ------
    InvalidProblem: a number is negative or of another shape, or no round is asked for.
    """
    B, S, A, m = batch.B, batch.S, batch.A, batch.m
    steps = checked(batch, rounds, 1, eta, eta_dual, dual_cap)
    lam = numbers("initial_multipliers", initial_multipliers, (B, m))
    W = lanes(B, S * A * S)

    def packed(*arrays: Array) -> list[tuple[Array, ...]]:
        """The arrays of every block."""
        return list(zip(*(to_lanes(x, W) for x in arrays)))

    blocks = packed(batch.P, batch.signals, batch.d, batch.rho, batch.gamma, *steps)
    moving = packed(np.full((B, S, A), 1.0 / A), lam, np.zeros((B, 1 + m)), np.zeros(B))
    in_parallel(_rounds, [(Block(*x), Moving(*y)) for x, y in zip(blocks, moving)], rounds)
    pi, lam, values, step = (from_lanes(np.stack(x), B) for x in zip(*moving))
    values /= rounds
    with np.errstate(divide="ignore"):  # of zeros
        log_policy = np.log(pi)
    return Iterated(
        value=values[:, 0],
        costs=values[:, 1:],
        local_value=values[:, 0],
        local_costs=values[:, 1:],
        drift=step,
        step=step[:, None],
        value_drift=np.zeros((B, 1, 1 + m)),
        log_policy=log_policy,
        multipliers=lam[:, None],
    )


@compiled
def _rounds(x: Block, moving: Moving, rounds: int) -> None:
    """All rounds of one block of W problems."""
    pi, lam = moving.pi, moving.lam
    S, A, W = pi.shape
    m = lam.shape[0]
    matrix, scratch = aligned((S, S, W)), aligned((max(S, A + 3), W))
    V, v, weights = aligned((1 + m, S, W)), aligned((1 + m, W)), aligned((1 + m, W))
    ascent, hat, before, lam_hat = aligned((S, A, W)), aligned((S, A, W)), aligned((S, A, W)), lam.copy()
    copy(pi, hat)
    for _ in range(rounds):
        policy_values(x.P, x.f, pi, x.gamma, matrix, V)
        at_start(x.rho, V, v)
        for k in range(1 + m):
            for w in range(W):
                moving.values[k, w] += v[k, w]
                # The step along the Lagrangian, its length included.
                weights[k, w] = x.eta[w] if k == 0 else -x.eta[w] * lam[k - 1, w]
        # Along the advantage: a number added to all actions of a state makes no difference.
        advantage(x.P, x.f, V, weights, x.gamma, scratch, ascent)
        _dual_step(x, v, lam_hat, lam)
        copy(pi, before)
        project(hat, ascent, scratch)
        copy(hat, pi)
        project(pi, ascent, scratch)
        largest_move(pi, before, scratch, moving.step)


@compiled
def _dual_step(x: Block, v: Array, hat: Array, lam: Array) -> None:
    """Move the multipliers with hats, and from there those without, along :math:`V_c - d`, within the cap."""
    m, W = lam.shape
    for j in range(m):
        for w in range(W):
            violation, cap = x.eta_dual[j, w] * (v[1 + j, w] - x.d[j, w]), x.dual_cap[j, w]
            y = hat[j, w] + violation
            y = 0.0 if y < 0.0 else y
            y = cap if y > cap else y
            hat[j, w] = y
            y += violation
            y = 0.0 if y < 0.0 else y
            lam[j, w] = cap if y > cap else y
