r"""What the loops over one small problem read and write; tables are ``(A, S)``, as in
:mod:`tabular_fedrl.kernels.single`.

Every policy an agent steps from is evaluated with the bound of :mod:`tabular_fedrl.evaluation`,

.. math:: \|V_f - \hat V\|_\infty \le \frac{\rho + \sigma\,(\max|f| + 2\max|\hat V|)}{1-\gamma} ,

:math:`\rho` the residual and :math:`\sigma` the :func:`slack`. Here the residual is taken with a rounded
:math:`I - \gamma P_\pi`; the A products in each of its entries join the slack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.divergence import Target, divergence
from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.single import (
    INFLATE,
    assign,
    enclosed_averages,
    largest,
    operator_room,
    policy_values,
    system_room,
)
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.variants import Variant
from tabular_fedrl.measured import UNIT, Array


class Problem(NamedTuple):
    """``P (S, A, S)``; signals ``f (1+m, A, S)``, the reward first, and their largest sizes ``(1+m,)``;
    ``d (m,)``, ``rho (S,)``, ``mask (N, m)``; the :func:`slack`; how far rows of P are from summing to 1."""

    P: Array
    f: Array
    f_size: Array
    d: Array
    rho: Array
    gamma: float
    mask: Mask
    slack: float
    row_error: float


class Simulator(NamedTuple):
    """What rollouts draw from, as in :mod:`tabular_fedrl.kernels.rollouts`: ``signals (S*A, 1+m)``; the
    starts ``states``, ``actions (S + S*A,)``, from every state with an action of the policy (-1) and from
    every pair; how many ``samples`` from each. Empty where nothing is drawn."""

    indptr: NDArray[np.int64]
    successors: NDArray[np.int64]
    cumulative: Array
    signals: Array
    states: NDArray[np.int64]
    actions: NDArray[np.int64]
    samples: int


class Clipping(NamedTuple):
    """Of FedPPO's updates: how far a ratio of probabilities may leave 1 (``clip``), gradient steps
    (``epochs``) and the divergence at which they stop (``target``)."""

    clip: float
    epochs: int
    target: float


class Steps(NamedTuple):
    r"""``exponents (n,)``: :math:`\eta/(1-\gamma)`, or :math:`\eta` alone, in each round; ``eta_dual``,
    ``dual_cap (m,)``; the agents' ``weights (N,)`` in the mean; ``first``: the round of the first exponent;
    of CRPO the ``scales (1+m,)`` of the signals and the ``limits (m,)`` that a cost is not to exceed;
    ``nearness``: of steps to an optimum the weight of the divergence; ``kernels (N, S, A, S)``: the agents'
    own, none where all live in the problem's."""

    exponents: Array
    eta_dual: Array
    dual_cap: Array
    weights: Array
    first: int
    scales: Array
    limits: Array
    nearness: float
    clipping: Clipping
    kernels: Array
    simulator: Simulator


class Rows(NamedTuple):
    """What is measured in each of n rounds: values at rho before each local step with their radii last,
    ``local (n, N, E, 1+m, 2)``; ``drift (n,)``; ``step (n, N)``, the largest move of one local step in the
    1-norm; simulated ``transitions (n, N)``."""

    local: Array
    drift: Array
    step: Array
    transitions: NDArray[np.int64]


class Kept(NamedTuple):
    """What is measured in each of r recorded rounds, or nothing (r = 0) where it is not wanted.

    ``multipliers (r, N, E, m)``; with radii last, ``kl (r, G, 2)`` (G = 1, or N without communication),
    ``kl_end (r, N, 2)``, ``log_z (r, N, E, 2)``; log-policies ``start (r, G, A, S)`` and
    ``local (r, N, E+1, A, S)``.
    """

    multipliers: Array
    kl: Array
    kl_end: Array
    log_z: Array
    start: Array
    local: Array


class Values(NamedTuple):
    """One policy: ``V (n, S)``, their ``error`` and ``max|f| + 2 max|V|`` ``(n,)``; ``at_rho (1+m, 2)`` with
    radii. With entropy that is the last of the n signals."""

    V: Array
    error: Array
    size: Array
    at_rho: Array


class Scratch(NamedTuple):
    """``f (n, A, S)`` and ``f_size (n,)``: the signals, the entropy included; ``weights (n,)``; room for the
    ``operator``, the ``system`` of n right-hand sides and the ``flow`` of one; ``lines (3, S)``."""

    f: Array
    f_size: Array
    weights: Array
    operator: Array
    system: Array
    flow: Array
    lines: Array


def slack(S: int, A: int, row_error: float) -> float:
    r"""Relative error of a residual: sums of S + 2A + 8 terms; rows of P off by ``row_error``; a policy in
    floats off in the 1-norm by :math:`(8 \log A + 2A + 40) u` from the one that its log-policy stands for.

    (An exponential errs relatively by u times the size of its exponent, of mean at most log A, and by 4u; so
    does the rounding of the log-policy; and the weights are normalised twice.)
    """
    return float((S + 4 * A + 8 * np.log(A) + 48) * UNIT + 2 * row_error)


@compiled
def room(x: Problem, n: int) -> Scratch:
    """For n signals, the problem's own in their places."""
    A, S = x.f.shape[1:]
    f, f_size = np.empty((n, A, S)), np.empty(n)
    for k in range(x.f.shape[0]):
        assign(x.f[k], f[k])
        f_size[k] = x.f_size[k]
    return Scratch(
        f,
        f_size,
        np.empty(n),
        operator_room(S),
        system_room(S, n),
        system_room(S, 1),
        np.empty((3, S)),
    )


@compiled
def evaluate(
    x: Problem, P: Array, variant: Variant, log_pi: Array, pi: Array, z: Scratch, out: Values
) -> None:
    """Values of a policy ``(A, S)`` in the kernel P ``(S, A, S)``, all with their bounds."""
    A, S = pi.shape
    K = x.f.shape[0]
    if variant.tau > 0:
        for a in range(A):
            for s in range(S):
                z.f[K, a, s] = -log_pi[a, s]
        z.f_size[K] = largest(z.f[K].reshape(A * S))
    policy_values(P, z.f, pi, x.gamma, z.operator, z.system, out.V, out.error)
    for k in range(z.f_size.size):
        out.size[k] = z.f_size[k] + 2.0 * largest(out.V[k])
        out.error[k] = INFLATE * (out.error[k] + x.slack * out.size[k]) / (1.0 - x.gamma)
    enclosed_averages(x.rho, out.V, out.error, x.row_error, out.at_rho)


@compiled
def record_start(target: Target, log_pibar: Array, r: int, kept: Kept, line: Array) -> None:
    """What is recorded of the policies that a round starts from, ``(G, 1, A, S)``."""
    for g in range(log_pibar.shape[0]):
        if kept.start.size > 0:
            assign(log_pibar[g, 0], kept.start[r, g])
        if kept.kl.size > 0:
            kept.kl[r, g, 0], kept.kl[r, g, 1] = divergence(target, log_pibar[g, 0], line)


@compiled
def record_end(target: Target, log_pi: Array, r: int, i: int, kept: Kept, line: Array) -> None:
    """What is recorded of the policy that agent i ends with, ``(A, S)``."""
    if kept.local.size > 0:
        assign(log_pi, kept.local[r, i, kept.local.shape[2] - 1])
    if kept.kl_end.size > 0:
        kept.kl_end[r, i, 0], kept.kl_end[r, i, 1] = divergence(target, log_pi, line)
