"""FedNPG and its relatives on a large sparse problem: :mod:`tabular_fedrl.loops.large`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import StepsTooLarge
from tabular_fedrl.federation import State
from tabular_fedrl.kernels.announce import announced
from tabular_fedrl.loops.large import Iteration, Measurements, NotFinite, Operations, Position, rounds
from tabular_fedrl.loops.large_tables import Tables
from tabular_fedrl.loops.variants import ALONE, NAMES, bare, variant
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import CompactPolicy
from tabular_fedrl.runner.engine import Asked, Engine, Stretch, Task, not_finite

ENTRIES = 500_000
"""Table entries that a stretch updates: seconds of evaluations at most, unless one round takes longer."""

Held = Callable[[CMDP, tuple[CompactPolicy, Measured] | None], Operations]
"""From a problem and its comparator (policy, visitation) to the operations on its tables."""


def refuses(asked: Asked) -> str | None:
    """Which problems the loop is for."""
    if asked.problem.cmdp.is_exact:
        return "its numbers are floats, not balls"
    if not asked.problem.cmdp.is_sparse:
        return "P is dense, and its loops are for sparse problems"
    if asked.iterates:
        return "it keeps no policies (record='iterates')"
    return None


def stretches(task: Task, state: State, operations: Held) -> Iterator[Stretch]:
    """All rounds; a round is measured with the evaluations that it is made of."""
    cmdp, comparator, x = task.problem.cmdp, task.observer.comparator, _iteration(task)
    with announced():  # compilers of devices do not tell
        _compile(x, operations, cmdp.A)
    ops = operations(cmdp, None if comparator is None else (comparator.policy, comparator.d))
    now = _position(task, state, ops)
    chosen = np.zeros(task.rounds, dtype=bool)
    chosen[task.recorded(0, task.rounds)] = comparator is not None
    ahead = rounds(ops, x, now, state.round, lambda k: bool(chosen[k]))
    size = max(1, ENTRIES // (x.N * x.local_steps * cmdp.S * cmdp.A))
    for first in range(state.round, task.rounds, size):
        last = min(first + size, task.rounds)
        done: list[Measurements] = []
        for k in range(first, last):
            try:
                done.append(next(ahead))
            except NotFinite:
                raise StepsTooLarge(not_finite(task, k)) from None
        recorded = [done[k - first] for k in task.recorded(first, last)]
        state = _state(task, now, ops, last, state)
        yield Stretch(state, _every_round(done), _recorded(task, recorded))


def _compile(x: Iteration, operations: Held, A: int) -> None:
    """One round on a problem of a single state, so that compiling is done before the first real one."""
    m = x.d.size
    P = sp.csr_array(np.ones((A, 1)))
    tiny = CMDP(P, np.zeros((1, A)), np.zeros((m, 1, A)), np.zeros(m), np.ones(1), 0.0)
    log_pi = np.full((1, A), -np.log(A))
    ops = operations(tiny, (CompactPolicy.of(log_pi), Measured(np.ones(1))))
    policies = x.N if x.variant.sharing == ALONE else 1
    start = Position([ops.hold(log_pi)] * policies, [ops.values()] * policies, np.zeros((x.N, m)))
    next(rounds(ops, replace(x, exponent=0.0), start, 0, lambda k: True))


def _position(task: Task, state: State, ops: Operations) -> Position:
    tables = [state.log_policy] if task.algorithm.share else list(state.log_policy)
    V = [None] * len(tables) if state.values is None else list(state.values)
    return Position(
        tables=[ops.hold(table) for table in tables],
        V=[ops.values() if known is None else ops.hold_values(known) for known in V],
        multipliers=np.where(task.problem.mask, state.multipliers, 0.0),
    )


def _state(task: Task, now: Position, ops: Operations, k: int, before: State) -> State:
    tables = [ops.array(table) for table in now.tables]
    return State(
        round=k,
        log_policy=tables[0] if task.algorithm.share else np.stack(tables),
        multipliers=np.where(task.problem.mask, now.multipliers, np.nan),
        random=before.random,
        transitions=before.transitions,
        values=np.stack([ops.array_values(V) for V in now.V]) if task.resumable else None,
    )


def _iteration(task: Task) -> Iteration:
    geometric = task.given.get("aggregation") == "geometric"
    form = variant(task.algorithm.name, task.problem.N, geometric, task.given.get("tau", 0.0))
    eta = float(task.steps.eta)
    return Iteration(
        variant=form,
        visible=task.problem.visible,
        local_steps=task.local_steps,
        exponent=eta if bare(task.algorithm.name) else eta / (1 - task.problem.cmdp.gamma),
        eta_dual=np.asarray(task.steps.eta_dual, dtype=np.float64),
        dual_cap=np.asarray(task.steps.dual_cap, dtype=np.float64),
        d=np.asarray(task.problem.cmdp.d),
        weights=np.asarray(task.weights, dtype=np.float64),
    )


def _every_round(done: list[Measurements]) -> dict[str, Measured | Array]:
    shared = Measured.stack([round.shared.mean(axis=0) for round in done])
    local = Measured.stack([round.local for round in done])
    return {
        "value": shared[:, 0],
        "costs": shared[:, 1:],
        "local_value": local[..., 0],
        "local_costs": local[..., 1:],
        "drift": np.array([round.drift for round in done]),
        "transitions": np.zeros((len(done), local.shape[1]), dtype=np.int64),
    }


def _recorded(task: Task, done: list[Measurements]) -> dict[str, Measured | Array]:
    if not done:
        return {}
    multipliers = np.stack([round.multipliers for round in done])
    out: dict[str, Measured | Array] = {
        "multipliers": np.where(task.problem.mask[:, None], multipliers, np.nan)
    }
    against = [(x.kl, x.kl_local_end) for x in done if x.kl is not None and x.kl_local_end is not None]
    if against:
        out["kl"] = Measured.stack([kl.mean() for kl, _ in against])
        out["kl_local_end"] = Measured.stack([ends for _, ends in against])
    return out


ENGINE = Engine(
    "loops for large sparse problems",
    NAMES,
    refuses,
    partial(stretches, operations=Tables),
    normaliser=False,
)
