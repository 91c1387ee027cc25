r"""DRPO and its competitors on the data of real environments.

The setting of the authors' code: 10 clients with 10,000 transitions each. The behaviours are mixtures of
random, medium and expert at rates that rise with the client's number. All methods get the same data; their
weights are in units of the range of rewards, so that they mean the same in every environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_evidence import Evidence, evidence, value_between
from tabular_fedrl.cmdp import CMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array
from tabular_fedrl.offline import (
    Counts,
    count,
    coverage,
    draw,
    expected_return,
    grades,
    mixtures,
    trajectory_quality,
)
from tabular_fedrl.policies import uniform
from tabular_fedrl.runner.drive import run
from tabular_fedrl.runner.result import Run
from tabular_fedrl.solvers.policy_iteration import optimise

ENVIRONMENTS = ("gym:FrozenLake8x8-v1", "gym:CliffWalking-v1", "gym:Taxi-v4")

WEIGHT = 0.02
"""Each regulariser's weight, in units of the range of rewards."""


@dataclass(frozen=True)
class Method:
    """An algorithm of the registry with its parameters, weights in units of :data:`WEIGHT`; ``mark``: where
    its step was read."""

    algorithm: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    mark: str = "ours"


METHODS: dict[str, Method] = {
    "DRPO, R-step": Method("drpo", {"alpha": 1.0, "beta": 1.0}),
    "DRPO, R-step, behaviour only": Method("drpo", {"alpha": 1.0, "beta": 0.0}),
    "DRPO, R-step, global only": Method("drpo", {"alpha": 0.0, "beta": 1.0}),
    "DRPO, F-step": Method("drpo", {"alpha": 1.2, "beta": 0.8, "step": "forward"}, "code"),
    "DRPO, local optimum (D)": Method("drpo", {"alpha": 1.0, "beta": 1.0, "local": "optimum"}),
    "DRPO, CQL optimum (G)": Method(
        "drpo", {"cql": 1.0, "beta": 1.0, "local": "optimum", "critic": "cql"}, "ours, critic: code"
    ),
    "behaviour cloning": Method("behaviour-cloning"),
    "federated CQL": Method("fedavg-cql", {"cql": 1.0, "beta": 1.0}),
    "local only": Method("local-only", {"alpha": 1.0}),
    "pooled data (oracle)": Method("pooled-oracle", {"alpha": 1.0}),
    "SPIBB": Method("spibb", {"least_count": 10}, "recalled"),
    "FEDORA-style": Method("fedora", {"alpha": 1.0, "beta": 1.0, "temperature": 5.0}, "recalled"),
}
"""What is compared."""

UNITS = ("alpha", "beta", "cql", "temperature")


@dataclass(frozen=True)
class Row:
    r"""One method in one environment; values are unnormalised.

    ``values (K+1,)``: J of the global policy before every round and at the end (for "local only" the mean
    over the clients), ``errors``: their evaluation's; ``optimum``: the largest J. ``certified (K,)``: the
    bound that the data alone put on the gain of each round at confidence ``1 - delta``, None where there is
    no global policy.
    """

    environment: str
    method: str
    mark: str
    algorithm: str
    parameters: dict[str, Any]
    values: Array
    errors: Array
    optimum: float
    certified: Array | None

    @property
    def improvements(self) -> Array:
        """J gained in each round, ``(K,)``."""
        return np.diff(self.values)

    @property
    def score(self) -> float:
        """The last value on the scale on which the uniform policy has 0 and an optimal one 1."""
        return float((self.values[-1] - self.values[0]) / (self.optimum - self.values[0]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        gains = self.improvements
        return {
            "environment": self.environment,
            "method": self.method,
            "mark": self.mark,
            "algorithm": self.algorithm,
            "parameters": self.parameters,
            "first_value": float(self.values[0]),
            "final_value": float(self.values[-1]),
            "final_error": float(self.errors[-1]),
            "optimum": self.optimum,
            "score": self.score,
            "improvements": gains.tolist(),
            "rounds_improved": int((gains > 0).sum()),
            "rounds_lost": int((gains < 0).sum()),
            "certified": None if self.certified is None else self.certified.tolist(),
            "rounds_certified": None if self.certified is None else int((self.certified > 0).sum()),
        }


@dataclass(frozen=True)
class ClientData:
    r"""One client's data: ``shares`` of random, medium and expert; measures of
    :mod:`tabular_fedrl.offline.measures`; ``informative``: :math:`(c_\delta/R)^2`, about as
    many transitions of every pair (not of episodes' ends) bring :math:`\Gamma` below the range of values."""

    environment: str
    client: int
    shares: tuple[float, ...]
    coverage: float
    trajectory_quality: float
    expected_return: float
    informative: float


def compare(
    source: str,
    *,
    clients: int = 10,
    transitions: int = 10_000,
    rounds: int = 10,
    delta: float = 0.05,
    seed: int = 0,
    methods: Mapping[str, Method] = METHODS,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Row], list[ClientData]]:
    """All methods on one environment, and what their data are like.

    Raises
    ------
    InvalidProblem: all rewards of the environment are the same.
    """
    cmdp = federated(load(source)).cmdp.only([])
    low, high = float(cmdp.r.min()), float(cmdp.r.max())
    if low == high:
        raise InvalidProblem(f"{source}: all rewards are the same; there is nothing to learn")
    counts = counted(cmdp, clients, transitions, seed)
    known = evidence(counts, cmdp.gamma, cmdp.rho, uniform(cmdp.S, cmdp.A), delta, (low, high))
    data = [
        ClientData(
            source, i, tuple(shares), coverage(c), trajectory_quality(c, cmdp),
            expected_return(c, cmdp.gamma, cmdp.rho, low), (e.constant / (high - low)) ** 2,
        )
        for i, (c, e, shares) in enumerate(zip(counts, known, grades(clients).tolist()))
    ]  # fmt: skip
    optimum = float(optimise(cmdp).value.value)
    rows = []
    for name, method in methods.items():
        if progress is not None:
            progress(name)
        result = learn(cmdp, method, clients, transitions, rounds, seed)
        assert result.iterates is not None
        path = result.iterates.log_policies[: rounds + 1]
        certified = surely_gained(known, path) if path.ndim == 3 else None
        rows.append(
            Row(
                source, name, method.mark, method.algorithm, result.parameters, result.value.value,
                result.value.error, optimum, certified,
            )
        )  # fmt: skip
    return rows, data


def learn(cmdp: CMDP, method: Method, clients: int, transitions: int, rounds: int, seed: int) -> Run:
    """One method's run. It has one round more: a round is measured at its start."""
    unit = WEIGHT * float(cmdp.r.max() - cmdp.r.min())
    given = {k: x * unit if k in UNITS else x for k, x in method.parameters.items()}
    given |= {"clients": clients, "data": "simulated", "transitions": transitions, "data_seed": seed}
    return run(method.algorithm, cmdp, rounds + 1, record="iterates", compare=False, **given)


def surely_gained(known: Sequence[Evidence], path: Array) -> Array:
    """What the data alone prove of each round's gain, from policies ``(K+1, S, A)``."""
    same = [np.array_equal(new, old) for old, new in pairwise(path)]
    # A method that has stopped is evaluated once.
    bounds = [value_between(known, path[0])]
    for log_pi, stays in zip(path[1:], same):
        bounds.append(bounds[-1] if stays else value_between(known, log_pi))
    gains = [new[0] - old[1] for old, new in pairwise(bounds)]
    return np.where(same, 0.0, gains)


def counted(cmdp: CMDP, clients: int, transitions: int, seed: int) -> list[Counts]:
    """The counts of the data that runs with ``data="simulated"`` learn from."""
    log_b = mixtures(cmdp, grades(clients))
    return [count(draw(cmdp, log_b[i : i + 1], transitions, (seed, i)))[0] for i in range(clients)]
