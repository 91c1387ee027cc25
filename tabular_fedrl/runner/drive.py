"""Driving an algorithm: parameters resolved, its rounds gathered from an engine, interrupted and resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, overload

from tabular_fedrl import balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import State
from tabular_fedrl.policies import log_probabilities
from tabular_fedrl.runner.engine import Asked, Engine, Task
from tabular_fedrl.runner.engine_numpy import coarser
from tabular_fedrl.runner.engines import ENGINES, choose
from tabular_fedrl.runner.evolution import FED_SE, EvolutionRun, run_evolution
from tabular_fedrl.runner.files import RunFile
from tabular_fedrl.runner.overall import Sums, added, overall
from tabular_fedrl.runner.preferences import PreferenceRun, run_preferences
from tabular_fedrl.runner.result import Run
from tabular_fedrl.runner.settings import look_up, one_of, resolve, resolved_parameters, whole
from tabular_fedrl.runner.tracks import Tracks
from tabular_fedrl.solvers import Solution, solve

SAVE_EVERY = 30.0
"""Seconds between two checkpoints."""


@overload
def run(
    algorithm: Literal["fed-se"],
    problem: EpisodicMDP | FederatedEpisodicMDP,
    rounds: int = 1000,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **parameters: Any,
) -> EvolutionRun: ...
@overload
def run(
    algorithm: str,
    problem: EpisodicMDP | FederatedEpisodicMDP,
    rounds: int = 1000,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **parameters: Any,
) -> PreferenceRun: ...
@overload
def run(
    algorithm: str,
    problem: CMDP | FederatedCMDP,
    rounds: int = 1000,
    *,
    seed: int = 0,
    backend: str = "numpy",
    every: int = 1,
    record: str = "metrics",
    progress: Callable[[int, int], None] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    solution: Solution | None = None,
    compare: bool = True,
    **parameters: Any,
) -> Run: ...
def run(algorithm: str, problem: Any, rounds: int = 1000, **given: Any) -> Any:
    """Run an algorithm: on a discounted problem as :func:`run_discounted` says; on a finite-horizon problem a
    method that learns from preferences, :func:`~tabular_fedrl.runner.preferences.run_preferences`, or from
    successes, :func:`~tabular_fedrl.runner.evolution.run_evolution`."""
    if isinstance(problem, EpisodicMDP | FederatedEpisodicMDP):
        if algorithm == FED_SE:
            return run_evolution(problem, rounds, **given)
        return run_preferences(algorithm, problem, rounds, **given)
    return run_discounted(algorithm, problem, rounds, **given)


def run_discounted(
    algorithm: str,
    problem: CMDP | FederatedCMDP,
    rounds: int = 1000,
    *,
    seed: int = 0,
    backend: str = "numpy",
    every: int = 1,
    record: str = "metrics",
    progress: Callable[[int, int], None] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    solution: Solution | None = None,
    compare: bool = True,
    **parameters: Any,
) -> Run:
    """Run ``rounds`` rounds of an algorithm on a problem and measure them.

    Inside ``balls.precision(...)``, on a problem of exact data, every number of the run is a ball.

    Parameters
    ----------
    algorithm: a name of :data:`tabular_fedrl.algorithms.ALGORITHMS`.
    problem: the federation, or a CMDP (agent i then sees constraint i).
    seed: of all random draws (sampled evaluation only).
    backend: ``"numpy"``, the specification; ``"numba"``, the same compiled: the same numbers up to rounding,
        with radii as rigorous, for the algorithms and problems that an engine of it knows; ``"cuda"``, FedNPG
        and its variants on large sparse problems on an NVIDIA device.
    every: rounds 0, every, 2 every, ... and the last one are recorded; averages are over all rounds anyway.
    record: ``"metrics"``, or ``"iterates"`` to keep the policies as well.
    progress: called with (rounds done, rounds in all).
    out: an ``.npz`` file for the measured run, written now and then and when the run ends or is interrupted.
    resume: continue from ``out`` if it exists; the result is bit for bit that of an uninterrupted run.
    solution: the comparator; default: the problem is solved. ``compare=False`` leaves it out: no gap, no KL.
    parameters: the algorithm's own; those left out (or None) take the theory's values.

    Raises
    ------
    InvalidProblem: an unknown name or a value out of range; steps so large that an iterate is not finite.
    NotSlater: the theory's dual cap is needed and no policy is strictly feasible. InfeasibleCMDP: no policy
    is feasible.
    """
    chosen = look_up(algorithm)
    one_of("backend", backend, tuple(ENGINES))
    one_of("record", record, ("metrics", "iterates"))
    K, seed = whole("rounds", rounds, 1), whole("seed", seed, 0)
    given = resolve(chosen, parameters)
    acting = chosen.acts_on(federated(problem), given)
    if acting.cmdp.is_exact != bool(balls.working()):
        raise InvalidProblem("a problem of exact data, and no other, runs inside balls.precision(...)")
    asked = Asked(chosen, acting, given, iterates=record == "iterates")
    # Before what may take minutes: the theory's steps and the comparator want the optimum.
    engine = choose(backend, asked)
    steps = chosen.steps(acting, K, given)
    if solution is None and compare:
        solution = solve(acting.cmdp)
    if not compare:
        solution = None
    task = Task.of(asked, K, steps, seed=seed, every=every, resumable=out is not None, solution=solution)
    resolved = resolved_parameters(given, steps)
    tracks = Tracks(task, engine.normaliser)
    file = RunFile(out, task, backend, resolved, resume) if out is not None else None
    task, state, sums = _drive(task, engine, tracks, file, resume, progress)
    last = log_probabilities(state.log_policy)
    with coarser():
        final_kl = task.observer.kl(last[None])[0] if solution is not None else None
        totals = overall(sums, task)
    tracks.finish(final_kl, last)
    return Run(
        algorithm=chosen.name,
        problem=acting,
        parameters=resolved,
        seed=seed,
        backend=backend,
        rounds=K,
        local_steps=task.local_steps,
        overall=totals,
        final_multipliers=state.multipliers,
        final_log_policy=last,
        ledger=task.ledger,
        solution=solution,
        **tracks.fields(),
    )


def _drive(
    task: Task,
    engine: Engine,
    tracks: Tracks,
    file: RunFile | None,
    resume: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[Task, State, Sums]:
    """The rounds, or with ``resume`` those that ``file`` leaves, which is written now and then, at the end
    and on Ctrl-C; the task with its ledger, the last state and the sums."""
    left = file.load(tracks) if file is not None and resume else None
    if left is not None:
        task = replace(task, ledger=left[1])
    state, sums = (task.start(), {}) if left is None else (left[0], left[2])
    # One assignment, so that an interrupt finds the mark of one stretch or of the next, never half of each.
    mark = (state, task.ledger.to_dict(), sums)
    # Only the mark holds a state: a large problem has no room for those left behind.
    del left, state
    saved = time.monotonic()
    try:
        for stretch in engine.stretches(task, mark[0]):
            first, done = mark[0].round, stretch.state.round
            tracks.store(first, stretch)
            if not engine.books:
                _book_policies(task, first, done)
            with coarser():
                mark = (stretch.state, task.ledger.to_dict(), added(mark[2], stretch.every_round))
            if file is not None and time.monotonic() - saved > SAVE_EVERY:
                file.save(tracks, *mark)
                saved = time.monotonic()
            if progress is not None:
                progress(done, task.rounds)
    except KeyboardInterrupt:
        if file is not None:
            file.save(tracks, *mark)
        raise
    if file is not None:
        file.save(tracks, *mark)
    return task, mark[0], mark[2]


def _book_policies(task: Task, first: int, last: int) -> None:
    """Enter what those rounds sent."""
    traffic = task.algorithm.traffic(task.problem.N, task.given)
    task.ledger.book(first, last, traffic, task.problem.cmdp.S * task.problem.cmdp.A)
