"""Small problems side by side over threads, each in a compiled loop of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabular_fedrl.algorithms import Algorithm
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, StepsTooLarge
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops import Iterated
from tabular_fedrl.loops.batch import Mask, check_alike
from tabular_fedrl.loops.totals import Totals, averaged
from tabular_fedrl.runner.engine import Asked, Stretch, Task
from tabular_fedrl.runner.engine_small import ENGINE


def side_by_side(
    algorithm: Algorithm,
    problems: Sequence[FederatedCMDP],
    given: Sequence[Mapping[str, Any]],
    rounds: int,
    seeds: Sequence[int],
) -> Iterated:
    """``rounds`` rounds on every problem with its parameters and seed, over Numba's number of threads.

    Parameters
    ----------
    algorithm: one that :data:`tabular_fedrl.runner.engine_small.ENGINE` runs. problems: that it acts on.
    given: all parameters of each, which agree in ``local_steps``.

    Raises
    ------
    InvalidProblem: as for :func:`tabular_fedrl.runner.run_batch`, of the first problem that is refused.
    """
    first = check_alike(problems)
    asked = [Asked(algorithm, problem, x, iterates=False) for problem, x in zip(problems, given)]
    for i, one in enumerate(asked):
        reason = ENGINE.refuses(one)
        if reason is not None:
            raise InvalidProblem(f"problem {i} cannot run compiled: {reason}")
    total = _nothing(len(problems), first, algorithm.share)
    refused: dict[int, BaseException] = {}

    def wanted(i: int) -> bool:
        """No problem before this one is refused."""
        return min(refused, default=i) >= i

    def work(i: int) -> None:
        if not wanted(i):
            return
        try:
            steps = algorithm.steps(problems[i], rounds, dict(given[i]))
            task = Task.of(asked[i], rounds, steps, seed=seeds[i], every=rounds)
            for stretch in ENGINE.stretches(task, task.start()):
                if not wanted(i):
                    return
                _add(stretch, first.mask, Totals(*(x[i, ...] for x in total)))
        except StepsTooLarge:
            for x in total:
                x[i] = np.nan
        except BaseException as error:
            # Whoever is quicker, the first problem is named; an interrupt comes before all.
            refused[i if isinstance(error, Exception) else -1] = error

    in_parallel(work, [(i,) for i in range(len(problems))])
    if refused:
        raise refused[min(refused)]
    return averaged(first.mask, rounds, given[0].get("local_steps", 1), total)


def _nothing(B: int, problem: FederatedCMDP, share: bool) -> Totals:
    """Zeros for B problems like this one, the problem's index first; ``share``: the agents communicate."""
    N, S, A, m = problem.N, problem.cmdp.S, problem.cmdp.A, problem.cmdp.m
    table = (S, A) if share else (N, S, A)
    shapes = (1 + m,), (1 + m,), (), (N,), (N, 1 + m), table, (N, m)
    return Totals(*(np.zeros((B, *shape)) for shape in shapes))


def _add(stretch: Stretch, mask: Mask, total: Totals) -> None:
    """Add a stretch of one problem to its ``total``, in place."""
    every = stretch.every_round
    total.shared[0] += every["value"].value.sum()
    total.shared[1:] += every["costs"].value.sum(axis=0)
    local = np.concatenate([every["local_value"].value[..., None], every["local_costs"].value], axis=-1)
    total.local[0] += local[..., 0].sum()
    total.local[1:] += (local[..., 1:].sum(axis=(0, 2)) * mask).sum(axis=0)
    np.maximum(total.drift, every["drift"].max(), out=total.drift)
    np.maximum(total.step, every["step"].max(axis=0), out=total.step)
    for e in range(1, local.shape[2]):
        away = np.abs(local[:, :, e] - local[:, :, 0]).max(axis=0) / e
        np.maximum(total.value_drift, away, out=total.value_drift)
    total.log_policy[...] = stretch.state.log_policy
    total.multipliers[...] = stretch.state.multipliers
