"""Baseline bootstrapping on many datasets side by side: the best model-based policy that follows b where the
data are thin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.ensembles import Ensemble, state_values
from proofs_check.drpo.records import shown
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.measured import Array
from tabular_fedrl.offline import draw

MOST_STEPS = 100
"""Policy iterations; five to ten are usual."""


@dataclass(frozen=True)
class Trials:
    r"""Datasets of one problem, the baseline ``b (S, A)``, and the count ``least`` below which it is
    copied."""

    data: Ensemble
    b: Array
    least: int

    @cached_property
    def policy(self) -> Array:
        r"""The best in each model among those with :math:`\pi = b` on pairs of fewer than ``least``
        transitions, by policy iteration, ``(B, S, A)``."""
        x = self.data
        free = x.n >= self.least
        kept, mass = self.b * ~free, (self.b * free).sum(axis=-1, keepdims=True)
        pi, V = np.broadcast_to(self.b, x.n.shape), np.full(x.n.shape[:2], -np.inf)
        for _ in range(MOST_STEPS):
            before, V = V, state_values(x.P, x.truth.gamma, pi, x.r)
            # Values increase until rounding is all that is left.
            if (V - before <= 1e-12 * (1.0 + np.abs(V))).all():
                return np.asarray(pi)
            Q = np.where(free, x.r + x.truth.gamma * np.matmul(x.P, V[:, None, :, None])[..., 0], -np.inf)
            pi = kept + mass * (np.arange(x.truth.A) == Q.argmax(axis=-1)[..., None])
        raise SolverFailure(f"policy iteration has not settled after {MOST_STEPS} steps")

    @cached_property
    def loss(self) -> Array:
        r""":math:`[J(b) - \hat J(b)] - [J(\pi) - \hat J(\pi)]`, ``(B,)``: what zeta allows for."""
        b = np.broadcast_to(self.b, self.data.n.shape)
        off = [self.data.J(pi) - self.data.J_model(pi) for pi in (b, self.policy)]
        return np.asarray(off[0] - off[1])


def collected(cmdp: CMDP, logger: Array, length: int, datasets: int, seed: int) -> Ensemble:
    """Trajectories of ``length`` transitions under ``logger (S, A)``, rewards all or nothing."""
    S, A = cmdp.S, cmdp.A
    with np.errstate(divide="ignore"):
        log_b = np.broadcast_to(np.log(logger), (datasets, S, A))
    rows = draw(cmdp, log_b, length, seed, rewards="bernoulli")
    pair = (rows.client * S + rows.state) * A + rows.action
    successors = np.bincount(pair * S + rows.next_state, minlength=datasets * S * A * S)
    n = np.bincount(pair, minlength=datasets * S * A)
    r = np.bincount(pair, weights=rows.reward, minlength=n.size) / np.maximum(n, 1)
    shape = datasets, S, A
    P = successors.reshape(*shape, S) / np.maximum(n, 1).reshape(*shape, 1)
    return Ensemble(cmdp, n.reshape(shape), P, r.reshape(shape), logger, length)


def tabled(cmdp: CMDP, counts: Array, datasets: int, seed: int) -> Ensemble:
    """As many independent transitions of every pair as ``counts (S, A)`` says."""
    rng = np.random.default_rng(seed)
    n = np.broadcast_to(np.asarray(counts, dtype=np.int64), (datasets, cmdp.S, cmdp.A))
    return Ensemble(cmdp, n, *shown(cmdp, n, rng), np.full((cmdp.S, cmdp.A), 1.0 / cmdp.A), 1)
