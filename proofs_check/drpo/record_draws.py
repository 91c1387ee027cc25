r"""Random records of one client: what a simulator showed, and what misleads the most."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law
from proofs_check.drpo.records import Records, grounded, observed, radii, shown
from proofs_check.drpo.step import draw
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.measured import Array, Measured

MARGIN = 1e-6
"""How far inside the event's border models are put, so that rounding does not push them over."""


def records(
    problem: FederatedCMDP,
    draws: int,
    seed: int,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    delta: float = 0.1,
    smoothing: float = 0.0,
) -> list[Records]:
    r"""Random records from random variations of the problem, every second one at the vertices (see
    :func:`proofs_check.drpo.step.draw`).

    Half of the models are what a generative simulator showed, with rewards that are all or nothing; the other
    half lie on the border of the event, in directions that mislead: rewards and transitions too good for some
    pairs, too bad for others. The global policy takes only actions that were seen, in every fifth draw only
    some of them. Records may be so few that whole states lack them. ``smoothing``: added to every count for
    b. Draws in which all rewards are equal are left out.
    """
    drawn = (_record(problem, k, seed, alpha, beta, delta, smoothing) for k in range(draws))
    return [x for x in drawn if x.truth.floats().r.max() > 0]


def _record(
    problem: FederatedCMDP,
    k: int,
    seed: int,
    alpha: float | None,
    beta: float | None,
    delta: float,
    smoothing: float,
) -> Records:
    rng = np.random.default_rng((seed, k, 1))
    drawn = draw(problem, clients=1, alpha=alpha, beta=beta, seed=(seed, k), vertex=k % 2 == 1)
    truth = grounded(drawn.cmdp)
    plain = truth.floats()
    b = np.exp(Measured.of(drawn.log_b[0]).value)
    log_pi = Measured.of(drawn.log_pi).value
    shares = rng.dirichlet(np.ones(truth.S))[:, None] * b
    size = int(10.0 ** rng.uniform(0.0, 5.0) * truth.S * truth.A)
    n = rng.multinomial(size, shares.ravel() / shares.sum()).reshape(b.shape)
    if (k // 2) % 2:
        P, r = misleading(plain, log_pi, n, delta, rng)
    else:
        P, r = shown(plain, n, rng)
    support = (n > 0) | (n.sum(axis=1, keepdims=True) == 0)
    if k % 5 == 0:
        support = thinned(support, rng)
    pi = Law.normalised(Measured(log_pi), support).plain
    return observed(truth, n, P, r, pi, drawn.alpha, drawn.beta, delta, smoothing)


def thinned(support: Any, rng: np.random.Generator) -> Any:
    """A random part of a support."""
    part = support & (rng.random(support.shape) < 0.7)
    return np.where(part.any(axis=-1, keepdims=True), part, support)


def misleading(
    cmdp: CMDP, log_pi: Array, n: Any, delta: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """A model on the border of the event: too good for a random half of the pairs, too bad for the others."""
    limits = radii(cmdp, cmdp.S, delta)
    V = policy_values(cmdp, log_pi, cmdp.r[None])[0][0]
    up = rng.random(n.shape) < 0.5
    reach = (1 - MARGIN) / np.sqrt(np.maximum(n, 1))
    r = np.clip(cmdp.r + np.where(up, 1, -1) * reach * float(limits.reward.value), 0, cmdp.r.max())
    # Mass goes from the worst states to the best one, or the other way.
    order = np.where(up[..., None], np.argsort(V), np.argsort(-V))
    rows = np.take_along_axis(cmdp.P, order, axis=-1)
    budget = np.minimum(reach * float(limits.law.value) / 2, 1.0)[..., None]
    before = np.cumsum(rows, axis=-1) - rows
    taken = np.clip(budget - before, 0.0, rows)
    rows = rows - taken
    rows[..., -1] += taken.sum(axis=-1)
    P = np.empty_like(rows)
    np.put_along_axis(P, order, rows, axis=-1)
    return P, r
