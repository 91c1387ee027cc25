"""Driving an algorithm: parameters resolved, rounds measured in batches, interrupted and resumed."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import ALGORITHMS, Algorithm, Round
from tabular_fedrl.arithmetic import array, exp, finite
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem, Undecided
from tabular_fedrl.federation import Federation, PublicSteps, federate
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import log_probabilities
from tabular_fedrl.runner.files import RunFile
from tabular_fedrl.runner.measure import CHUNK, Observer
from tabular_fedrl.runner.result import Run
from tabular_fedrl.runner.tracks import Tracks
from tabular_fedrl.solvers import Solution, solve

COARSER, LEAST_BITS = 8, 128
"""What is measured gets an eighth of the working precision, and no less than so many bits."""
SAVE_EVERY = 30.0
"""Seconds between two checkpoints."""


def run(
    algorithm: str,
    problem: CMDP | FederatedCMDP,
    rounds: int = 1000,
    *,
    seed: int = 0,
    backend: str = "numpy",
    record: str = "metrics",
    progress: Callable[[int, int], None] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    solution: Solution | None = None,
    compare: bool = True,
    **parameters: Any,
) -> Run:
    """Run ``rounds`` rounds of an algorithm on a problem and measure every one of them.

    Inside ``balls.precision(...)``, on a problem of exact data, every number of the run is a ball.

    Parameters
    ----------
    algorithm: a name of :data:`tabular_fedrl.algorithms.ALGORITHMS`.
    problem: the federation, or a CMDP (agent i then sees constraint i).
    seed: of all random draws (sampled evaluation only).
    backend: ``"numpy"``, the specification.
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
    _one_of("backend", backend, ("numpy",))
    _one_of("record", record, ("metrics", "iterates"))
    K = _whole("rounds", rounds, 1)
    seed = _whole("seed", seed, 0)
    given = _given(chosen, parameters)
    acting = chosen.acts_on(federated(problem), given)
    if acting.cmdp.is_exact != bool(balls.working()):
        raise InvalidProblem("a problem of exact data, and no other, runs inside balls.precision(...)")
    steps = chosen.steps(acting, K, given)
    federation = _federation(chosen, acting, steps, given, seed)
    if solution is None and compare:
        solution = solve(acting.cmdp)
    resolved = _resolved(given, steps)
    federation.ledger.setup.update(agents=acting.N, rounds=K, **resolved)
    observer = Observer.of(chosen, acting, steps.eta, solution if compare else None)
    tracks = Tracks(acting, K, federation.local_steps, chosen, observer.comparator is not None, record)
    file = None
    if out is not None:
        comparator = solution.log_policy if solution is not None and compare else None
        file = RunFile(out, chosen.name, acting, K, seed, record, resolved, comparator)
        if resume:
            file.load(tracks, federation)
    rounds_of = _checked(chosen.rounds(federation, given), chosen, steps)
    _drive(rounds_of, federation, observer, tracks, file, progress)
    last = log_probabilities(federation.server.log_policy)
    with _coarser():
        final_kl = observer.kl(last[None])[0] if observer.comparator is not None else None
    tracks.finish(final_kl, last)
    return Run(
        algorithm=chosen.name,
        problem=acting,
        parameters=resolved,
        seed=seed,
        rounds=K,
        local_steps=federation.local_steps,
        final_multipliers=federation.multipliers(),
        final_log_policy=last,
        ledger=federation.ledger,
        solution=solution if compare else None,
        **tracks.fields(),
    )


def _drive(
    rounds: Iterator[Round],
    federation: Federation,
    observer: Observer,
    tracks: Tracks,
    file: RunFile | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Measure the rounds that are left, in batches; ``file`` is written now and then, at the end and on
    Ctrl-C."""
    size = _batch(observer.problem.cmdp, observer.problem.N, federation.local_steps)
    # One assignment, so that an interrupt finds the mark of one batch or of the next, never half of each.
    mark = (federation.state(), federation.ledger.to_dict())
    saved = time.monotonic()
    try:
        while (done := mark[0].round) < tracks.K:
            batch = list(islice(rounds, min(size, tracks.K - done)))
            with _coarser():
                measured = observer.measure(batch)
            tracks.store(done, measured, batch)
            mark = (federation.state(), federation.ledger.to_dict())
            if file is not None and time.monotonic() - saved > SAVE_EVERY:
                file.save(tracks, *mark)
                saved = time.monotonic()
            if progress is not None:
                progress(done + len(batch), tracks.K)
    except KeyboardInterrupt:
        if file is not None:
            file.save(tracks, *mark)
        raise
    except Undecided as lost:
        k = federation.server.round
        raise Undecided(f"round {k} of {tracks.K}: {lost}", reached=k / tracks.K) from None
    if file is not None:
        file.save(tracks, *mark)


def _coarser() -> AbstractContextManager[None]:
    """Balls of fewer bits for what is measured: the path alone must outlast the growth of its radii."""
    bits = balls.working()
    return balls.precision(max(LEAST_BITS, bits // COARSER)) if bits else nullcontext()


def _federation(
    algorithm: Algorithm, problem: FederatedCMDP, steps: PublicSteps, given: Mapping[str, Any], seed: int
) -> Federation:
    return federate(
        problem,
        steps,
        local_steps=given.get("local_steps", 1),
        aggregation=given.get("aggregation", "arithmetic"),
        weights=given.get("weights"),
        initial_multipliers=_multipliers(problem, given["initial_multipliers"], steps.dual_cap),
        reward_factor=algorithm.reward_factor,
        seed=seed,
        share=algorithm.share,
    )


def _checked(stream: Iterator[Round], algorithm: Algorithm, steps: PublicSteps) -> Iterator[Round]:
    """The rounds, refused as soon as an iterate is not finite."""
    # The logarithm of an intended 0 is no sign of anything.
    shown = exp if algorithm.zeros else lambda log_policies: log_policies
    while True:
        # Absurd steps overflow on the way; the answer is judged below.
        with np.errstate(all="ignore"):
            this = next(stream)
        if not (finite(shown(this.local)) and finite(shown(this.next_log_policy))):
            if balls.working():
                raise Undecided("a ball is unbounded")
            raise InvalidProblem(
                f"round {this.k}: a policy is not finite; the steps are too large (eta = {steps.eta:g}, "
                f"largest dual cap {steps.dual_cap.max(initial=0.0):g})"
            )
        yield this


def _batch(cmdp: CMDP, N: int, E: int) -> int:
    """Rounds measured together; it depends on nothing else, so that a resumed run cuts them in the same
    places."""
    policies = 1 + N * (E - 1)
    entries = N * (E + 1) * cmdp.S * cmdp.A
    return max(1, min(CHUNK // policies, 4_000_000 // entries))


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
