"""What the server does in a round of :mod:`tabular_fedrl.loops.drpo_rounds`: it may choose the weights, and
it puts the clients' policies together."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tabular_fedrl.kernels.balance import recommended
from tabular_fedrl.kernels.lanes import compiled, copy, exp, expected
from tabular_fedrl.kernels.layout import at_start, backup, factor, solve, solve_transposed
from tabular_fedrl.kernels.local_optimum import Scratch
from tabular_fedrl.kernels.offline import mean_policy
from tabular_fedrl.loops.drpo_reading import GEOMETRIC, MIXTURE, WORTH, Block, Reading, Work
from tabular_fedrl.measured import Array

inlined: Any = numba.njit(inline="always")
"""Part of the one loop that is compiled: to compile it apart as well would take as long again."""


@inlined
def balance(x: Block, log_pi: Array, pi: Array, truth: Array, y: Work) -> None:
    """Theorem C's weights in place of the given ones, where it recommends any."""
    R, A, W = pi.shape
    visits, V, q = np.empty((R, W)), np.empty((1, R, W)), np.empty((R, A, W))
    factor(x.P, pi, x.gamma, truth)
    _visit(x.rho, x.gamma, truth, visits)
    expected(pi, x.f[:1], V)
    solve(truth, V)
    copy(x.f[0], q)
    backup(x.P, V[0], x.gamma, q)
    apart = x.P.shape[0] == R
    recommended(q, pi, log_pi, visits, y.Q, y.log_b, x.omega, x.gamma, apart, y.alpha, y.beta)


@inlined
def merge(x: Block, reading: Reading, pi: Array, truth: Array, z: Scratch, y: Work, log_pi: Array) -> None:
    """The next global policy."""
    N, R, _, W = x.log_b.shape
    worth, visits = np.zeros((N, 1, W)), np.empty((R, W))
    for i in range(N):
        copy_rows(x.omega[i], y.omega[i])
        if reading.mean == MIXTURE:
            factor(x.P, y.p[i], x.gamma, truth)
            _visit(x.rho, x.gamma, truth, visits)
            _weigh_visits(visits, y.omega[i])
        elif reading.mean == WORTH:
            j = 0 if reading.shared else i
            factor(x.models[j], y.p[i], x.gamma, z.matrix)
            expected(y.p[i], x.signals[j][:1], z.V[:1])
            solve(z.matrix, z.V[:1])
            at_start(x.P.shape[0], x.rho, z.V[:1], worth[i])
    if reading.mean == WORTH:
        _weigh_worth(worth, x.temperature, y.omega)
    if reading.mean == WORTH or reading.mean == MIXTURE:
        _normalise(y.omega)
    mean_policy(y.log_p, y.omega, reading.mean == GEOMETRIC, z.rows, log_pi, pi)


@compiled
def _visit(rho: Array, gamma: Array, factors: Array, visits: Array) -> None:
    r"""``visits (R, W)``: :math:`d = (1-\gamma)(I - \gamma P_\pi)^{-T}\rho`."""
    R, W = visits.shape
    for s in range(R):
        for w in range(W):
            visits[s, w] = (1.0 - gamma[w]) * rho[s, w]
    solve_transposed(factors, visits)


@compiled
def _weigh_visits(visits: Array, omega: Array) -> None:
    """The mixture's share of a client: its weight times its visits; any where nobody ever comes."""
    S, W = visits.shape
    for s in range(S):
        for w in range(W):
            omega[s, w] *= visits[s, w] + 1e-300


@compiled
def _weigh_worth(worth: Array, temperature: Array, omega: Array) -> None:
    r"""Multiply ``omega (N, R, W)`` by :math:`e^{J_i/T}`, ``worth (N, 1, W)``."""
    N, R, W = omega.shape
    top = np.full(W, -np.inf)
    for i in range(N):
        for w in range(W):
            top[w] = max(top[w], worth[i, 0, w])
    for i in range(N):
        for w in range(W):
            worth[i, 0, w] = exp((worth[i, 0, w] - top[w]) / temperature[w])
        for s in range(R):
            for w in range(W):
                omega[i, s, w] *= worth[i, 0, w]


@compiled
def _normalise(omega: Array) -> None:
    """Weights ``(N, R, W)`` that sum to 1 over the clients."""
    N, R, W = omega.shape
    for s in range(R):
        for w in range(W):
            total = 0.0
            for i in range(N):
                total += omega[i, s, w]
            for i in range(N):
                omega[i, s, w] /= total


@compiled
def copy_rows(x: Array, out: Array) -> None:
    """``x (R, W)`` into ``out``."""
    for s in range(out.shape[0]):
        for w in range(out.shape[1]):
            out[s, w] = x[s, w]
