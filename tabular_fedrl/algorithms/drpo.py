r"""DRPO: federated offline policy optimisation with two regularisers.

**Problem.** N clients share S, A and the law of the environment, but each has only a table of transitions
that its own behaviour policy :math:`b_i` left behind. They want one good policy, without showing their data.

**Algorithm.** Start at the uniform policy. In round k = 0, 1, ...

1. The server sends :math:`\pi_k`.
2. Client i evaluates it in its model, :math:`Q_i \approx Q^{\pi_k}`, and moves to

   .. math:: \pi_i(\cdot|s) = \arg\max_p\; \langle p, Q_i\rangle
             - \alpha\,D(p, b_i) - \beta\,D(p, \pi_k),

   D the KL divergence: reverse, :math:`KL(p\|\cdot)` (the R-step), or forward, :math:`KL(\cdot\|p)` (the
   F-step). The first regulariser keeps it near its own data, the second near the others. With E local steps
   it evaluates what it has come to and steps again, from the same :math:`\pi_k`; ``local="optimum"`` takes
   the regularised optimum of its model instead (Theorem D), which weighs later divergences too.
3. The server averages: arithmetically (A1), geometrically (A2), or as the mixture that draws a client once an
   episode (A3).

Where a client has no data it abstains: :math:`b_i = \pi_k`, :math:`Q_i` constant. The critic is plain; or
regularised, :math:`Q_\alpha` (Theorem E), or CQL's. Reading G has the first regulariser in the critic alone:
there ``local="optimum"`` leaves :math:`\alpha` out, while steps take the one they are given.

Source: Yue, Qin, Hua, Deng, Ren, "Federated Offline Policy Optimization with Dual Regularization", INFOCOM
2024, arXiv 2405.17474. F-step and CQL critic: read in the authors' public code (mark: *code*); the R-step,
Theorem D's optimum, A2, A3 and the per-client constraints (multipliers as in FedNPG, with the step taken on
the local Lagrangian) are *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_balance import balance
from tabular_fedrl.algorithms.drpo_certificate import certify_improvement
from tabular_fedrl.algorithms.drpo_choice import Choice
from tabular_fedrl.algorithms.drpo_cql import cql_optimum
from tabular_fedrl.algorithms.drpo_steps import (
    aggregate,
    client_weights,
    cql_values,
    entropy_forward_step,
    forward_step,
    regularised_optimum,
    regularised_values,
    reverse_step,
)
from tabular_fedrl.algorithms.local import dual_step
from tabular_fedrl.algorithms.offline_clients import Client
from tabular_fedrl.algorithms.rounds import Round, local_steps, record
from tabular_fedrl.arithmetic import log, matmul, stack, sum
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import policy_values, visitation
from tabular_fedrl.federation import Agent, Federation


def drpo(federation: Federation, clients: list[Client], choice: Choice) -> Iterator[Round]:
    """The rounds of DRPO."""
    server, ledger, E = federation.server, federation.ledger, federation.local_steps
    while True:
        k, log_pi_k = server.round, server.log_policy
        alpha, beta = round_weights(federation, clients, choice)
        phases, uploads = [], []
        for agent, client in zip(federation.agents, clients):
            log_pi = ledger.carry(k, "down", agent.index, "policy", log_pi_k)
            step = partial(local_step, client=client, log_pi_k=log_pi, alpha=alpha, beta=beta, choice=choice)
            phase = local_steps(agent, log_pi, E, step)
            uploads.append(ledger.carry(k, "up", agent.index, "policy", phase.log_policies[E]))
            phases.append(phase)
        server.log_policy = merge(federation, stack(uploads))
        server.round += 1
        yield record(federation, k, log_pi_k, phases)


def local_step(
    agent: Agent, log_pi: Any, *, client: Client, log_pi_k: Any, alpha: Any, beta: Any, choice: Choice
) -> Any:
    r"""One step of client i, which is at ``log_pi``, from the broadcast policy :math:`\pi_k`."""
    model = local_lagrangian(agent, client)
    if agent.constraints:
        V = policy_values(client.model, client.in_model(log_pi))[0]
        dual_step(agent, matmul(V[1:], client.model.rho))
    log_b = client.behaviour(log_pi_k)
    if choice.local == "optimum":
        own, ours = client.in_model(log_b), client.in_model(log_pi_k)
        if choice.critic == "cql":
            return cql_optimum(model, own, ours, choice.cql, beta)[: client.S]
        return regularised_optimum(model, own, ours, alpha, beta)[0][: client.S]
    Q = critic(client, model, log_pi, client.behaviour(log_pi), alpha, choice)
    if choice.step == "reverse":
        return reverse_step(log_pi_k, log_b, Q, alpha, beta)
    if choice.entropy > 0:
        p, _ = entropy_forward_step(log_pi_k, log_b, Q, alpha, beta, choice.entropy)
    else:
        p, _ = forward_step(log_pi_k, log_b, Q, alpha, beta)
    with np.errstate(divide="ignore"):
        return log(p)


def critic(client: Client, model: CMDP, log_pi: Any, log_b: Any, alpha: Any, choice: Choice) -> Any:
    r""":math:`Q_i` ``(S, A)`` at ``log_pi``; constant in the states without data."""
    log_pi, log_b = client.in_model(log_pi), client.in_model(log_b)
    if choice.critic == "regularised":
        Q = regularised_values(model, log_pi, log_b, alpha)[1].plain
    elif choice.critic == "cql":
        Q = cql_values(model, log_pi, log_b, choice.cql)[1].plain
    else:
        Q = policy_values(model, log_pi, model.r[None])[1][0]
    return Q[: client.S] * client.seen.astype(np.float64).reshape(-1, 1)


def local_lagrangian(agent: Agent, client: Client) -> CMDP:
    r"""The client's model with reward :math:`r - \sum_{j\in\Gamma_i} \lambda_{ij} c_j`."""
    if not agent.constraints:
        return client.model
    lam = agent.multipliers
    return client.model.replace(r=client.model.r - sum(lam[:, None, None] * client.model.c, axis=0))


def merge(federation: Federation, log_policies: Any) -> Any:
    r"""The next global policy of the local ones ``(N, S, A)``.

    The episode mixture A3 has the value :math:`\sum_i \omega_i J(\pi_i)` of no average of tables. The policy
    of its visits, :math:`\sum_i \omega_i d^{\pi_i}\pi_i / \sum_i \omega_i d^{\pi_i}`, has the same visitation
    and hence the same value; it stands for it here and is computed from the true model, while whoever plays
    the mixture need not know any.
    """
    server = federation.server
    if server.aggregation != "mixture":
        return aggregate(server.aggregation, log_policies, server.weights)
    omega = client_weights(len(log_policies), server.weights)
    view = federation.agents[0].view
    visits = stack([visitation(view, log_pi).plain for log_pi in log_policies])
    shares = omega.reshape(-1, 1) * (visits + 1e-300)  # any shares where nobody ever comes
    return aggregate("arithmetic", log_policies, shares / sum(shares, axis=0))


def round_weights(federation: Federation, clients: list[Client], choice: Choice) -> tuple[float, float]:
    r""":math:`\alpha, \beta` of the round that begins."""
    server = federation.server
    k, log_pi = server.round, server.log_policy
    alpha, beta = (values[min(k, len(values) - 1)] for values in (choice.alpha, choice.beta))
    if choice.balance == "given":
        return alpha, beta
    view = federation.agents[0].view
    if choice.balance == "certificate":
        counts = [client.counts for client in clients if client.counts is not None]
        rewards = float(view.r.min()), float(view.r.max())
        found = certify_improvement(
            counts, view.gamma, view.rho, log_pi, choice.delta, rewards=rewards, weights=server.weights
        )
        return found.best[0].alpha, found.best[0].beta
    log_b = stack([client.behaviour(log_pi) for client in clients])
    pairs = list(zip(federation.agents, clients))
    models = [local_lagrangian(agent, client) for agent, client in pairs]
    Q = [critic(c, M, log_pi, b, alpha, choice) for c, M, b in zip(clients, models, log_b)]
    judged = balance(view, log_pi, log_b, stack(Q), server.weights)
    return judged.weights(alpha) or (alpha, beta)
