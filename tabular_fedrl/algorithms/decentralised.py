r"""Decentralised FedNPG: agents on a graph, without a server, that track the mean of their Q functions.

Agent i maximises its own reward :math:`r_i = r - \sum_{j\in\Gamma_i} c_j`; together they want the mean reward
(constraints are prices here, thresholds are not looked at). With a symmetric doubly stochastic mixing matrix
W of the graph, :math:`Y_i = Q_i` at the start,

.. math:: \log\pi_i &\leftarrow \textstyle\sum_k W_{ik} \big((1 - \tfrac{\eta\tau}{1-\gamma}) \log\pi_k
             + \tfrac{\eta}{1-\gamma} Y_k\big) + \mathrm{const}, \\
          Y_i &\leftarrow \textstyle\sum_k W_{ik} (Y_k + Q_k^{\mathrm{new}} - Q_k^{\mathrm{old}}),

Q the soft Q of the agent's own reward under entropy weight :math:`\tau` (0 by default). Every neighbour is
sent a policy and a tracker. With W = 11'/N (the complete graph) this is NPG on the mean reward.

Source: Yang, Cen, Wei, Chen, Chi, "Federated natural policy gradient and actor critic methods for multi-task
reinforcement learning", NeurIPS 2024 (mark: *recalled*).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.rounds import LocalPhase, Round, record
from tabular_fedrl.algorithms.step_sizes import log_actions, number, positive_or, span
from tabular_fedrl.arithmetic import array, exp, log, maximum, minimum, stack, sum
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.federation import Federation, PublicSteps
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_probabilities, recentred

GRAPHS = ("ring", "star", "complete", "erdos-renyi")


def decentralised_fednpg(federation: Federation, W: Array, tau: float) -> Iterator[Round]:
    """The rounds with mixing matrix ``W (N, N)``; trackers and Q functions are the federation's memory."""
    agents, server, ledger = federation.agents, federation.server, federation.ledger
    views = [agent.view for agent in agents]
    eta, near = agents[0].eta, 1.0 - views[0].gamma
    degree = degrees(W)
    while True:
        k, log_policies = server.round, server.log_policy
        if server.memory is None:
            Q = stack([own_q(view, log_pi, tau) for view, log_pi in zip(views, log_policies)])
            server.memory = stack([Q, Q])
        tracker, Q = server.memory[0], server.memory[1]
        for i, neighbours in enumerate(degree):
            for _ in range(neighbours):
                ledger.carry(k, "up", i, "policy", log_policies[i])
                ledger.carry(k, "up", i, "tracker", tracker[i])
        kept = 1.0 - eta * tau / near
        moved = [kept * log_pi + eta / near * Y for log_pi, Y in zip(log_policies, tracker)]
        after = stack([recentred(_mixed(row, moved)) for row in W])
        Q_after = stack([own_q(view, log_pi, tau) for view, log_pi in zip(views, after)])
        changed = list(tracker + Q_after - Q)
        server.memory = stack([stack([_mixed(row, changed) for row in W]), Q_after])
        server.log_policy = after
        server.round += 1
        phases = [
            LocalPhase(stack([before, end]), agent.multipliers[None], 0)
            for before, end, agent in zip(log_policies, after, agents)
        ]
        yield record(federation, k, log_policies, phases)


def degrees(W: Array) -> list[int]:
    """To how many others each agent is linked by a mixing matrix."""
    linked = (Measured.of(W).value != 0) & ~np.eye(len(W), dtype=bool)
    return [int(n) for n in linked.sum(axis=1)]


def _mixed(row: Array, tables: Any) -> Any:
    return sum(stack([weight * table for weight, table in zip(row, tables)]), axis=0)


def own_reward(view: CMDP) -> Array:
    """:math:`r_i` ``(S, A)`` from what agent i sees."""
    return view.r - sum(view.c, axis=0)


def own_q(view: CMDP, log_pi: Array, tau: float) -> Array:
    r"""The soft Q of :math:`r_i`, ``(S, A)``."""
    if tau == 0:
        return policy_values(view, log_pi, own_reward(view)[None])[1][0]
    bonus = -tau * log_probabilities(log_pi)
    return policy_values(view, log_pi, (own_reward(view) + bonus)[None])[1][0] - bonus


def mixing_matrix(graph: str, N: int, seed: int = 0) -> Array:
    r"""Metropolis weights :math:`W_{ik} = 1/(1 + \max(\deg i, \deg k))` on the edges of a connected graph of
    N agents; an Erdos-Renyi graph has edges with probability 1/2 and is drawn again until it is connected."""
    edges = np.zeros((N, N), dtype=bool)
    if graph == "ring":
        edges[np.arange(N), (np.arange(N) + 1) % N] = True
    elif graph == "star":
        edges[0, 1:] = True
    elif graph == "complete":
        edges[:] = True
    elif graph == "erdos-renyi":
        rng = np.random.default_rng(seed)
        while not _connected(edges):
            edges = np.triu(rng.random((N, N)) < 0.5, 1)
    else:
        raise InvalidProblem(f"graph {graph!r}: expected {', '.join(GRAPHS)}")
    edges = (edges | edges.T) & ~np.eye(N, dtype=bool)
    degree = edges.sum(axis=1)
    W = array(edges) / (1.0 + maximum(degree[:, None], degree))
    W[np.arange(N), np.arange(N)] = 1.0 - W.sum(axis=1)
    return W


def _connected(edges: Any) -> bool:
    N = len(edges)
    reach = np.linalg.matrix_power(np.eye(N) + edges + edges.T, max(N - 1, 1))
    return bool((reach > 0).all())


def mixing_gap(W: Array) -> float:
    r""":math:`\sigma = \|W - 11'/N\|_2`: 0 if one exchange averages exactly, below 1 on a connected graph."""
    return float(np.linalg.norm(Measured.of(W).value - 1.0 / len(W), 2))


def decentralised_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r"""The step that balances the published bound at T, within its condition, for rewards of span R:
    :math:`\eta R \le (1-\sigma)^2(1-\gamma)^3/(16\sqrt N\sigma)`; on the complete graph NPG's step."""
    cmdp, N, eta, tau = problem.cmdp, problem.N, given["eta"], given["tau"]
    if not (np.isfinite(tau) and tau >= 0):
        raise InvalidProblem(f"tau = {tau!r}: expected a number from 0 on")
    if eta is None:
        R = positive_or(largest_span(problem), 1.0)
        sigma, near = mixing_gap(mixing_matrix(given["graph"], N, given["graph_seed"])), 1.0 - cmdp.gamma
        eta = near**2 * log_actions(cmdp) / R
        if sigma > 1e-12:
            limit = (1.0 - sigma) ** 2 * near**3 / (16.0 * N**0.5 * sigma * R)
            disagreement = 64.0 * rounds * N * sigma**2 * R**3 / (near**9 * (1.0 - sigma) ** 2)
            balanced = exp(log(log_actions(cmdp) / disagreement) / 3.0)
            eta = minimum(minimum(eta, limit), balanced)
    return PublicSteps(number(eta), array(np.zeros(cmdp.m)), array(np.ones(cmdp.m)))


def largest_span(problem: FederatedCMDP) -> Any:
    """The largest span of the agents' own rewards."""
    return number(stack([span(own_reward(problem.view(i))) for i in range(problem.N)]).max())
