r"""Families of CMDPs drawn or built from parameters: RandomMDP, WindyCliff, Garnet; ring and grid among them.

RandomMDP and WindyCliff are the benchmark problems of the published FedNPG experiments, so RandomMDP draws
from NumPy's legacy generator, in the original order. Garnet MDPs (Archibald, McKinnon and Thomas, 1995) have
b random successors per state-action pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances.draft import point_mass
from tabular_fedrl.instances.draws import at_least, limit_size, subsets
from tabular_fedrl.instances.neighbours import grid, ring
from tabular_fedrl.instances.thresholds import binding_thresholds
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import log_softmax


@dataclass(frozen=True)
class Family:
    """A named family: ``build(**parameters)`` gives a problem; ``parameters`` are its defaults; ``notes`` say
    where the thresholds come from."""

    name: str
    summary: str
    parameters: Mapping[str, int | float | bool]
    build: Callable[..., Any]
    notes: tuple[str, ...]


def random_mdp(seed: int = 0, nS: int = 3, nA: int = 5, ncost: int = 4, gamma: float = 0.9) -> CMDP:
    r"""RandomMDP: dense random kernel, masked random costs.

    P is U[0,1] masked by Bernoulli(1/2), rows normalised (uniform if empty); r ~ U[0,1]; :math:`c_j` = U[0,1]
    masked by Bernoulli(1/2); :math:`d_j = 0.7\, V_{c_j}(\rho)` of an anchor policy, the softmax of U[-1,1]
    logits; rho is uniform. Draw order: P, its mask, r, (mask, cost) of each constraint, anchor logits. Joint
    feasibility is not guaranteed (about 98 % of seeds at the defaults).
    """
    at_least("random-mdp", seed=(seed, 0), nS=(nS, 1), nA=(nA, 1), ncost=(ncost, 0))
    if seed >= 2**32:
        raise InvalidProblem(f"random-mdp: seed = {seed} is not below 2**32, which its generator needs")
    limit_size("random-mdp", nS * nA * (nS + ncost))
    draw = np.random.RandomState(seed)
    P = draw.uniform(size=(nS, nA, nS))
    P *= draw.uniform(size=P.shape) < 0.5
    sums = P.sum(axis=2, keepdims=True)
    P = np.where(sums > 0, P, 1.0 / nS) / np.where(sums > 0, sums, 1.0)
    r = draw.uniform(size=(nS, nA))
    c = np.empty((ncost, nS, nA))
    for j in range(ncost):
        mask = draw.uniform(size=(nS, nA)) < 0.5
        c[j] = draw.uniform(size=(nS, nA)) * mask
    anchor = log_softmax(draw.uniform(-1.0, 1.0, size=(nS, nA)))
    problem = CMDP(P, r, c, np.zeros(ncost), np.full(nS, 1.0 / nS), gamma)
    return problem.replace(d=0.7 * evaluate(problem, anchor).at_rho.value[1:])


def windy_cliff(ncost: int = 1, gamma: float = 0.9, wind: float = 0.4) -> CMDP:
    """WindyCliff: 4 rows, 10 columns, from bottom left to bottom right along a cliff that the wind blows
    towards.

    Actions right, left, down, up. Every action but down moves as intended with probability ``1 - wind`` and
    is pushed one row down with probability ``wind``; moves off the grid stay put; down is deterministic. r =
    -0.1 everywhere, 20 in the bottom-right cell (not absorbing, collected every step). The bottom row from
    column 2 on is split into ``ncost`` segments of ``floor(6/ncost)`` cells; cost j is 10 on segment j; every
    threshold is 2.
    """
    rows, columns = 4, 10
    at_least("windy-cliff", ncost=(ncost, 0))
    if ncost > columns - 4:
        raise InvalidProblem(
            f"windy-cliff: ncost = {ncost} segments do not fit on the {columns - 4} cells of the cliff"
        )
    if not 0 <= wind <= 1:
        raise InvalidProblem(f"windy-cliff: wind = {wind:g} is not a probability")
    S = rows * columns
    row, column = np.divmod(np.arange(S), columns)

    def cell(down: int, right: int) -> Array:
        return np.clip(row + down, 0, rows - 1) * columns + np.clip(column + right, 0, columns - 1)

    P = np.zeros((S, 4, S))
    down = 2
    for a, (vertical, horizontal) in enumerate([(0, 1), (0, -1), (1, 0), (-1, 0)]):
        P[np.arange(S), a, cell(vertical, horizontal)] += 1.0 if a == down else 1.0 - wind
        if a != down:
            P[np.arange(S), a, cell(1, 0)] += wind
    r = np.full((S, 4), -0.1)
    r[S - 1] = 20.0
    c = np.zeros((ncost, S, 4))
    length = (columns - 4) // max(ncost, 1)
    for j in range(ncost):
        first = (rows - 1) * columns + 2 + j * length
        c[j, first : first + length] = 10.0
    return CMDP(
        P, r, c, np.full(ncost, 2.0), point_mass(S, (rows - 1) * columns), gamma,
        state_names=[f"row {i} column {k}" for i, k in zip(row, column)],
        action_names=["right", "left", "down", "up"],
    )  # fmt: skip


def garnet(
    S: int = 20,
    A: int = 4,
    b: int = 3,
    m: int = 2,
    seed: int = 0,
    gamma: float = 0.9,
    sparse: bool = False,
) -> CMDP:
    """Garnet: b distinct uniform successors per state-action pair with flat Dirichlet weights; rewards and
    costs U[0,1]; rho uniform.

    The thresholds bind and are strictly feasible together (:func:`binding_thresholds`). The same parameters
    give the same problem dense or ``sparse``.
    """
    at_least("garnet", S=(S, 1), A=(A, 1), b=(b, 1), m=(m, 0), seed=(seed, 0))
    if b > S:
        raise InvalidProblem(f"garnet: b = {b} distinct successors do not exist among S = {S} states")
    limit_size(
        "garnet",
        S * A * ((b if sparse else S) + m),
        "" if sparse else " (sparse=true stores successors only)",
    )
    draw = np.random.default_rng(seed)
    successors = subsets(draw, S * A, S, b)
    weights = draw.standard_exponential((S * A, b))
    weights /= weights.sum(axis=1, keepdims=True)
    r = draw.uniform(size=(S, A))
    c = draw.uniform(size=(m, S, A))
    order = np.argsort(successors, axis=1)
    columns = np.take_along_axis(successors, order, axis=1).ravel()
    data = np.take_along_axis(weights, order, axis=1).ravel()
    rows = sp.csr_array((data, columns, np.arange(0, S * A * b + 1, b)), shape=(S * A, S))
    P = rows if sparse else rows.toarray().reshape(S, A, S)
    problem = CMDP(P, r, c, np.zeros(m), np.full(S, 1.0 / S), gamma)
    return problem.replace(d=binding_thresholds(problem)) if m else problem


families: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "random-mdp",
            "small dense random MDP with masked random costs; about 2 % of the seeds are infeasible",
            {"seed": 0, "nS": 3, "nA": 5, "ncost": 4, "gamma": 0.9},
            random_mdp,
            ("d: 0.7 times the costs of a random anchor policy; joint feasibility is not guaranteed",),
        ),
        Family(
            "windy-cliff",
            "4 x 10 grid along a cliff with wind blowing towards it; the cliff is split into ncost segments",
            {"ncost": 1, "gamma": 0.9, "wind": 0.4},
            windy_cliff,
            ("d: 2 for every segment of the cliff, as published",),
        ),
        Family(
            "garnet",
            "random MDP with b successors per state and action, dense or sparse; the constraints bind",
            {"S": 20, "A": 4, "b": 3, "m": 2, "seed": 0, "gamma": 0.9, "sparse": False},
            garnet,
            ("d: halfway between a jointly cheap policy's costs and the unconstrained optimum's",),
        ),
        Family(
            "ring",
            "slow-mixing sparse MDP: b successors among the nearest states of a circle; the constraints bind",
            {"S": 100, "A": 4, "b": 3, "m": 1, "seed": 0, "gamma": 0.99},
            ring,
            ("d: halfway between the costs of a cheap policy and of one that looks at the reward only",),
        ),
        Family(
            "grid",
            "slow-mixing sparse MDP: b successors among the 3 x 3 cells around a cell; the constraints bind",
            {"rows": 10, "columns": 10, "A": 4, "b": 4, "m": 1, "seed": 0, "gamma": 0.99},
            grid,
            ("d: halfway between the costs of a cheap policy and of one that looks at the reward only",),
        ),
    )
}
"""The families by name."""
