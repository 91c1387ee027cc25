"""What runs the rounds: an engine, a generator of stretches of rounds.

The specification is one engine (:mod:`tabular_fedrl.runner.engine_numpy`); the others compute the same in
another way. What belongs to any run (parameters, comparator, averages, files, progress) is the driver's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms import Algorithm
from tabular_fedrl.arithmetic import array, empty, stack
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.federation import Federation, Ledger, PublicSteps, State, federate
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import mean_weights, uniform
from tabular_fedrl.runner.measure import Observer
from tabular_fedrl.runner.settings import initial_multipliers, resolved_parameters, whole
from tabular_fedrl.solvers import Solution

Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Asked:
    """What decides which engine runs, known before anything is solved.

    algorithm: of the registry. problem: the federation it runs in (centralised methods: one agent that sees
    all). given: all its parameters by name. iterates: the policies of recorded rounds are kept.
    """

    algorithm: Algorithm
    problem: FederatedCMDP
    given: Mapping[str, Any]
    iterates: bool


@dataclass(frozen=True)
class Task(Asked):
    """A run, everything resolved and checked.

    steps: the constants it uses. rounds, local_steps: K, E. weights: of the server's mean, ``(N,)``.
    multipliers: before the first round, ``(N, m)``, NaN where unseen. seed: of its random draws.
    every: rounds 0, every, 2 every, ... and the last one are recorded.
    resumable: the driver keeps a file, so that a state it was given must not change afterwards.
    observer: the comparator and what is measured against it. ledger: what crossed the wire.
    """

    steps: PublicSteps
    rounds: int
    local_steps: int
    weights: Any
    multipliers: Array
    seed: int
    every: int
    resumable: bool
    observer: Observer
    ledger: Ledger

    @classmethod
    def of(
        cls,
        asked: Asked,
        rounds: int,
        steps: PublicSteps,
        *,
        seed: int = 0,
        every: int = 1,
        resumable: bool = False,
        solution: Solution | None = None,
    ) -> Task:
        """What is asked, with the steps of its algorithm; ``solution``: the comparator, None for none.

        Raises
        ------
        InvalidProblem: a number is out of range or of another shape.
        """
        algorithm, problem, given = asked.algorithm, asked.problem, asked.given
        return cls(
            algorithm=algorithm,
            problem=problem,
            given=given,
            iterates=asked.iterates,
            steps=steps,
            rounds=rounds,
            local_steps=given.get("local_steps", 1),
            weights=mean_weights(problem.N, given.get("weights")),
            multipliers=initial_multipliers(problem, given["initial_multipliers"], steps.dual_cap),
            seed=seed,
            every=whole("every", every, 1),
            resumable=resumable,
            observer=Observer.of(algorithm, problem, steps.eta, solution),
            ledger=Ledger({"agents": problem.N, "rounds": rounds, **resolved_parameters(given, steps)}),
        )

    def recorded(self, first: int, last: int) -> Integers:
        """The recorded rounds k with ``first <= k < last``."""
        rounds = np.arange(first + -first % self.every, last, self.every)
        ends = last == self.rounds and (self.rounds - 1) % self.every and first < last
        return np.append(rounds, self.rounds - 1) if ends else rounds

    def federation(self) -> Federation:
        """The agents and the server, as the specification holds them."""
        return federate(
            self.problem,
            self.steps,
            local_steps=self.local_steps,
            aggregation=self.given.get("aggregation", "arithmetic"),
            weights=self.given.get("weights"),
            initial_multipliers=self.multipliers,
            reward_factor=self.algorithm.reward_factor,
            seed=self.seed,
            share=self.algorithm.share,
        )

    def start(self) -> State:
        """Before the first round: uniform policies."""
        N, cmdp = self.problem.N, self.problem.cmdp
        row = uniform(1, cmdp.A)
        # One row in memory, however many states.
        policy = row[[0] * cmdp.S] if cmdp.is_exact else np.broadcast_to(row, (cmdp.S, cmdp.A))
        log_policy = policy if self.algorithm.share else stack([policy] * N)
        return State(0, log_policy, self.multipliers, "", (0,) * N)


@dataclass(frozen=True)
class Stretch:
    r"""n consecutive rounds, r of them recorded.

    state: after them. every_round: of all n, by name, the round first: enclosures ``value (n,)``,
    ``costs (n, m)``, ``local_value (n, N, E)``, ``local_costs (n, N, E, m)``, and ``drift (n,)``,
    ``transitions (n, N)``; from the loops for small problems also ``step (n, N)``, the largest
    :math:`\max_s \|\pi' - \pi\|_1` of an agent's local steps. recorded: of the r only:
    ``multipliers (r, N, E, m)``, NaN where unseen; with a comparator the enclosures ``kl (r,)``,
    ``kl_local_end (r, N)`` and, of natural steps, ``log_normaliser (r, N, E)``; with iterates
    ``log_policies (r, S, A)`` (``(r, N, S, A)`` without communication) and ``local (r, N, E+1, S, A)``. All
    but the steps as in :class:`~tabular_fedrl.runner.result.Run`.
    """

    state: State
    every_round: Mapping[str, Any]
    recorded: Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """name. algorithms: those it runs; None: all. refuses: None if it can run what is asked of them, else
    a clause that says what it cannot; raises ``NoDevice`` where the machine cannot.

    stretches: from a state up to the last round, cut where only the task says, so that a resumed run is cut
    alike, and short enough for whoever waits (a second at most). books: it fills the ledger itself; else the
    driver enters the policies that the algorithm sends. normaliser: it gives ``log_normaliser``.
    """

    name: str
    algorithms: Collection[str] | None
    refuses: Callable[[Asked], str | None]
    stretches: Callable[[Task, State], Iterator[Stretch]]
    books: bool = False
    normaliser: bool = True


def not_finite(task: Task, k: int) -> str:
    """What a run says that is stopped because a policy of round k is not finite."""
    return (
        f"round {k}: a policy is not finite; the steps are too large (eta = {task.steps.eta:g}, "
        f"largest dual cap {task.steps.dual_cap.max(initial=0.0):g})"
    )


def seen(problem: FederatedCMDP, table: Array) -> Array:
    """``table (N, m)``, NaN where an agent does not see the constraint."""
    out: Array = empty((problem.N, problem.cmdp.m))
    for i, constraints in enumerate(problem.visible):
        out[i, list(constraints)] = array(table)[i, list(constraints)]
    return out


def pairs(track: Array) -> Measured:
    """Enclosures of values and radii along the last axis."""
    return Measured(track[..., 0], track[..., 1])
