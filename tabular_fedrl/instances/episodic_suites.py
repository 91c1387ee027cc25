"""Environments of several clients with common states, actions and horizon that differ in their goals or their
dynamics. Episodes succeed or fail at their end: the reward of the last step is the probability of success."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import point_mass
from tabular_fedrl.instances.draws import at_least, limit_size, subsets
from tabular_fedrl.instances.families import Family
from tabular_fedrl.measured import Array

MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Right, left, down, up: rows and columns."""
MOST_SIDE = 20


def opposed_grid(
    side: int = 4, clients: int = 6, opposed: int = 2, H: int = 6, slip: float = 0.125
) -> FederatedEpisodicMDP:
    """A square grid without obstacles, the same for all: an episode starts in a random cell and succeeds if
    it ends in the client's goal.

    The last ``opposed`` clients want the top left corner, the others the bottom right one. A move goes where
    it is meant to with probability ``1 - slip``, else in one of the four directions at random; moves off the
    grid stay put.
    """
    at_least("opposed-grid", side=(side, 2), clients=(clients, 1), opposed=(opposed, 0), H=(H, 1))
    if opposed > clients:
        raise InvalidProblem(f"opposed-grid: opposed = {opposed} of clients = {clients}")
    if side > MOST_SIDE or not 0 <= slip <= 1:
        raise InvalidProblem(
            f"opposed-grid: side = {side}, slip = {slip:g}: expected a side up to {MOST_SIDE}, a probability"
        )
    limit_size("opposed-grid", side**2 * 4 * (side**2 + clients * H))
    S = side**2
    row, column = np.divmod(np.arange(S), side)
    reached = np.stack(
        [np.clip(row + i, 0, side - 1) * side + np.clip(column + k, 0, side - 1) for i, k in MOVES], axis=1
    )
    P = np.zeros((S, 4, S))
    for a in range(4):
        P[np.arange(S), a, reached[:, a]] += 1.0 - slip
        for b in range(4):
            P[np.arange(S), a, reached[:, b]] += slip / 4
    goals = [S - 1] * (clients - opposed) + [0] * opposed
    names = {
        "state_names": [f"row {i} column {k}" for i, k in zip(row, column)],
        "action_names": ["right", "left", "down", "up"],
    }
    rho = np.full(S, 1.0 / S)
    return FederatedEpisodicMDP([EpisodicMDP(P, _ending(P[:, :, g], H), rho, H, **names) for g in goals])


def success_garnet(
    S: int = 12,
    A: int = 4,
    b: int = 3,
    H: int = 6,
    clients: int = 6,
    goals: int = 2,
    heterogeneity: float = 0.5,
    seed: int = 0,
) -> FederatedEpisodicMDP:
    r"""Garnet dynamics and goals between common ones and each client's own.

    Client k has :math:`(1-x) P + x P_k` and succeeds in state s at the end with probability
    :math:`(1-x) g(s) + x g_k(s)`, x = ``heterogeneity``: P and the :math:`P_k` have b random successors with
    flat Dirichlet weights, g and the :math:`g_k` mark ``goals`` random states. rho is uniform. The draws do
    not depend on x.
    """
    at_least("success-garnet", S=(S, 1), A=(A, 1), b=(b, 1), H=(H, 1), clients=(clients, 1), goals=(goals, 1))
    at_least("success-garnet", seed=(seed, 0))
    if b > S or goals > S:
        raise InvalidProblem(f"success-garnet: b = {b} or goals = {goals} of S = {S} states")
    if not 0 <= heterogeneity <= 1:
        raise InvalidProblem(f"success-garnet: heterogeneity = {heterogeneity:g} is not between 0 and 1")
    limit_size("success-garnet", (clients + 1) * S * A * (S + H))
    draw = np.random.default_rng(seed)
    P, g = _garnet(draw, S, A, b, goals)
    mdps = []
    for _ in range(clients):
        own, mine = _garnet(draw, S, A, b, goals)
        kernel = (1.0 - heterogeneity) * P + heterogeneity * own
        marked = (1.0 - heterogeneity) * g + heterogeneity * mine
        mdps.append(EpisodicMDP(kernel, _ending(kernel @ marked, H), np.full(S, 1.0 / S), H))
    return FederatedEpisodicMDP(mdps)


def frozen_lakes(
    clients: int = 5, side: int = 4, H: int = 16, slippery: bool = True, seed: int = 0
) -> FederatedEpisodicMDP:
    """Gymnasium's FrozenLake with another random layout for each client (four cells in five are ice, the goal
    can be reached): an episode succeeds if it is in the goal after H steps."""
    at_least("frozen-lakes", clients=(clients, 1), side=(side, 2), H=(H, 1), seed=(seed, 0))
    if side > MOST_SIDE:
        raise InvalidProblem(f"frozen-lakes: side = {side}: expected one up to {MOST_SIDE}")
    limit_size("frozen-lakes", clients * side**2 * 4 * (side**2 + H))
    S = side**2
    mdps = []
    for layout in _layouts(side, clients, seed):
        env = FrozenLakeEnv(desc=layout, is_slippery=slippery)
        P = np.zeros((S, 4, S))
        for s in range(S):
            for a in range(4):
                for probability, successor, _, _ in env.P[s][a]:
                    P[s, a, successor] += probability
        env.close()
        cells = "".join(layout)
        names = {
            "state_names": [f"row {s // side} column {s % side} ({cells[s]})" for s in range(S)],
            "action_names": ["left", "down", "right", "up"],
        }
        # Goal and holes are absorbing in the table.
        mdps.append(EpisodicMDP(P, _ending(P[:, :, cells.index("G")], H), point_mass(S, 0), H, **names))
    return FederatedEpisodicMDP(mdps)


def _layouts(side: int, count: int, seed: int) -> list[list[str]]:
    """Different random layouts, rows of letters.

    Raises
    ------
    InvalidProblem: a side with too few of them.
    """
    found: list[list[str]] = []
    for k in range(100 * count):
        layout = generate_random_map(size=side, p=0.8, seed=seed * 100_000 + k)
        if layout not in found:
            found.append(layout)
        if len(found) == count:
            return found
    raise InvalidProblem(
        f"frozen-lakes: side = {side} has only {len(found)} layouts among {100 * count} drawn"
    )


def _garnet(draw: np.random.Generator, S: int, A: int, b: int, goals: int) -> tuple[Array, Array]:
    """A kernel ``(S, A, S)`` and the mark of the goals ``(S,)``."""
    P, g = np.zeros((S * A, S)), np.zeros(S)
    np.put_along_axis(P, subsets(draw, S * A, S, b), draw.dirichlet(np.ones(b), size=S * A), axis=1)
    g[subsets(draw, 1, S, goals)] = 1.0
    return P.reshape(S, A, S), g


def _ending(success: Array, H: int) -> Array:
    """Rewards ``(H, S, A)``: the probability of success ``(S, A)`` at the last step."""
    r = np.zeros((H, *success.shape))
    r[-1] = np.clip(success, 0.0, 1.0)
    return r


SUITES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "opposed-grid",
            "several clients in one grid without obstacles, some of whom want the opposite corner",
            {"side": 4, "clients": 6, "opposed": 2, "H": 6, "slip": 0.125},
            opposed_grid,
            ("an episode succeeds if it ends in the client's corner",),
        ),
        Family(
            "success-garnet",
            "several clients with Garnet dynamics and goals between common ones and their own",
            {"S": 12, "A": 4, "b": 3, "H": 6, "clients": 6, "goals": 2, "heterogeneity": 0.5, "seed": 0},
            success_garnet,
            ("an episode succeeds if it ends in one of the client's goals",),
        ),
        Family(
            "frozen-lakes",
            "FrozenLake with a random layout for each client",
            {"clients": 5, "side": 4, "H": 16, "slippery": True, "seed": 0},
            frozen_lakes,
            ("an episode succeeds if it is in the goal after H steps",),
        ),
    )
}
"""The suites by name."""
