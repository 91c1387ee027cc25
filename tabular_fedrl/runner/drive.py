"""Driving an algorithm: parameters resolved, its rounds gathered from an engine, interrupted and resumed."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import ALGORITHMS, Algorithm
from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger, PublicSteps, State
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import log_probabilities, mean_weights
from tabular_fedrl.runner.engine import Engine, Task
from tabular_fedrl.runner.engine_numpy import coarser
from tabular_fedrl.runner.engines import ENGINES, choose
from tabular_fedrl.runner.files import RunFile
from tabular_fedrl.runner.measure import Observer
from tabular_fedrl.runner.overall import Sums, added, overall
from tabular_fedrl.runner.result import Run
from tabular_fedrl.runner.tracks import Tracks
from tabular_fedrl.solvers import Solution, solve

SAVE_EVERY = 30.0
"""Seconds between two checkpoints."""


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
) -> Run:
    """Run ``rounds`` rounds of an algorithm on a problem and measure them.

    Inside ``balls.precision(...)``, on a problem of exact data, every number of the run is a ball.

    Parameters
    ----------
    algorithm: a name of :data:`tabular_fedrl.algorithms.ALGORITHMS`.
    problem: the federation, or a CMDP (agent i then sees constraint i).
    seed: of all random draws (sampled evaluation only).
    backend: ``"numpy"``, the specification; ``"numba"``, the same compiled: the same numbers up to rounding,
        with radii as rigorous, for the algorithms and problems that an engine of it knows.
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
    chosen = _lookup("algorithm", algorithm, ALGORITHMS)
    _one_of("backend", backend, tuple(ENGINES))
    _one_of("record", record, ("metrics", "iterates"))
    K, seed = _whole("rounds", rounds, 1), _whole("seed", seed, 0)
    given = _given(chosen, parameters)
    acting = chosen.acts_on(federated(problem), given)
    if acting.cmdp.is_exact != bool(balls.working()):
        raise InvalidProblem("a problem of exact data, and no other, runs inside balls.precision(...)")
    steps = chosen.steps(acting, K, given)
    if solution is None and compare:
        solution = solve(acting.cmdp)
    if not compare:
        solution = None
    resolved = _resolved(given, steps)
    task = Task(
        algorithm=chosen,
        problem=acting,
        steps=steps,
        given=given,
        rounds=K,
        local_steps=given.get("local_steps", 1),
        weights=mean_weights(acting.N, given.get("weights")),
        multipliers=_multipliers(acting, given["initial_multipliers"], steps.dual_cap),
        seed=seed,
        every=_whole("every", every, 1),
        iterates=record == "iterates",
        resumable=out is not None,
        observer=Observer.of(chosen, acting, steps.eta, solution),
        ledger=Ledger({"agents": acting.N, "rounds": K, **resolved}),
    )
    engine = choose(backend, task)
    tracks = Tracks(task, engine.normaliser)
    file = RunFile(out, task, backend, resolved) if out is not None else None
    left = file.load(tracks) if file is not None and resume else None
    if left is not None:
        task = replace(task, ledger=left[1])
    state, sums = (left[0], left[2]) if left is not None else (task.start(), {})
    state, sums = _drive(task, engine, state, sums, tracks, file, progress)
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
    state: State,
    sums: Sums,
    tracks: Tracks,
    file: RunFile | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[State, Sums]:
    """The rounds that are left, from ``state`` on; ``file`` is written now and then, at the end and on
    Ctrl-C."""
    # One assignment, so that an interrupt finds the mark of one stretch or of the next, never half of each.
    mark = (state, task.ledger.to_dict(), sums)
    saved = time.monotonic()
    try:
        for stretch in engine.stretches(task, state):
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
    return mark[0], mark[2]


def _book_policies(task: Task, first: int, last: int) -> None:
    """Enter what those rounds sent: every agent receives the policy and returns its own."""
    if task.algorithm.sends:
        task.ledger.book(first, last, task.problem.N, task.problem.cmdp.S * task.problem.cmdp.A)


def _given(algorithm: Algorithm, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of the algorithm, the given ones in place of their defaults."""
    for name in parameters:
        if name not in algorithm.parameters:
            known = tuple(algorithm.parameters)
            raise InvalidProblem(
                f"{algorithm.name} has no parameter {name!r}{_hint(name, known)}; it has {', '.join(known)}"
            )
    values = dict(algorithm.parameters)
    values.update({name: value for name, value in parameters.items() if value is not None})
    if values.get("eta") is not None and not isinstance(values["eta"], Balls):
        eta = _number("eta", values["eta"])
        if eta < 0:
            raise InvalidProblem(f"eta = {eta:g} is negative")
        values["eta"] = array(eta) if balls.working() else eta
    for name, words in algorithm.choices.items():
        if name in values:
            _one_of(name, values[name], words)
    for name, least in algorithm.whole.items():
        if name in values:
            values[name] = _whole(name, values[name], least)
    return values


def _resolved(given: Mapping[str, Any], steps: PublicSteps) -> dict[str, Any]:
    """The parameters with the steps that are used, as JSON data; steps in balls stay balls."""
    resolved = {name: _plain(value) for name, value in given.items()}
    resolved["eta"] = steps.eta
    for name, table in (("eta_dual", steps.eta_dual), ("dual_cap", steps.dual_cap)):
        # One number where all constraints share it; 0 where there is none.
        if isinstance(table, Balls):
            shared = len(table) <= 1 or (table.is_rational and (table == table[:1]).all())
            resolved[name] = table.max(initial=0.0) if shared else table
            continue
        resolved[name] = float(table.max(initial=0.0)) if (table == table[:1]).all() else table.tolist()
    return resolved


def _plain(x: Any) -> Any:
    """Python numbers and lists."""
    return np.asarray(x, dtype=np.float64).tolist() if isinstance(x, np.ndarray | list | tuple) else x


def _multipliers(problem: FederatedCMDP, value: Any, cap: Array) -> Array:
    """Initial multipliers ``(N, m)`` from a number, ``(m,)`` or ``(N, m)`` numbers."""
    shape = (problem.N, problem.cmdp.m)
    x = array(value)
    if x.ndim and x.shape not in (shape, shape[1:]):
        raise InvalidProblem(
            f"initial_multipliers has shape {x.shape}: expected a number, {shape[1:]} or {shape}"
        )
    table = x + np.zeros(shape)
    if not ((table >= 0) & (cap >= table)).all():
        raise InvalidProblem("initial_multipliers must lie between 0 and the dual cap")
    return table


def _whole(name: str, value: Any, least: int) -> int:
    number = _number(name, value)
    if number != int(number) or number < least:
        raise InvalidProblem(f"{name} = {value!r}: expected a whole number from {least} on")
    return int(number)


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidProblem(f"{name} = {value!r} is not a number") from None
    if not np.isfinite(number):
        raise InvalidProblem(f"{name} = {number:g} is not finite")
    return number


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidProblem(f"{what} {value!r}: expected {' or '.join(map(repr, known))}")


def _lookup(what: str, name: str, table: Mapping[str, Algorithm]) -> Algorithm:
    if name not in table:
        raise InvalidProblem(f"no {what} {name!r}{_hint(name, tuple(table))}; there are {', '.join(table)}")
    return table[name]


def _hint(name: str, known: tuple[str, ...]) -> str:
    spellings = (name.replace("_", "-"), name.replace("-", "_"))
    close = [k for x in spellings for k in difflib.get_close_matches(x, known, 1, cutoff=0.7)]
    return f"; did you mean {close[0]!r}?" if close else ""
