"""DRPO and the offline baselines on small dense problems, compiled: :mod:`tabular_fedrl.loops.drpo`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import numpy as np

from tabular_fedrl.algorithms.offline_clients import clients_of
from tabular_fedrl.errors import StepsTooLarge
from tabular_fedrl.federation import Federation, State
from tabular_fedrl.kernels.divergence import Target
from tabular_fedrl.loops.drpo import keep
from tabular_fedrl.loops.drpo_blocks import begin, lay_out
from tabular_fedrl.loops.drpo_reading import OPTIMUM
from tabular_fedrl.loops.drpo_rounds import rounds
from tabular_fedrl.loops.drpo_values import enclosed_divergences, enclosed_values
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner.engine import Asked, Engine, Stretch, Task, not_finite, pairs, seen
from tabular_fedrl.runner.engine_small import MOST_STATES, problem_of, target_of
from tabular_fedrl.runner.offline import NAMES, ONCE, held, reading_of, refusal, weights_of

WORK, ENTRIES = 200_000_000, 2_000_000
"""A stretch: at most so many multiplications, and so many numbers in an array."""

ITERATIONS = 10
"""About what an optimum takes."""


def refuses(asked: Asked) -> str | None:
    """Which algorithms and problems the loops are for."""
    if asked.problem.cmdp.is_exact:
        return "its numbers are floats, not balls"
    if asked.problem.cmdp.S > MOST_STATES:
        return f"S = {asked.problem.cmdp.S} states, and its loops are for at most {MOST_STATES}"
    return refusal(asked.algorithm.name, asked.given)


def stretches(task: Task, state: State) -> Iterator[Stretch]:
    """All rounds; values with the radii of :mod:`tabular_fedrl.loops.drpo_values`."""
    name, E, cmdp = task.algorithm.name, task.local_steps, task.problem.cmdp
    S, m, N = cmdp.S, cmdp.m, task.problem.N
    federation = task.federation()
    clients = held(name, [(task.problem, clients_of(federation, dict(task.given)))], [task.given])
    reading = reading_of(name, task.given, clients.models is None)
    lay, (block,) = lay_out(clients, weights_of(name, clients, [task.given], [task.steps]))
    truth, target = problem_of(task), target_of(task.observer.comparator, S, cmdp.A)
    never = np.empty(0, dtype=np.int64)
    size, k = _size(task, reading.step == OPTIMUM), state.round
    while k < task.rounds:
        # Cut at multiples of the size, so that a resumed run is cut alike.
        n = min(size - k % size, task.rounds - k)
        (now,) = begin(clients, lay, np.nan_to_num(state.multipliers))
        now.log_pi[0, :, :S] = state.log_policy.T
        kept = keep(block.log_b, n, m, E)
        rounds(block, reading, task.problem.mask, now, k, n, E, never, np.empty((0, 1 + m, lay.R)), kept)
        start, local = kept.log_pi[:, 0, :, :S].copy(), kept.local[:, :, :, 0, :, :S].copy()
        multipliers = np.where(task.problem.mask[:, None], kept.multipliers[..., 0], np.nan)
        last = now.log_pi[0, :, :S].T.copy()
        after = np.concatenate([start[1:], last.T[None]])
        bad = np.isnan(local).any(axis=(1, 2, 3, 4)) | np.isnan(after).any(axis=(1, 2))
        if bad.any():
            j = int(bad.argmax())
            _refuse(task, federation, k + j, start[j].T, multipliers[j, :, 0])
        values, drift = np.empty((n, N, E, 1 + m, 2)), np.empty(n)
        enclosed_values(truth, start, local, values, drift)
        lam = seen(task.problem, now.multipliers[..., 0])
        state = State(k + n, last, lam, state.random, state.transitions)
        at = task.recorded(k, k + n) - k
        recorded = _recorded(task, target, multipliers[at], start[at], local[at])
        yield Stretch(state, _every_round(values, drift), recorded)
        k += n


def _refuse(task: Task, federation: Federation, k: int, log_policy: Array, multipliers: Array) -> NoReturn:
    """The specification does round k once more and says what is wrong with it."""
    before = replace(federation.state(), round=k, log_policy=log_policy, multipliers=multipliers)
    federation.restore(before)
    with np.errstate(all="ignore"):
        next(task.algorithm.rounds(federation, dict(task.given)))
    raise StepsTooLarge(not_finite(task, k))


def _every_round(values: Array, drift: Array) -> dict[str, Measured | Array]:
    enclosed = pairs(values)
    n, N = values.shape[:2]
    return {
        "value": enclosed[:, 0, 0, 0],
        "costs": enclosed[:, 0, 0, 1:],
        "local_value": enclosed[..., 0],
        "local_costs": enclosed[..., 1:],
        "drift": drift,
        "transitions": np.zeros((n, N), dtype=np.int64),
    }


def _recorded(
    task: Task, target: Target, multipliers: Array, start: Array, local: Array
) -> dict[str, Measured | Array]:
    out: dict[str, Measured | Array] = {"multipliers": multipliers}
    if task.observer.comparator is not None:
        ends = local[:, :, -1].reshape(-1, *start.shape[1:])
        kl, kl_end = np.empty((len(start), 2)), np.empty((len(ends), 2))
        enclosed_divergences(target, start, kl)
        enclosed_divergences(target, ends, kl_end)
        out |= {"kl": pairs(kl), "kl_local_end": pairs(kl_end.reshape(*local.shape[:2], 2))}
    if task.iterates:
        out |= {"log_policies": np.swapaxes(start, -1, -2), "local": np.swapaxes(local, -1, -2)}
    return out


def _size(task: Task, optimum: bool) -> int:
    """Rounds in a stretch."""
    N, E, cmdp = task.problem.N, task.local_steps, task.problem.cmdp
    S, A, m = cmdp.S + 1, cmdp.A, cmdp.m
    work = N * E * S * S * (S + 2 * A + m) * (ITERATIONS if optimum else 1)
    return int(max(1, min(4096, WORK // work, ENTRIES // (N * (E + 1) * S * A))))


ENGINE = Engine("loops for offline problems", (*NAMES, *ONCE), refuses, stretches)
