"""Running a method that learns from preferences, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.preference_feedback import blocks
from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
from tabular_fedrl.arithmetic import array, finite, stack
from tabular_fedrl.episodic import (
    EpisodicMDP,
    FederatedEpisodicMDP,
    environments,
    gradient,
    repeated,
    start_value,
)
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import enclosed
from tabular_fedrl.runner.settings import number, one_of, whole

WHOLE = ("agents", "people", "batch", "questions")
POSITIVE = ("mu", "scale", "step")
LEAST, LARGEST = 1e-100, 1e100
"""Of those: what is computed with them stays among the floats."""


@dataclass(frozen=True)
class PreferenceRun:
    """What T rounds did, measured before each of them and after the last.

    theta: logits ``(T+1, L, S, A)``, L = H or 1. value: V(rho), ``(T+1,)``. norm, block_norm: of the gradient
    in the logits, Euclidean and summed over the agents' blocks, ``(T+1,)``. bits, episodes: sent and
    simulated by all agents so far, ``(T+1,)``. memory: numbers an agent keeps beside its policy. Values and
    norms with rigorous bounds for the policies that the run visited.
    """

    algorithm: str
    problem: EpisodicMDP
    parameters: dict[str, Any]
    rounds: int
    seed: int
    theta: Any
    value: Measured
    norm: Measured
    block_norm: Measured
    bits: np.ndarray[Any, np.dtype[np.int64]]
    episodes: np.ndarray[Any, np.dtype[np.int64]]
    memory: int
    ledger: Ledger

    def to_dict(self) -> dict[str, Any]:
        """The first and the last of everything, as plain numbers."""
        ends = {
            name: [float(getattr(self, name).value[i]) for i in (0, -1)]
            for name in ("value", "norm", "block_norm")
        }
        return {
            "algorithm": self.algorithm,
            "rounds": self.rounds,
            "seed": self.seed,
            "parameters": self.parameters,
            "value": ends["value"],
            "gradient_norm": ends["norm"],
            "block_norm": ends["block_norm"],
            "error": float(self.value.error.max()),
            "bits": int(self.bits[-1]),
            "episodes": int(self.episodes[-1]),
            "memory": self.memory,
        }


def run_preferences(
    algorithm: str,
    problem: EpisodicMDP | FederatedEpisodicMDP,
    rounds: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **parameters: Any,
) -> PreferenceRun:
    """Run a method of :data:`PREFERENCE_ALGORITHMS` from the uniform policy; inside ``balls.precision(...)``,
    on a problem of exact data, in balls.

    Raises
    ------
    InvalidProblem: an unknown name or a value out of range; several environments.
    """
    if algorithm not in PREFERENCE_ALGORITHMS:
        close = suggestion(algorithm, PREFERENCE_ALGORITHMS)
        raise InvalidProblem(f"no algorithm {algorithm!r} for finite-horizon problems{close}")
    chosen = PREFERENCE_ALGORITHMS[algorithm]
    T, seed, mdp = whole("rounds", rounds, 1), whole("seed", seed, 0), environments(problem).mdp
    if mdp.is_exact != bool(balls.working()):
        raise InvalidProblem("a problem of exact data, and no other, runs inside balls.precision(...)")
    given = _resolved(algorithm, parameters)
    feedback, ledger = chosen.feedback(mdp, given), Ledger({"rounds": T, **given})
    theta = array(np.zeros((1 if given["stationary"] else mdp.H, mdp.S, mdp.A)))
    steps = chosen.rounds(feedback, theta, np.random.default_rng(seed), ledger, given)
    visited, bits, episodes = [theta], [0], [0]
    for t in range(T):
        step = next(steps)
        if not finite(step.next_theta):
            raise InvalidProblem(
                f"round {t}: a logit is not finite; the step {feedback.alpha(t):g} is too large"
            )
        visited.append(step.next_theta)
        bits.append(ledger.bits("down") + ledger.bits("up"))
        episodes.append(episodes[-1] + step.episodes)
        if progress is not None:
            progress(t + 1, T)
    path = stack(visited)
    value, grad = _measured(mdp, path)
    own = blocks(theta.shape, given["agents"])
    squares = grad * grad
    return PreferenceRun(
        algorithm=algorithm,
        problem=mdp,
        parameters=given,
        rounds=T,
        seed=seed,
        theta=path,
        value=value,
        norm=squares.sum((-3, -2, -1)).sqrt(),
        block_norm=(squares[:, None] * own).sum((-3, -2, -1)).sqrt().sum(-1),
        bits=np.array(bits),
        episodes=np.array(episodes),
        memory=chosen.memory(int(np.prod(theta.shape)), given["agents"]),
        ledger=ledger,
    )


def _measured(mdp: EpisodicMDP, theta: Array) -> tuple[Measured, Measured]:
    """V(rho) ``(n,)`` and its gradient ``(n, L, S, A)`` for logits ``(n, L, S, A)``."""
    pi = enclosed(theta)[1]
    if theta.shape[-3] == mdp.H:
        return start_value(mdp, pi), gradient(mdp, pi)
    pi = repeated(pi[:, 0], mdp.H)
    return start_value(mdp, pi), gradient(mdp, pi).sum(-3)[:, None]


def _resolved(algorithm: str, parameters: dict[str, Any]) -> dict[str, Any]:
    chosen = PREFERENCE_ALGORITHMS[algorithm]
    for name in parameters:
        if name not in chosen.parameters:
            close = suggestion(name, chosen.parameters)
            raise InvalidProblem(f"{algorithm} has no parameter {name!r}{close}")
    given = {**chosen.parameters, **{k: v for k, v in parameters.items() if v is not None}}
    for name in WHOLE:
        given[name] = whole(name, given[name], 1)
    for name in POSITIVE:
        if given[name] is not None:
            given[name] = number(name, given[name])
            if given[name] <= 0:
                raise InvalidProblem(f"{name} = {given[name]:g} is not positive")
            if not LEAST <= given[name] <= LARGEST:
                raise InvalidProblem(
                    f"{name} = {given[name]:g}: expected a number from {LEAST:g} to {LARGEST:g}"
                )
    for name, words in chosen.choices.items():
        one_of(name, given[name], words)
    for name in ("stationary", "sampled"):
        if not isinstance(given.get(name, False), bool):
            raise InvalidProblem(f"{name} = {given[name]!r}: expected true or false")
    return given
