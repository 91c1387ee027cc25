"""Families of finite-horizon problems: Garnets, and textbook examples whose values are known by hand.

Rewards lie on a coarse grid, so that the law of the return can be computed.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import point_mass
from tabular_fedrl.instances.draws import at_least, limit_size, subsets
from tabular_fedrl.instances.families import Family

MAX_DEPTH = 10


def episodic_garnet(
    S: int = 4, A: int = 2, H: int = 3, b: int = 2, levels: int = 4, seed: int = 0, varying: bool = True
) -> EpisodicMDP:
    """Garnet of H steps: b distinct uniform successors with flat Dirichlet weights for every state, action
    and (if ``varying``) step; rewards uniform on {0, 1/levels, ..., 1}; rho uniform."""
    at_least(
        "episodic-garnet", S=(S, 1), A=(A, 1), H=(H, 1), b=(b, 1), levels=(levels, 1), seed=(seed, 0)
    )  # fmt: skip
    if b > S:
        raise InvalidProblem(
            f"episodic-garnet: b = {b} distinct successors do not exist among S = {S} states"
        )
    tables = H if varying else 1
    limit_size("episodic-garnet", tables * S * A * S)
    draw = np.random.default_rng(seed)
    successors = subsets(draw, tables * S * A, S, b)
    weights = draw.standard_exponential(successors.shape)
    P = np.zeros((tables * S * A, S))
    np.put_along_axis(P, successors, weights / weights.sum(axis=1, keepdims=True), axis=1)
    r = draw.integers(0, levels + 1, size=(tables, S, A)) / levels
    kernel = P.reshape(tables, S, A, S)
    first = slice(None) if varying else 0
    return EpisodicMDP(kernel[first], r[first], np.full(S, 1.0 / S), H)


def bandit(A: int = 2) -> EpisodicMDP:
    r"""One state, one step; arm a pays a/(A-1). By hand: :math:`V = \sum_a \pi(a)\,a/(A-1)`."""
    at_least("episodic-bandit", A=(A, 2))
    limit_size("episodic-bandit", A)
    return EpisodicMDP(np.ones((1, A, 1)), np.arange(A)[None] / (A - 1), [1.0], 1)


def chain(H: int = 5) -> EpisodicMDP:
    r"""Stay on the path to the end: the action ``stay`` keeps the state, ``leave`` loses it for good, and
    only the last ``stay`` pays 1. By hand: :math:`V = \prod_h \pi_h(\text{stay}|\text{on})`."""
    at_least("episodic-chain", H=(H, 1))
    limit_size("episodic-chain", 4 * H)
    P = np.zeros((2, 2, 2))
    P[0, 0, 0] = P[0, 1, 1] = P[1, :, 1] = 1.0
    r = np.zeros((H, 2, 2))
    r[H - 1, 0, 0] = 1.0
    return EpisodicMDP(
        P, r, point_mass(2, 0), H, state_names=["on", "off"], action_names=["stay", "leave"]
    )  # fmt: skip


def tree(H: int = 3) -> EpisodicMDP:
    r"""A complete binary tree of depth H, its nodes numbered from the root by rows; a path with an even
    number of right turns pays 1 at its last turn.

    By hand: under :math:`\pi_h(\text{right}) = q` everywhere, :math:`V = (1 + (1-2q)^H)/2`; under the uniform
    policy both turns are worth the same at every step but the last, and the gradient vanishes there.
    """
    at_least("episodic-tree", H=(H, 1))
    if H > MAX_DEPTH:
        raise InvalidProblem(f"episodic-tree: H = {H} is over the limit of {MAX_DEPTH}")
    S = 2**H - 1
    P, r = np.zeros((S, 2, S)), np.zeros((S, 2))
    inner = np.arange(2 ** (H - 1) - 1)
    leaves = np.arange(2 ** (H - 1) - 1, S)
    for right in (0, 1):
        P[inner, right, 2 * inner + 1 + right] = 1.0
        P[leaves, right, leaves] = 1.0
        turns = [bin(leaf - leaves[0]).count("1") for leaf in leaves]
        r[leaves, right] = [(k + right) % 2 == 0 for k in turns]
    return EpisodicMDP(P, r, point_mass(S, 0), H, action_names=["left", "right"])


episodic_families: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "episodic-garnet",
            "random MDP of H steps with b successors per state and action; rewards on the grid k/levels",
            {"S": 4, "A": 2, "H": 3, "b": 2, "levels": 4, "seed": 0, "varying": True},
            episodic_garnet,
            (),
        ),
        Family("episodic-bandit", "one state and one step; arm a pays a/(A-1)", {"A": 2}, bandit, ()),
        Family("episodic-chain", "stay on a path for H steps to be paid at the end", {"H": 5}, chain, ()),
        Family(
            "episodic-tree",
            "binary tree of depth H that pays for an even number of right turns",
            {"H": 3},
            tree,
            (),
        ),
    )
}
"""The families of finite-horizon problems by name."""
