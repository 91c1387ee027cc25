"""One offline algorithm on many small problems at once, each with its own weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.algorithms.offline_clients import DATA, Client, clients_of
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.loops.clients import Clients
from tabular_fedrl.loops.drpo import Improved, iterate
from tabular_fedrl.loops.drpo_blocks import Weights
from tabular_fedrl.loops.drpo_reading import ARITHMETIC, OPTIMUM, PLAIN, Reading
from tabular_fedrl.runner.offline import NAMES, held, reading_of, refusal, weights_of
from tabular_fedrl.runner.settings import initial_multipliers, look_up, resolve, whole

ALONE = "local-only"
"""A single solve for each client, here in lanes as well."""


def improve_batch(
    algorithm: str,
    problems: Sequence[CMDP | FederatedCMDP],
    rounds: int,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] = {},
    recorded: ArrayLike | None = None,
) -> Improved:
    r"""``rounds`` rounds on problems of one shape, side by side, each with its own parameters.

    Plain floats without bounds on their errors; for enclosures :func:`~tabular_fedrl.runner.run` each. What
    the clients of a problem hold is set up once for all parameters that say the same about data, so that a
    sweep over :math:`\alpha, \beta` of one problem passes that problem repeatedly. For algorithms that do not
    learn from data there is :func:`~tabular_fedrl.runner.run_batch`.

    Parameters
    ----------
    algorithm: ``drpo``, ``behaviour-cloning``, ``fedavg-cql``, ``spibb``, ``fedora``, or ``local-only``,
        whose ``value`` is the mean over the clients and ``log_policy`` ``(B, N, S, A)``.
    problems: B of them, with the same S, A, m and the same sets of visible constraints; stored dense.
    parameters: the algorithm's own, as :func:`~tabular_fedrl.runner.run` takes them: the same for all
        problems, or B of them. Weights, schedules and ``data_seed`` may differ; what a round does, and
        whether there are data, may not.
    recorded: rounds at whose start the global policy is evaluated, from 0 to ``rounds``, ascending; default
        the first and the last.

    Raises
    ------
    InvalidProblem: what :func:`~tabular_fedrl.runner.run` refuses with ``backend="numba"``; problems or
        parameters that do not go together.
    """
    chosen = look_up(algorithm)
    if algorithm not in (*NAMES, ALONE):
        raise InvalidProblem(f"batches of {algorithm} are not compiled here; there are {', '.join(NAMES)}")
    K = whole("rounds", rounds, 1)
    each = [parameters] * len(problems) if isinstance(parameters, Mapping) else list(parameters)
    if len(each) != len(problems) or not each:
        raise InvalidProblem(f"{len(each)} sets of parameters for {len(problems)} problems")
    given = [resolve(chosen, x) for x in each]
    for i, x in enumerate(given):
        reason = None if algorithm == ALONE else refusal(algorithm, x)
        if reason is not None:
            raise InvalidProblem(f"problem {i}: {reason}")
        for name in ("local_steps", "weights"):
            if str(x.get(name)) != str(given[0].get(name)):
                raise InvalidProblem(f"problem {i} has {name} = {x[name]}, problem 0 {given[0][name]}")
    acting = [chosen.acts_on(federated(problem), x) for problem, x in zip(problems, given)]
    steps = [chosen.steps(problem, K, x) for problem, x in zip(acting, given)]
    clients = _clients(algorithm, problems, acting, given, steps)
    if algorithm == ALONE:
        return _alone(clients, given, K, recorded)
    reading = reading_of(algorithm, given[0], clients.models is None)
    for i, x in enumerate(given):
        if reading_of(algorithm, x, clients.models is None) != reading:
            raise InvalidProblem(f"problem {i} and problem 0 differ in what a round does")
    starts = [
        initial_multipliers(problem, x["initial_multipliers"], step.dual_cap)
        for problem, x, step in zip(acting, given, steps)
    ]
    return iterate(
        clients,
        reading,
        weights_of(algorithm, clients, given, steps),
        K,
        local_steps=given[0].get("local_steps", 1),
        recorded=recorded,
        initial_multipliers=np.stack(starts),
    )


def _clients(
    algorithm: str,
    problems: Sequence[Any],
    acting: Sequence[FederatedCMDP],
    given: Sequence[Mapping[str, Any]],
    steps: Sequence[PublicSteps],
) -> Clients:
    """Set up once for each problem and what is said about its data."""
    about = [name for name in (*DATA, "least_count") if name in given[0]]
    places: dict[Any, int] = {}
    teams: list[tuple[FederatedCMDP, list[Client]]] = []
    index, firsts = [], []
    for i, (problem, x) in enumerate(zip(problems, given)):
        key = (id(problem), *(x[name] for name in about))
        if key not in places:
            places[key] = len(teams)
            teams.append((acting[i], clients_of(federate(acting[i], steps[i]), dict(x))))
            firsts.append(x)
        index.append(places[key])
    sizes = {(team[0].model.S, team[0].counts is None) for _, team in teams}
    if len(sizes) > 1:
        raise InvalidProblem("some of the problems' clients hold data and others know the model")
    clients = held(algorithm, teams, firsts)
    return clients if len(teams) == len(index) else clients.take(np.array(index))


def _alone(
    clients: Clients, given: Sequence[Mapping[str, Any]], K: int, recorded: ArrayLike | None
) -> Improved:
    """Every client as a problem of its own, which one round brings to its optimum."""
    B, N, S, A = clients.log_b.shape
    apart = clients.apart()
    alpha = np.repeat([float(x["alpha"]) for x in given], N)
    reading = Reading(OPTIMUM, PLAIN, ARITHMETIC, False, clients.models is None)
    weights = Weights(omega=apart.weights(), alpha=alpha, beta=0.0)
    found = iterate(apart, reading, weights, 1)
    at = np.array([0, K] if recorded is None else recorded, dtype=np.int64)
    value = found.value.reshape(B, N, 2).mean(axis=1)
    return replace(
        found,
        rounds=at,
        value=value[:, (at > 0).astype(np.int64)],
        costs=np.zeros((B, at.size, 0)),
        log_policy=found.log_policy.reshape(B, N, S, A),
        multipliers=np.zeros((B, N, 0)),
    )
