r"""Thousands of datasets of one problem side by side, in plain floats: what statements about chance rest on.

Every dataset is one client's; see :mod:`proofs_check.drpo.records` for the model made from it. The absorbing
state that completes the model has value 0 and no cost, so that rows of zeros stand for it. All arrays have
the dataset first, ``B`` of them. An event that is decided by less than ``ROUNDING`` (relative to what is
compared) counts as a failure: the counts of failures err on the side of too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.records import Radii, radii, shown
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array

ROUNDING = 1e-9


@dataclass(frozen=True)
class Ensemble:
    r"""``truth``: the problem, rewards in [0, R]; ``n (B, S, A)``, ``P (B, S, A, S)``, ``r (B, S, A)``:
    counts, frequencies of successors, mean rewards (zeros where nothing was seen); ``pi (S, A)``: the global
    policy, chosen before the data; ``length``: of the trajectories the data are, 1 for a generative
    simulator."""

    truth: CMDP
    n: Any
    P: Array
    r: Array
    pi: Array
    length: int

    def __len__(self) -> int:
        return len(self.n)

    @cached_property
    def behaviour(self) -> Array:
        """``b = n(s,a)/n(s)``, the global policy where nothing was seen, ``(B, S, A)``."""
        total = self.n.sum(axis=-1, keepdims=True)
        return np.where(total > 0, self.n / np.maximum(total, 1), self.pi)

    @cached_property
    def old(self) -> Array:
        """The global policy for every dataset, ``(B, S, A)``."""
        return np.broadcast_to(self.pi, self.n.shape)

    @property
    def largest(self) -> float:
        r""":math:`\bar V`"""
        return float(self.truth.r.max()) * self.truth.horizon

    def radii(self, delta: float, shared: bool = True) -> Radii:
        r"""The event's constants; with trajectories :math:`\delta/|D|` takes the place of :math:`\delta`
        (unless not ``shared`` among the counts a pair may reach)."""
        return radii(self.truth, self.truth.S, delta / self.length if shared else delta)

    # ---- values ------------------------------------------------------------------------------------------
    def J(self, pi: Array) -> Array:
        """True values at rho of policies ``(B, S, A)``."""
        return self.V(pi) @ self.truth.rho

    def V(self, pi: Array) -> Array:
        """True values ``(B, S)``."""
        return state_values(self.truth.P, self.truth.gamma, pi, self.truth.r)

    def J_model(self, pi: Array) -> Array:
        """Values at rho in the models."""
        return state_values(self.P, self.truth.gamma, pi, self.r) @ self.truth.rho

    def visits(self, pi: Array) -> Array:
        r""":math:`\hat d^\pi/(1-\gamma)`, ``(B, S)``."""
        kernel = np.swapaxes(_kernel(self.P, pi), 1, 2)
        start = np.broadcast_to(self.truth.rho, kernel.shape[:2])
        return _solve(np.eye(self.truth.S) - self.truth.gamma * kernel, start)

    # ---- the event ---------------------------------------------------------------------------------------
    @cached_property
    def reward_off(self) -> Array:
        r""":math:`\max_{s,a} \sqrt n\,|\hat r - r|`, ``(B,)``"""
        return self._worst(np.abs(self.r - self.truth.r))

    @cached_property
    def law_off(self) -> Array:
        r""":math:`\max_{s,a} \sqrt n\,\|\hat P - P\|_1`, ``(B,)``"""
        return self._worst(np.abs(self.P - self.truth.P).sum(axis=-1))

    def signal_off(self, pi: Array) -> Array:
        r""":math:`\max_{s,a} \sqrt n\,|z_\pi|`, ``(B,)``; where n = 0, :math:`|z| \le \bar V` always."""
        means = np.matmul(self.P - self.truth.P, self.V(pi)[:, None, :, None])[..., 0]
        return self._worst(np.abs(self.r - self.truth.r + self.truth.gamma * means))

    def _worst(self, off: Array) -> Array:
        return np.asarray((off * np.sqrt(self.n)).max(axis=(1, 2)))

    def outside(self, limits: Radii, factor: float = 1.0) -> Any:
        """Whether the event fails, ``(B,)``."""
        reward, law = factor * float(limits.reward.value), factor * float(limits.law.value)
        return exceeds(self.reward_off, reward) | exceeds(self.law_off, law)

    def price(self, pi: Array, c: float) -> Array:
        r""":math:`\Gamma(\pi)` for policies ``(B, S, A)``, ``(B,)``, with c for :math:`c_\delta`."""
        kappa = np.where(
            self.n > 0, np.minimum(c / np.sqrt(np.maximum(self.n, 1)), self.largest), self.largest
        )
        return np.asarray((self.visits(pi) * (pi * kappa).sum(axis=-1)).sum(axis=-1))


def exceeds(x: Any, limit: Any) -> Any:
    """``x > limit``, up to rounding in favour of yes."""
    return x > limit - ROUNDING * np.maximum(1.0, np.abs(limit))


def generative(
    cmdp: CMDP, weights: Array, size: int, datasets: int, pi: Array, rng: np.random.Generator
) -> Ensemble:
    """Data that meet assumption S: pairs drawn with probabilities ``weights (S, A)``, then independent
    rewards (0 or R) and successors."""
    n = rng.multinomial(size, weights.ravel() / weights.sum(), datasets).reshape(datasets, *weights.shape)
    return Ensemble(cmdp, n, *shown(cmdp, n, rng), pi, 1)


def walks(
    cmdp: CMDP, behaviour: Array, length: int, datasets: int, pi: Array, rng: np.random.Generator
) -> Ensemble:
    r"""Data that are trajectories of ``length`` transitions under ``behaviour (S, A)``: from rho, started
    anew with probability :math:`1-\gamma` after every transition."""
    S, A, pairs = cmdp.S, cmdp.A, cmdp.S * cmdp.A
    start, acts, rows = np.cumsum(cmdp.rho), np.cumsum(behaviour, axis=1), np.cumsum(cmdp.P, axis=2)
    at = np.arange(datasets) * pairs * S
    tally = np.zeros(datasets * pairs * S, dtype=np.int64)
    states = _pick(np.broadcast_to(start, (datasets, S)), rng)
    for _ in range(length):
        actions = _pick(acts[states], rng)
        after = _pick(rows[states, actions], rng)
        tally[at + (states * A + actions) * S + after] += 1
        anew = rng.random(datasets) >= cmdp.gamma
        states = np.where(anew, _pick(np.broadcast_to(start, (datasets, S)), rng), after)
    successors = tally.reshape(datasets, S, A, S)
    n = successors.sum(axis=-1)
    some, R = np.maximum(n, 1), max(float(cmdp.r.max()), 1e-300)
    r = rng.binomial(n, np.minimum(cmdp.r / R, 1.0)) * R / some
    return Ensemble(cmdp, n, successors / some[..., None], r, pi, length)


def _pick(cumulative: Array, rng: np.random.Generator) -> Any:
    """One index for every row of cumulative probabilities."""
    u = rng.random(len(cumulative)) * cumulative[:, -1]
    return (cumulative <= u[:, None]).sum(axis=1)


def state_values(P: Array, gamma: float, pi: Array, f: Array) -> Array:
    """Values ``(B, S)`` of the signal ``f (..., S, A)`` under ``pi (B, S, A)``; ``P`` with or without
    datasets."""
    return _solve(np.eye(pi.shape[1]) - gamma * _kernel(P, pi), (pi * f).sum(axis=-1))


def _kernel(P: Array, pi: Array) -> Array:
    return np.matmul(pi[:, :, None, :], P)[:, :, 0]


def _solve(matrix: Array, right: Array) -> Array:
    return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0], dtype=np.float64)
