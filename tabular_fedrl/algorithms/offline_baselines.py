r"""What DRPO is compared with, on the same data and with the same kind of result.

* ``behaviour-cloning``: the clients send :math:`b_i`, the server averages with weights
  :math:`\omega_i n_i(s)`: the behaviour of the pooled data.
* ``fedavg-cql``: every client evaluates the global policy, confined to its own data, by CQL and takes a
  natural-gradient step of size :math:`1/\beta`; the server averages.
* ``local-only``: every client keeps the optimum of its own model with
  :math:`\frac{\alpha}{1-\gamma} E_{d^\pi} KL(\pi\|b_i)` taken off; nothing is sent.
* ``pooled-oracle``: the same optimum on the pooled data, which no federation may have.
* ``spibb``: the best policy of the client's model that follows :math:`b_i` on all pairs with fewer than
  ``least_count`` transitions (Laroche, Trichelair, Tachet des Combes, "Safe policy improvement with baseline
  bootstrapping", ICML 2019, :math:`\Pi_b`-SPIBB), averaged with weights :math:`\omega_i n_i(s)`.
* ``fedora``: DRPO's R-step, averaged with weights :math:`\propto \omega_i e^{J_i(\pi_i)/T}`,
  :math:`J_i(\pi_i)` the local policy's value in the client's model, so that the better clients have more say
  (after Rengarajan, Ragothaman, Kalathil, Shakkottai, "Federated ensemble-directed offline reinforcement
  learning", 2023; mark: *recalled*).

All others are *ours* in this form. Where a client has no data it keeps the global policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_steps import (
    aggregate,
    client_weights,
    cql_values,
    regularised_optimum,
    reverse_step,
)
from tabular_fedrl.algorithms.offline_clients import Client, data_weights
from tabular_fedrl.algorithms.rounds import LocalPhase, Round, record
from tabular_fedrl.arithmetic import array, exp, is_minus_infinity, log, matmul, stack, where
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.federation import Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.offline.counts import behaviour, empirical, pool
from tabular_fedrl.policies import log_softmax, recentred

MOST_IMPROVEMENTS = 1000


def behaviour_cloning(federation: Federation, clients: list[Client]) -> Iterator[Round]:
    """The clients' behaviours, averaged once; later rounds change nothing."""
    shares = data_weights(clients, federation.server.weights)
    return _rounds(federation, lambda i, log_pi: clients[i].behaviour(log_pi), lambda _: shares)


def fedavg_cql(federation: Federation, clients: list[Client], beta: float, cql: float) -> Iterator[Round]:
    """One CQL evaluation and one step of size ``1/beta`` at every client, averaged."""

    def local(i: int, log_pi: Any) -> Any:
        client = clients[i]
        own = confined(log_pi, client.behaviour(log_pi))
        Q = cql_values(client.model, client.in_model(own), client.in_model(client.behaviour(log_pi)), cql)[1]
        seen = client.seen.astype(np.float64).reshape(-1, 1)
        return reverse_step(own, own, Q.plain[: client.S] * seen, 0.0, beta)

    return _rounds(federation, local, lambda _: client_weights(len(clients), federation.server.weights))


def local_only(federation: Federation, clients: list[Client], alpha: float) -> Iterator[Round]:
    """The clients' own regularised optima, never sent."""
    server = federation.server
    optima = [_optimum(client, log_pi, alpha) for client, log_pi in zip(clients, server.log_policy)]
    while True:
        k, before = server.round, server.log_policy
        server.log_policy = stack(optima)
        server.round += 1
        phases = [_phase(a, b, federation.m) for a, b in zip(before, optima)]
        yield record(federation, k, before, phases)


def pooled_oracle(federation: Federation, clients: list[Client], alpha: float) -> Iterator[Round]:
    """The regularised optimum of the pooled data, sent to the server in the first round."""
    log_pi = federation.server.log_policy
    counts = [client.counts for client in clients if client.counts is not None]
    log_b = aggregate(
        "arithmetic",
        stack([client.behaviour(log_pi) for client in clients]),
        data_weights(clients, federation.server.weights),
    )
    if counts:
        if federation.server.round == 0:
            for i, own in enumerate(counts):
                federation.ledger.carry(0, "up", i, "counts", own.pairs.astype(np.float64))
        view, whole = federation.agents[0].view, pool(counts)
        model = empirical(whole, view.gamma, view.rho, float(view.floats().r.min()))
        everyone = Client(model, behaviour([whole], log_pi)[0], whole.states > 0, whole)
    else:
        everyone = Client(clients[0].model, log_b, clients[0].seen, None)
    optimum = _optimum(everyone, log_pi, alpha)
    return _rounds(
        federation,
        lambda i, before: optimum,
        lambda _: client_weights(len(clients), federation.server.weights),
    )


def spibb(federation: Federation, clients: list[Client], least_count: int) -> Iterator[Round]:
    r"""Every client's :math:`\Pi_b`-SPIBB policy, averaged once."""
    policies = [spibb_policy(client, least_count) for client in clients]
    shares = data_weights(clients, federation.server.weights)

    def local(i: int, log_pi: Any) -> Any:
        policy = policies[i].copy()
        policy[~clients[i].seen] = log_pi[~clients[i].seen]
        return policy

    return _rounds(federation, local, lambda _: shares)


def fedora(
    federation: Federation, clients: list[Client], alpha: float, beta: float, temperature: float
) -> Iterator[Round]:
    """DRPO's R-step with an average that favours clients whose policies look good to themselves."""
    omega = client_weights(len(clients), federation.server.weights)

    def local(i: int, log_pi: Any) -> Any:
        client = clients[i]
        Q = policy_values(client.model, client.in_model(log_pi), client.model.r[None])[1][0][: client.S]
        log_b = client.behaviour(log_pi).copy()
        # A weight may be so small that the average has lost all of a client's actions: it abstains there.
        lost = (is_minus_infinity(log_b) | is_minus_infinity(log_pi)).all(axis=-1)
        log_b[lost] = log_pi[lost]
        known = (client.seen & ~lost).astype(np.float64).reshape(-1, 1)
        return reverse_step(log_pi, log_b, Q * known, alpha, beta)

    def shares(policies: list[Any]) -> Any:
        worth = [_worth(client, log_pi) for client, log_pi in zip(clients, policies)]
        # Worths may be so large that their sum's logarithm is lost in them: only differences may enter.
        return exp(log_softmax(recentred(stack(worth) / temperature + log(omega))))

    return _rounds(federation, local, shares)


def spibb_policy(client: Client, least_count: int) -> Array:
    r"""The best policy of the client's model among those that give every pair with
    :math:`n(s,a) <` ``least_count`` the probability b gives it, ``(S, A)``, by policy iteration in floats.

    Raises
    ------
    InvalidProblem: a client without data, or exact arithmetic.
    """
    if client.counts is None or balls.working():
        raise InvalidProblem("spibb needs transitions (data=simulated, or a file), and runs in floats")
    b, free = exp(client.log_b), client.counts.pairs >= least_count
    kept = b * ~free
    mass = (b * free).sum(axis=1)
    policy, value = b, -np.inf
    for _ in range(MOST_IMPROVEMENTS):
        with np.errstate(divide="ignore"):
            log_pi = log(policy)
        V, Q = policy_values(client.model, client.in_model(log_pi), client.model.r[None])
        reached = float(matmul(V[0], client.model.rho))
        if reached <= value + 1e-12 * (1 + abs(reached)):
            break
        best, value = where(~free, -np.inf, Q[0][: client.S]).argmax(axis=1), reached
        policy = kept.copy()
        policy[np.arange(len(best)), best] += mass
    return log_pi


def confined(log_pi: Any, log_b: Any) -> Any:
    """The policy given that it takes an action of b's support; b where it never does."""
    logits = where(is_minus_infinity(log_b), -np.inf, log_pi)
    empty = is_minus_infinity(logits).all(axis=-1)
    logits = logits.copy()
    logits[empty] = log_b[empty]
    none = is_minus_infinity(logits)
    return where(none, -np.inf, log_softmax(logits))


# ---- rounds ------------------------------------------------------------------------------------------------
def _rounds(
    federation: Federation, local: Callable[[int, Any], Any], shares: Callable[[list[Any]], Any]
) -> Iterator[Round]:
    """Rounds of one local step: ``local(i, global log-policy)`` is what client i sends, ``shares`` the
    weights of the arithmetic mean."""
    server, ledger = federation.server, federation.ledger
    while True:
        k, log_pi_k = server.round, server.log_policy
        phases, uploads = [], []
        for agent in federation.agents:
            log_pi = ledger.carry(k, "down", agent.index, "policy", log_pi_k)
            after = local(agent.index, log_pi)
            uploads.append(ledger.carry(k, "up", agent.index, "policy", after))
            phases.append(_phase(log_pi, after, federation.m))
        server.log_policy = aggregate("arithmetic", stack(uploads), shares(uploads))
        server.round += 1
        yield record(federation, k, log_pi_k, phases)


def _phase(before: Any, after: Any, m: int) -> LocalPhase:
    return LocalPhase(stack([before, after]), array(np.zeros((1, m))), 0)


def _optimum(client: Client, log_pi: Any, alpha: float) -> Any:
    log_b = client.in_model(client.behaviour(log_pi))
    return regularised_optimum(client.model, log_b, log_b, alpha, 0.0)[0][: client.S]


def _worth(client: Client, log_pi: Any) -> Any:
    """The value of a policy in a client's model."""
    V = policy_values(client.model, client.in_model(log_pi), client.model.r[None])[0]
    return matmul(V[0], client.model.rho)


# ---- parameters --------------------------------------------------------------------------------------------
def baseline_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """No step sizes; the numbers among the parameters checked.

    Raises
    ------
    InvalidProblem: a number out of range, or constraints, which the baselines do not know.
    """
    if problem.cmdp.m:
        raise InvalidProblem("this baseline knows no constraints: leave clients=... above 0")
    for name in ("alpha", "beta", "temperature"):
        if name in given and not 0 < given[name] < np.inf:
            raise InvalidProblem(f"{name} = {given[name]}: expected a positive number")
    if "cql" in given and not 0 <= given["cql"] < np.inf:
        raise InvalidProblem(f"cql = {given['cql']}: expected a number from 0 on")
    return PublicSteps(0.0, np.zeros(0), np.zeros(0))
