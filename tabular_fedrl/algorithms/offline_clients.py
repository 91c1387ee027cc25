r"""What the clients of an offline federation hold, and how a run's parameters say it.

``data`` is one of

* ``"behaviours"``: no data; every client knows the model and its own behaviour policy (exact critics),
* ``"simulated"``: each client draws ``transitions`` rows by its behaviour policy, seeded by ``data_seed``,
* a path: the transitions in an ``.npz`` file (:mod:`tabular_fedrl.offline.files`).

The behaviours of the first two are mixtures of random, medium and expert at rates that rise with the
client's number (:mod:`tabular_fedrl.offline.behaviours`). ``clients``: their number, without constraints; 0
takes the problem's own agents, each with the constraints it sees (our extension).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_steps import client_weights
from tabular_fedrl.arithmetic import array, exp, log
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Agent, Federation
from tabular_fedrl.offline import (
    Counts,
    Dataset,
    behaviour,
    count,
    draw,
    empirical,
    extended,
    grades,
    load_dataset,
    mixtures,
)
from tabular_fedrl.offline.dataset import Booleans
from tabular_fedrl.policies import uniform

DATA: dict[str, Any] = {
    "clients": 10,
    "data": "behaviours",
    "transitions": 10_000,
    "data_seed": 0,
    "smoothing": 0.0,
}
"""Parameters of every offline algorithm."""


@dataclass(frozen=True)
class Client:
    """What client i holds.

    ``model``: the MDP it plans in, the common one or what its data say, which then has one state more;
    ``log_b``: its behaviour ``(S, A)``; ``seen (S,)``: the states it has data for; ``counts``: of its data,
    None without data.
    """

    model: CMDP
    log_b: Any
    seen: Booleans
    counts: Counts | None

    @property
    def S(self) -> int:
        """States of the environment."""
        return len(self.seen)

    def behaviour(self, log_pi: Any) -> Any:
        """``log_b``, but ``log_pi`` in the states without data, where the client abstains."""
        if self.seen.all():
            return self.log_b
        log_b = self.log_b.copy()
        log_b[~self.seen] = log_pi[~self.seen]
        return log_b

    def in_model(self, log_pi: Any) -> Any:
        """A log-policy ``(S, A)`` as one of the model."""
        return log_pi if self.model.S == self.S else extended(log_pi)


def offline_problem(problem: FederatedCMDP, given: dict[str, Any]) -> FederatedCMDP:
    """The federation an offline algorithm runs in: ``clients`` agents that share the problem."""
    N = given["clients"]
    return problem if N == 0 else FederatedCMDP(problem.cmdp.only([]), [()] * N)


def clients_of(federation: Federation, given: dict[str, Any]) -> list[Client]:
    """The clients that the parameters describe, one per agent.

    Raises
    ------
    InvalidProblem: data that do not fit the problem, or a parameter out of range.
    """
    for name, least in (("transitions", 1), ("data_seed", 0)):
        if not isinstance(given[name], int) or given[name] < least:
            raise InvalidProblem(f"{name} = {given[name]!r}: expected a whole number from {least} on")
    if not given["smoothing"] >= 0:
        raise InvalidProblem(f"smoothing = {given['smoothing']}: expected a number from 0 on")
    agents, data = federation.agents, given["data"]
    if data == "behaviours":
        known = _mixtures(agents)
        return [_knowing(agent, log_b, given["smoothing"]) for agent, log_b in zip(agents, known)]
    if data == "simulated":
        with balls.floats():
            known = _mixtures(agents)
            tables = [
                draw(agent.view.floats(), known[i : i + 1], given["transitions"], (given["data_seed"], i))
                for i, agent in enumerate(agents)
            ]
    else:
        whole = load_dataset(data)
        _fits(data, whole, federation)
        tables = [_own(whole.of(agent.index), agent, federation.m) for agent in agents]
    return [_informed(agent, table, given["smoothing"]) for agent, table in zip(agents, tables)]


def data_weights(clients: list[Client], weights: Any) -> Any:
    r"""Weights ``(N, S)`` in proportion to :math:`\omega_i n_i(s)`; :math:`\omega` where nobody has data, and
    everywhere if the clients hold none."""
    omega = client_weights(len(clients), weights)
    counts = [client.counts for client in clients]
    if any(c is None for c in counts):
        return omega
    n = np.array([c.states for c in counts if c is not None], dtype=np.float64)
    n[:, n.sum(axis=0) == 0] = 1.0
    shares = omega.reshape(-1, 1) * array(n)
    return shares / shares.sum(0)


def _mixtures(agents: list[Agent]) -> Any:
    return mixtures(agents[0].view, grades(len(agents)))


def _knowing(agent: Agent, log_b: Any, smoothing: float) -> Client:
    if smoothing > 0:
        log_b = log((exp(log_b) + smoothing) / (1.0 + agent.view.A * array(smoothing)))
    return Client(agent.view, log_b, np.ones(agent.view.S, dtype=bool), None)


def _informed(agent: Agent, table: Dataset, smoothing: float) -> Client:
    view = agent.view
    (counts,) = count(table)
    lowest = float(view.floats().r.min())
    thresholds = view.d if view.m else None
    model = empirical(counts, view.gamma, view.rho, lowest, thresholds)
    log_b = behaviour([counts], uniform(view.S, view.A), smoothing)[0]
    return Client(model, log_b, counts.states > 0, counts)


def _own(table: Dataset, agent: Agent, m: int) -> Dataset:
    """The rows of one client, with the costs of its own constraints."""
    costs = table.costs[:, list(agent.constraints)] if m else np.zeros((len(table), 0))
    return Dataset(
        np.zeros(len(table), dtype=np.int64), table.state, table.action, table.reward, costs,
        table.next_state, table.terminal, table.S, table.A, 1,
    )  # fmt: skip


def _fits(path: str, data: Dataset, federation: Federation) -> None:
    view, N, m = federation.agents[0].view, len(federation.agents), federation.m
    if (data.S, data.A) != (view.S, view.A):
        raise InvalidProblem(
            f"{path}: {data.S} states and {data.A} actions, but the problem has {view.S} and {view.A}"
        )
    if data.N != N:
        raise InvalidProblem(f"{path}: data of {data.N} clients, but {N} are asked for (clients=...)")
    if m and data.m != m:
        raise InvalidProblem(f"{path}: {data.m} costs, but the problem has {m} constraints")
    nobody = np.flatnonzero(np.bincount(data.client, minlength=N) == 0)
    if nobody.size:
        raise InvalidProblem(f"{path}: client {nobody[0]} has no transitions")
