"""Tables of real environments, through Gymnasium (https://gymnasium.farama.org, toy text).

``env.unwrapped.P[s][a]`` lists ``(probability, successor, reward, terminated)``. The reward r(s, a) is its
mean, and known environments get one natural cost signal, the probability of a mishap. A state entered with
``terminated`` ends an episode, but the tables of CliffWalking and Taxi give it ordinary rows all the same:
here every such state is made absorbing with zero signals. Time limits are not part of the table and are
ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import Draft, stored
from tabular_fedrl.instances.text import one_line
from tabular_fedrl.measured import Array

DEFAULT_GAMMA = 0.99

Transition = tuple[int, int, float, int, float, bool]
"""State, action, probability, successor, reward, terminated."""


@dataclass(frozen=True)
class Environment:
    """What we add to a known table: ``mishap(env, transition)`` is the cost signal ``cost``; names of actions
    and states."""

    cost: str
    mishap: Callable[[Any, Transition], bool]
    action_names: tuple[str, ...]
    state_name: Callable[[Any, int], str]


GYM: dict[str, str] = {
    "FrozenLake-v1": "4 x 4 ice, slippery by default; cost: falling into a hole",
    "FrozenLake8x8-v1": "8 x 8 ice, slippery by default; cost: falling into a hole",
    "CliffWalking-v1": "4 x 12 grid; cost: stepping off the cliff (stochastic with is_slippery=true)",
    "Taxi-v4": "taxi with 500 states; cost: illegal pick-up or drop-off (stochastic with is_rainy=true)",
}
"""The tables with a cost signal, by id; other ids with a table load without constraints."""


def read_gym(name: str, options: Mapping[str, Any]) -> Draft:
    """The table of ``gymnasium.make(name, **options)``; discount and thresholds are left open.

    Raises
    ------
    InvalidProblem: if Gymnasium does not know the id or an option, or the environment has no table ``P``.
    """
    origin = f"gym:{name}"
    env = _make(origin, name, options)
    try:
        table, rho = getattr(env, "P", None), getattr(env, "initial_state_distrib", None)
        if table is None or rho is None:
            raise InvalidProblem(
                f"{origin} has no table of transitions (env.P and env.initial_state_distrib)"
            )
        rho = np.asarray(rho, dtype=np.float64)
        S, A = len(table), len(table[0])
        known = _ENVIRONMENTS.get(type(env).__name__)
        transitions = list(_transitions(table))
        terminal = _terminal(origin, transitions, rho, S)
        weights, pairs, successors = [], [], []
        r, c = np.zeros((S, A)), np.zeros((1 if known else 0, S, A))
        for transition in transitions:
            s, a, probability, successor, reward, _ = transition
            if terminal[s]:
                continue
            weights.append(probability)
            pairs.append(s * A + a)
            successors.append(successor)
            r[s, a] += probability * reward
            if known and known.mishap(env, transition):
                c[0, s, a] += probability
        for s in np.flatnonzero(terminal).tolist():
            weights += [1.0] * A
            pairs += range(s * A, s * A + A)
            successors += [s] * A
        rows = sp.csr_array((weights, (pairs, successors)), shape=(S * A, S))
        state_names = tuple(known.state_name(env, s) for s in range(S)) if known else None
    finally:
        env.close()
    notes = [
        f"{int(terminal.sum())} terminal states are absorbing with zero signals; time limits are ignored"
    ]
    notes.append(
        f"cost 0: probability of {known.cost}" if known else "no cost signal is known: no constraints"
    )
    return Draft(
        origin, stored(rows, A), r, c, rho=rho, notes=tuple(notes), state_names=state_names,
        action_names=known.action_names if known else None,
    )  # fmt: skip


def _make(origin: str, name: str, options: Mapping[str, Any]) -> Any:
    if ":" in name:
        # Gymnasium would import the module before the colon; a source must not run code.
        raise InvalidProblem(f"{origin}: an id names no module")
    if options.get("fickle_passenger"):
        raise InvalidProblem(
            f"{origin}: fickle_passenger is not in the table (the environment draws it while stepping)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return gymnasium.make(name, disable_env_checker=True, **options).unwrapped
        except KeyError as error:
            raise InvalidProblem(f"{origin}: {one_line(error)} is unknown to it") from None
        except (
            gymnasium.error.Error,
            ImportError,
            TypeError,
            ValueError,
            AttributeError,
            IndexError,
        ) as error:
            raise InvalidProblem(f"{origin}: {one_line(error).partition(' was raised from')[0]}") from None


def _transitions(table: Any) -> Iterator[Transition]:
    for s in range(len(table)):
        for a in range(len(table[s])):
            for probability, successor, reward, terminated in table[s][a]:
                yield s, a, float(probability), int(successor), float(reward), bool(terminated)


def _terminal(
    origin: str, transitions: list[Transition], rho: Array, S: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """States that end an episode. One that an episode can also pass through could not be made absorbing."""
    terminal = np.zeros(S, dtype=bool)
    terminal[[t[3] for t in transitions if t[5]]] = True
    going = [(t[0], t[3]) for t in transitions if t[2] > 0 and not t[5] and not terminal[t[0]]]
    # Reachability from rho, through an extra node S that leads to the initial states.
    edges = np.array(going + [(S, int(s)) for s in np.flatnonzero(rho)]).reshape(-1, 2)
    graph = sp.csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(S + 1, S + 1))
    reached = breadth_first_order(graph, S, return_predecessors=False)
    passed = [int(s) for s in reached if s < S and terminal[s]]
    if passed:
        raise InvalidProblem(
            f"{origin}: state {passed[0]} ends some episodes and not others: it cannot be absorbing"
        )
    return terminal


def _grid_name(env: Any, s: int) -> str:
    columns = env.ncol if hasattr(env, "ncol") else env.shape[1]
    return f"row {s // columns} column {s % columns}"


def _taxi_name(env: Any, s: int) -> str:
    row, column, passenger, destination = env.decode(s)
    places = ("red", "green", "yellow", "blue", "taxi")
    return f"row {row} column {column}, passenger {places[passenger]}, to {places[destination]}"


_ENVIRONMENTS = {
    "FrozenLakeEnv": Environment(
        "falling into a hole",
        lambda env, t: env.desc.ravel()[t[3]] == b"H",
        ("left", "down", "right", "up"),
        lambda env, s: f"{_grid_name(env, s)} ({env.desc.ravel()[s].decode()})",
    ),
    "CliffWalkingEnv": Environment(
        "stepping off the cliff",
        lambda env, t: (
            t[4] == -100
        ),  # the table shows the fall only in its reward: it leads back to the start
        ("up", "right", "down", "left"),
        _grid_name,
    ),
    "TaxiEnv": Environment(
        "an illegal pick-up or drop-off",
        lambda env, t: t[4] == -10,
        ("south", "north", "east", "west", "pickup", "dropoff"),
        _taxi_name,
    ),
}
